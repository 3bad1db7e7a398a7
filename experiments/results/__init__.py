"""Finished runs -> results/<profile>/: tables, and verdicts on claims.

`load(profile)` has all of them at once.
"""

from experiments.results.export import Results, load
