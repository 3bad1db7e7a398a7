"""Whether an optimizer can be trusted in a study: resumed from a file, repeated, given a bad batch, in two groups.

Each check trains a network of a few weights for a few steps, in milliseconds.
"""

import io
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.common.check import Check
from experiments.common.errors import UserError
from experiments.optimizers import attributes
from experiments.optimizers.build import build
from experiments.optimizers.registry import OPTIMIZERS
from experiments.optimizers.scheduled import ScheduledOptimizer

Checker = Callable[[str, dict[str, Any]], tuple[bool, str]]
"""Whether an optimizer with these hyper-parameters passed, and what was found."""

STEPS = 24
"""Steps of a training, interrupted after the half."""

FEATURES, CLASSES, EXAMPLES = 5, 3, 16


class Twin:
    """A small network with dropout and batch norm, and the optimizer; all twins begin alike.

    Args:
        name: Name of the optimizer.
        settings: Hyper-parameters that differ from the defaults.
        split: Whether the parameters are in two groups.
    """

    def __init__(self, name: str, settings: dict[str, Any], split: bool = False) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(
            nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, CLASSES)
        )
        self.draws: list[list[Tensor]] = []
        params: Any = self.model
        if split:
            parts = list(self.model.parameters())
            params = [{"params": parts[:3]}, {"params": parts[3:]}]
        self.method: ScheduledOptimizer = build(name, params, settings, steps=STEPS)

    def train(self, steps: Iterable[int], factor: float = 1.0) -> list[Tensor]:
        """Take steps on the batches of these numbers, losses times `factor`; returns the weights."""
        for step in steps:
            self.draws.append([])
            self.loss = self.method.step(self._closure(step, factor))
        return [param.detach().clone() for param in self.model.parameters()]

    def _closure(self, step: int, factor: float) -> Callable[[], Tensor]:
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(EXAMPLES, FEATURES, generator=generator)
        y = torch.randint(CLASSES, (EXAMPLES,), generator=generator)
        model, draws = self.model, self.draws[-1]

        def loss() -> Tensor:
            draws.append(torch.get_rng_state())
            return functional.cross_entropy(model(x), y) * factor

        return loss

    def state(self) -> dict[str, Any]:
        """What a checkpoint holds, read back from one."""
        file = io.BytesIO()
        state = {"model": self.model.state_dict(), "optimizer": self.method.state_dict()}
        torch.save(state | {"random": torch.get_rng_state()}, file)
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=True)

    def load(self, state: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])


def check_all(name: str, settings: dict[str, Any]) -> list[Check]:
    """All checks of an optimizer; raises UserError if it cannot be built."""
    found = []
    for what, check in CHECKS.items():
        with torch.random.fork_rng(devices=[]):
            found.append(_tried(what, check, name, settings))
    return found


def require_resumable(name: str, settings: dict[str, Any], network: Callable[[], nn.Module]) -> None:
    """The cheap part, for a study: raises UserError if a resumed training of the optimizer would be another one.

    An error in a step is none of its business: it fails the runs with these settings, and no other run of the study.

    Args:
        name: Name of the optimizer.
        settings: Its hyper-parameters.
        network: Builds that of the run, for an optimizer that takes more than parameters; its training is not tried.
    """
    if OPTIMIZERS[name].params is not None:
        build(name, network(), settings, steps=STEPS)
        return
    with torch.random.fork_rng(devices=[]):
        try:
            passed, words = resume(name, settings)
        except UserError as error:
            passed, words = False, str(error)
        except Exception:
            return
    if not passed:
        raise UserError(f"optimizer {name!r}: {words}")


def _tried(what: str, check: Checker, name: str, settings: dict[str, Any]) -> Check:
    try:
        return Check(what, *check(name, settings))
    except UserError as error:
        return Check(what, False, str(error))
    except Exception as error:
        return Check(what, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def resume(name: str, settings: dict[str, Any]) -> tuple[bool, str]:
    """A training that is continued from a file must take the steps of one that was never interrupted, bit by bit."""
    expected = Twin(name, settings).train(range(STEPS))
    first = Twin(name, settings)
    first.train(range(STEPS // 2))
    state = first.state()
    again = Twin(name, settings)
    again.load(state)
    if same(again.train(range(STEPS // 2, STEPS)), expected):
        return True, f"the same weights after {STEPS} steps, with and without a stop"
    lost = attributes.unsaved(first.method.optimizer)
    where = f"; a checkpoint does not hold its attributes {', '.join(lost)}" if lost else ""
    return False, f"continued from a checkpoint, it takes other steps{where}; keep its state in self.state"


def repeat(name: str, settings: dict[str, Any]) -> tuple[bool, str]:
    """Two trainings with the same seed must be the same, and all evaluations of a step must draw the same numbers."""
    one = Twin(name, settings)
    if not same(one.train(range(STEPS)), Twin(name, settings).train(range(STEPS))):
        return (
            False,
            "two trainings with the same seed differ; draw random numbers from torch's generators only",
        )
    most = max(map(len, one.draws))
    if any(not torch.equal(draws[0], each) for draws in one.draws for each in draws):
        return False, (
            "the evaluations of one step see different dropout masks, so that their losses are not of one function; "
            'use the closure "backward", or the base class of pal.baselines.base'
        )
    return (
        True,
        f"two trainings are the same; up to {most} evaluations of a step, all with the same random numbers",
    )


def bad_batch(name: str, settings: dict[str, Any]) -> tuple[bool, str]:
    """A batch whose loss is NaN must be reported as such, without an error or an endless search."""
    twin = Twin(name, settings)
    before = twin.train(range(4))
    after = twin.train([4], math.nan)
    if not twin.loss.isnan().all():
        return False, f"the loss of the batch was NaN, the step reports {float(twin.loss):g}"
    if same(before, after):
        return True, "the step reports NaN and leaves the weights as they were"
    finite = all(each.isfinite().all() for each in after)
    words = "moved, and are finite" if finite else "become NaN, so that the run counts as diverged"
    return True, f"the step reports NaN; the weights have {words}"


def groups(name: str, settings: dict[str, Any]) -> tuple[bool, str]:
    """The same parameters in two groups with the same hyper-parameters must move as in one."""
    if OPTIMIZERS[name].params is not None:
        return True, "the optimizer makes its own groups of the network"
    whole = Twin(name, settings).train(range(4))
    try:
        parts = Twin(name, settings, split=True)
    except UserError as error:
        return True, f"it takes one group only: {error}"
    pairs = zip(whole, parts.train(range(4)), strict=True)
    if all(torch.allclose(one, other, rtol=1e-3, atol=1e-5) for one, other in pairs):
        return True, "two groups move as one"
    return False, "the same parameters move in another way in two groups with the same hyper-parameters"


CHECKS: dict[str, Checker] = {"resume": resume, "repeat": repeat, "bad batch": bad_batch, "groups": groups}
"""All checks by name."""


def same(some: Iterable[Tensor], others: Iterable[Tensor]) -> bool:
    """Whether weights are equal bit by bit."""
    return all(torch.equal(one, other) for one, other in zip(some, others, strict=True))
