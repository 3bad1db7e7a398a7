"""Hypothesis without a clock: a busy machine is no failure."""

from hypothesis import settings

settings.register_profile("pal", deadline=None, database=None)
settings.load_profile("pal")
