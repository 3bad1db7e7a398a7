"""One training run: its configuration, state and loop, and what is measured on the way."""
