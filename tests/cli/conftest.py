"""No test here reads or changes the packs of the checkout."""

from small_runs import own_packs

__all__ = ["own_packs"]
