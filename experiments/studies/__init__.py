"""The questions of the paper, one module each."""
