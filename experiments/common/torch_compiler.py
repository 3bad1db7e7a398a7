"""Optimizers are built without importing torch's compiler, which takes as long as importing torch itself."""

import inspect

from torch.optim import Optimizer


def leave_out() -> None:
    """Undo torch's exemption of `add_param_group` from compilation, at whose first call it imports the compiler.

    For processes that build optimizers to check their settings, and train none.
    """
    Optimizer.add_param_group = inspect.unwrap(Optimizer.add_param_group)
