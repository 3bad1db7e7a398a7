"""One training run: its configuration, state and loop, and measurements during training."""
