"""PAL, the parabolic approximation line search for PyTorch.

>>> import torch
>>> weights = torch.tensor([1.0, -2.0], requires_grad=True)
>>> optimizer = PAL([weights], mu=0.1)
>>> optimizer.step(lambda: weights.square().sum())
tensor(5.)
>>> bool(weights.abs().max() < 1e-3)  # the minimum of a parabola in one step
True
"""

from importlib.metadata import PackageNotFoundError, version

from pal.check import ClosureWarning
from pal.optimizer import PAL

__all__ = ["PAL", "ClosureWarning"]

try:
    __version__ = version("pal-optimizer")
except PackageNotFoundError:  # imported from a checkout that is not installed
    __version__ = "0+unknown"
