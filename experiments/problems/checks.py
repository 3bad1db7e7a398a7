"""Whether data, network and loss fit together: the loss of one batch, before anything is trained."""

from dataclasses import replace

import torch

from experiments.common.errors import UserError
from experiments.problems.problem import Problem

EXAMPLES = 8


def require_trainable(problem: Problem) -> None:
    """Raise UserError unless one batch has a finite loss with a gradient, and the outputs have the right shape."""
    small = replace(problem, batch_size=min(EXAMPLES, problem.examples[0]))
    splits = small.load()
    inputs, targets = small.loader(splits.train, 0, 0).batch(0)
    with torch.random.fork_rng(devices=[]):
        try:
            model = small.build(0)
            loss = small.loss(model, inputs, targets)
            small.evaluate(model, splits.validation.part(slice(EXAMPLES)))
        except UserError as error:
            raise UserError(f"problem {problem.name!r}: {error}") from None
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(
                f"problem {problem.name!r}: the network {problem.network!r} or the loss fails on a batch of inputs "
                f"{list(inputs.shape)} and targets {list(targets.shape)}: {words}"
            ) from error
    if not bool(loss.isfinite()):
        raise UserError(
            f"problem {problem.name!r}: the loss of the first batch is {float(loss)}; check the scale of the data"
        )
    if not loss.requires_grad:
        raise UserError(
            f"problem {problem.name!r}: the loss has no gradient; compute it from the outputs, with torch only"
        )
