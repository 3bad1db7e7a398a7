"""The optimizers that PAL is compared with, where torch has none."""

from pal.baselines.alig import AliG
from pal.baselines.cocob import COCOB
from pal.baselines.sgdhd import SGDHD
from pal.baselines.sls import SLS

__all__ = ["COCOB", "SGDHD", "SLS", "AliG"]
