"""Trainings in float64, to be compared with autograd, and everything of a training that measuring must not change."""

import torch
from small_runs import short
from torch.nn import functional

from experiments.training.trainer import Trainer


def trainer_in_double(**changes):
    """A trainer with its first batch drawn."""
    fields = {"problem": "digits-mlp", "optimizer": "sgd-plain", "settings": {"lr": 0.1}, "l2": 1e-3}
    trainer = Trainer(short(**fields | changes))
    trainer.draw()
    trainer.model.double()
    x, y = trainer._batch
    trainer._batch = x.double(), y
    trainer.first_epoch = [(x.double(), y) for x, y in trainer.first_epoch]
    return trainer


def loss_of(trainer, batches):
    """Of all examples of the batches at once, with the L2 term."""
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    squares = sum(param.square().sum() for param in trainer.model.parameters())
    return functional.cross_entropy(trainer.model(x), y) + trainer.config.l2 / 2 * squares


def after(steps, **changes):
    """A trainer after a few steps, with the next batch drawn."""
    trainer = Trainer(short(**changes))
    for _ in range(steps):
        trainer.draw()
        trainer.advance()
    trainer.draw()
    return trainer


def everything(trainer):
    model = trainer.model
    tensors = [*model.parameters(), *model.buffers()]
    tensors += [param.grad for param in model.parameters() if param.grad is not None]
    for state in trainer.optimizer.optimizer.state.values():
        tensors += [value for value in state.values() if isinstance(value, torch.Tensor)]
    return [tensor.detach().clone() for tensor in tensors] + [torch.get_rng_state()]
