"""What the studies of full-batch losses compare on their lines, measured and computed alike."""

RATES = {"sgd-0.05": 0.05, "sgd-0.1": 0.1}
"""Learning rates of SGD by name; its step is the learning rate times the norm of the direction."""
S_MAX = 3.16
"""s_max of PAL, a distance."""
