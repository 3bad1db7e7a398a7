"""The state of one training run, with its steps and evaluations."""

import gc
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm  # pyright: ignore[reportPrivateUsage]
from torch.optim.swa_utils import update_bn

from experiments import optimizers
from experiments.data import Split
from experiments.problems.objectives import as_input_of
from experiments.problems.problem import Score
from experiments.training.config import RunConfig, device_of
from experiments.training.cuda_graphs import Captured, graphs_of
from experiments.training.seeds import split

STEP_SERIES = ("train_loss", "data_loss", "step", "learning_rate", "case", "clipped")
"""Recorded at each step: l(0) with and without the L2 term, distance, step / ||d||, case of the line, and 1 if its step
was clipped; NaN if there is none."""

STATISTICS_BATCHES = 200
"""From at most so many training batches are batch-norm statistics re-estimated."""


class Trainer:
    """The state of one training run.

    Args:
        config: The run.
        capture: Whether to capture its steps in a graph, if the device can.

    Attributes:
        model: The network on its device.
        optimizer: Its optimizer, with its schedule.
        splits: The data.
        step: Number of steps taken.
        step_seconds: Time that these took, without evaluations, measurements and checkpoints.
        notes: Measurements of a study, numbers and lists; part of the checkpoint.
    """

    def __init__(self, config: RunConfig, capture: bool = True) -> None:
        seeds = split(config.seed)
        self.config = config
        self.problem = config.resolved_problem
        self.device = device_of(config)
        if self.device.type == "cuda":
            gc.collect()  # an earlier run in the same worker leaves reference cycles, which hold device memory
        _seed_everything(seeds.noise, config.deterministic)
        self.splits = self.problem.load(self.device)
        self.loader = self.problem.loader(self.splits.train, seeds.data, seeds.augmentation)
        self.model = self.problem.build(seeds.initialisation).to(self.device)
        self.optimizer = optimizers.build(
            config.optimizer,
            self.model.parameters(),
            config.settings,
            config.schedule,
            config.schedule_steps or config.steps,
            self.problem.milestones,
        )
        self.step, self.step_seconds = 0, 0.0
        self.trace = {name: torch.full((config.steps,), math.nan, device=self.device) for name in STEP_SERIES}
        self.history: dict[str, list[float]] = {}
        self.notes: list[dict[str, Any]] = []
        self._params = list(self.model.parameters())
        self._precision = precision_of(config.dtype, self.device)
        self._batch = self.loader.batch(0)
        graphs = graphs_of(self.device) if capture else None
        self._captured = (
            None
            if graphs is None
            else Captured(self.optimizer, self.model, graphs, exact=config.deterministic)
        )

    @property
    def loss_fn(self) -> Callable[[], Tensor]:
        """The loss of the current batch in training mode, with the L2 term lambda / 2 ||theta||^2.

        The function refers only to what the loss needs, because PAL inspects all that its closure can reach.
        """
        problem, model, batch, params = self.problem, self.model, self._batch, self._params
        precision, l2 = self._precision, self.config.l2

        def loss_fn() -> Tensor:
            with precision():
                loss = problem.loss(model, *batch)
            return loss + l2_term(params, l2) if l2 else loss

        return loss_fn

    @cached_property
    def first_epoch(self) -> list[tuple[Tensor, Tensor]]:
        """The batches of the first epoch as the training sees them, for full-batch losses."""
        return [self.loader.batch(number) for number in range(self.loader.steps_per_epoch)]

    def draw(self) -> None:
        """Load the batch of the next step."""
        with self._timed():
            batch = self.loader.batch(self.step)
            if self._captured is None:
                self._batch = batch
                return
            for place, part in zip(self._batch, batch, strict=True):
                place.copy_(part)  # a captured step reads it from there

    def advance(self) -> None:
        """Take one optimizer step on the current batch, and add it to the trace."""
        at, l2 = self.step, self.config.l2
        term = l2_term([param.detach() for param in self._params], l2) if l2 else 0.0
        with self._timed():
            loss = self.optimizer.step(self.loss_fn)
        line = self.optimizer.line
        self.trace["train_loss"][at] = loss
        self.trace["data_loss"][at] = loss - term
        # A slice, because before torch 2.15 assigning a number to one element waits for the device.
        self.trace["learning_rate"][at : at + 1] = self.optimizer.learning_rate
        if line is not None:
            self.trace["step"][at] = line.step
            self.trace["case"][at] = line.case
            self.trace["clipped"][at] = line.clipped
        self.step += 1

    def evaluate(self) -> dict[str, float]:
        """Mean training losses and learning rate since the last evaluation, and the validation loss and accuracy."""
        with self._timed():
            if self.device.type == "cuda":
                torch.cuda.synchronize()  # steps that are under way
        since = int(self.history["evaluation_step"][-1]) if self.history else 0
        score = self._score(self.splits.validation)
        means = {
            name: _mean(self.trace[name][since : self.step])
            for name in ("train_loss", "data_loss", "learning_rate")
        }
        values = {
            "evaluation_step": float(self.step),
            **means,
            "val_loss": score.loss,
            "val_accuracy": math.nan if score.accuracy is None else score.accuracy,
        }
        for name, value in values.items():
            self.history.setdefault(name, []).append(value)
        return values

    def final_scores(self) -> dict[str, float | None]:
        """Test loss and accuracy, and accuracies after re-estimating batch-norm statistics; called after the last step.

        After a large step, running statistics are those of other weights. Re-estimated ones are means over training
        batches at the final weights.
        """
        test = self._score(self.splits.test)
        accuracies = self.history["val_accuracy"][-1], test.accuracy
        if any(isinstance(module, _BatchNorm) for module in self.model.modules()):
            self._reestimate_statistics()
            accuracies = tuple(
                self._score(split).accuracy for split in (self.splits.validation, self.splits.test)
            )
        return {
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "final_val_accuracy_reestimated": accuracies[0],
            "test_accuracy_reestimated": accuracies[1],
        }

    def _reestimate_statistics(self) -> None:
        count = min(STATISTICS_BATCHES, self.loader.steps_per_epoch)
        batches = (as_input_of(self.model, self.loader.batch(number)[0]) for number in range(count))
        self.optimizer.eval()
        with self._precision():
            update_bn(batches, self.model)
        self.optimizer.train()

    def _score(self, split: Split) -> Score:
        """Loss and accuracy at the weights for evaluation."""
        self.optimizer.eval()
        with self._precision():
            score = self.problem.evaluate(self.model, split)
        self.optimizer.train()
        return score

    @contextmanager
    def _timed(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.step_seconds += time.perf_counter() - began

    def state(self) -> dict[str, Any]:
        """The state on which the rest of the run depends."""
        cuda = torch.cuda.get_rng_state_all() if self.device.type == "cuda" else []
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "random": (torch.get_rng_state(), cuda),
            "step": self.step,
            "step_seconds": self.step_seconds,
            "trace": self.trace,
            "history": self.history,
            "notes": self.notes,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Resume from `state`, with bitwise identical results."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._captured is not None:
            self._captured.forget()
        cpu, cuda = state["random"]
        torch.set_rng_state(cpu.cpu())
        if cuda:
            torch.cuda.set_rng_state_all([one.cpu() for one in cuda])
        self.step, self.step_seconds = state["step"], state["step_seconds"]
        self.trace = {name: values.to(self.device) for name, values in state["trace"].items()}
        self.history = state["history"]
        self.notes = state["notes"]


class _HalfSquaredNorm(torch.autograd.Function):
    """factor / 2 ||theta||^2 over many tensors as a single node of the autograd graph."""

    @staticmethod
    def forward(ctx: Any, factor: float, *params: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """factor / 2 ||theta||^2."""
        ctx.factor = factor
        ctx.save_for_backward(*params)
        return torch.stack(torch._foreach_norm(params)).square().sum() * (factor / 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """factor theta."""
        return None, *torch._foreach_mul(ctx.saved_tensors, gradient * ctx.factor)


def l2_term(params: Sequence[Tensor], factor: float) -> Tensor:
    """factor / 2 ||theta||^2 over all parameters, a scalar."""
    return _HalfSquaredNorm.apply(factor, *params)  # pyright: ignore[reportReturnType]


def precision_of(dtype: str, device: torch.device) -> Callable[[], AbstractContextManager[Any]]:
    """The context of the forward pass: autocast for bfloat16, none for float32."""
    return nullcontext if dtype == "float32" else partial(torch.autocast, device.type, dtype=torch.bfloat16)


def _mean(values: Tensor) -> float:
    return values.double().mean().item()


def _seed_everything(seed: int, deterministic: bool) -> None:
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic
