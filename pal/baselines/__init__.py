"""Baselines: optimizers that PAL is compared with and torch does not provide."""

from pal.baselines.alig import AliG
from pal.baselines.cocob import COCOB
from pal.baselines.exact import ExactLineSearch
from pal.baselines.labpal import LABPAL
from pal.baselines.lbfgs import LBFGS
from pal.baselines.momo import MoMo
from pal.baselines.ponos import PoNoS
from pal.baselines.qlabgrad import QLABGrad
from pal.baselines.rmsprop import RMSPropTF
from pal.baselines.sgdhd import SGDHD
from pal.baselines.sls import SLS
from pal.baselines.sps import SPS, DecSPS

__all__ = [
    "COCOB",
    "LABPAL",
    "LBFGS",
    "SGDHD",
    "SLS",
    "SPS",
    "AliG",
    "DecSPS",
    "ExactLineSearch",
    "MoMo",
    "PoNoS",
    "QLABGrad",
    "RMSPropTF",
]
