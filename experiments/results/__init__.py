"""Finished runs -> results/<profile>/."""
