"""Run configurations -> runs/<key>/."""
