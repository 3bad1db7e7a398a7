"""Tables and figures -> reports/<profile>/."""
