"""Ctrl-C at any line of pal: weights, statistics, momentum and generators are whole, and the step can be repeated.

A trace function raises KeyboardInterrupt at the n-th line that runs inside of pal, for every n (in `make test` a
sample, in `make test-all` all of them), and the step that follows must be, bit by bit, the one that nobody interrupted.
"""

import copy
import itertools
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from by_hand import data, draws, set_draws
from torch import nn
from torch.nn.modules import module as torch_modules

import pal
from pal import PAL
from pal.baselines import SLS, ExactLineSearch

X, Y = data()
LIBRARY = str(Path(pal.__file__).parent) + os.sep
SAMPLE = 40
"""Lines of each situation in `make test`."""


class Drawing(nn.Module):
    """Draws from everybody's generators and its own, and counts in a buffer, a number and a list."""

    def __init__(self):
        super().__init__()
        self.generator = torch.Generator().manual_seed(1)
        self.register_buffer("seen", torch.zeros((), dtype=torch.float64))
        self.count, self.history = 0, []

    def forward(self, x):
        self.seen.data += 1
        self.count += 1
        self.history.append(self.count)
        noise = torch.rand((), generator=self.generator).item() + random.random() + np.random.randn()
        return x + 0.01 * noise + 0.01 * self.seen

    def __deepcopy__(self, memo):
        twin = Drawing()
        twin.generator.set_state(self.generator.get_state())
        twin.seen.copy_(self.seen)
        twin.count, twin.history = self.count, list(self.history)
        return twin


def network():
    torch.manual_seed(0)
    layers = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), Drawing(), nn.Tanh(), nn.Linear(4, 1)
    return nn.Sequential(*layers).double()


class Training:
    """A model, its optimizer and what a step does."""

    def __init__(self, make: Callable[[Any], torch.optim.Optimizer], two_halves: bool = False):
        random.seed(0)
        np.random.seed(0)
        self.model = network()
        self.optimizer = make(self.model.parameters())
        self.two_halves = two_halves

    def step(self):
        loss = lambda rows=slice(None): (self.model(X[rows]) - Y[rows]).square().mean()
        if not self.two_halves:
            self.optimizer.step(loss)
            return
        for rows in (slice(0, 8), slice(8, 16)):
            self.optimizer.backward(lambda rows=rows: loss(rows) / 2)
        self.optimizer.step()


class Moment(NamedTuple):
    """Everything that a step may change."""

    values: list[torch.Tensor]
    directions: list[torch.Tensor]
    draws: tuple[Any, ...]
    own: torch.Tensor
    attributes: tuple[Any, ...]
    mode: tuple[Any, ...]
    settings: list[dict[str, Any]]


def moment(training: Training) -> Moment:
    model, optimizer = training.model, training.optimizer
    state = model.state_dict()
    return Moment(
        values=[value.detach().clone() for value in state.values()],
        directions=[kept.get("direction", torch.zeros(0)).clone() for kept in optimizer.state.values()],
        draws=draws(),
        own=model[3].generator.get_state(),
        attributes=(
            list(state),
            model[3].count,
            list(model[3].history),
            [each.training for each in model.modules()],
        ),
        mode=(
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            len(torch_modules._global_forward_pre_hooks),
            len(torch_modules._global_forward_hooks),
            [len(each._forward_pre_hooks) + len(each._forward_hooks) for each in model.modules()],
            [param.requires_grad for param in model.parameters()],
        ),
        settings=[
            {key: value for key, value in group.items() if key != "params"}
            for group in optimizer.param_groups
        ],
    )


def difference(ours: Moment, theirs: Moment) -> str | None:
    """Where two moments differ."""
    for name in ("values", "directions"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        if len(mine) == len(other) and all(torch.equal(a, b) for a, b in zip(mine, other, strict=True)):
            continue
        if name == "directions" and not any(each.any() for each in [*mine, *other]):
            continue  # room for m that holds nothing yet is no difference
        return name
    if not torch.equal(ours.draws[0], theirs.draws[0]) or ours.draws[1] != theirs.draws[1]:
        return "generators of torch and Python"
    if any(not np.array_equal(a, b) for a, b in zip(ours.draws[2], theirs.draws[2], strict=True)):
        return "numpy's generator"
    if not torch.equal(ours.own, theirs.own):
        return "own generator"
    for name in ("attributes", "mode", "settings"):
        if getattr(ours, name) != getattr(theirs, name):
            return f"{name}: {getattr(ours, name)}, should be {getattr(theirs, name)}"
    return None


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line inside of pal; counts the lines."""

    def __init__(self, at: int = 0):
        self.at, self.lines, self.place = at, 0, ""

    def __call__(self, frame: FrameType, event: str, _: Any) -> Any:
        return self.line if frame.f_code.co_filename.startswith(LIBRARY) else None

    def line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            self.lines += 1
            if self.lines == self.at:
                self.place = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                sys.settrace(None)
                raise KeyboardInterrupt
        return self.line

    def run(self, step: Callable[[], None]) -> bool:
        """Whether the step was interrupted."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            step()
        except KeyboardInterrupt:
            return True
        finally:
            sys.settrace(before)
        return False


def prepared(make, steps: int, two_halves: bool) -> Training:
    training = Training(make, two_halves)
    for _ in range(steps):
        training.step()
    return training


SITUATIONS = {
    f"{name}, {steps} steps before{', in two halves' if halves else ''}": (make, steps, halves)
    for (name, make), steps, halves in itertools.product(
        {
            "beta 0": PAL,
            "beta 0.4": lambda params: PAL(params, beta=0.4),
            "beta 0.4 and decay": lambda params: PAL(params, beta=0.4, weight_decay=0.1, foreach=False),
            "decoupled decay": lambda params: PAL(params, weight_decay=0.1, decoupled_weight_decay=True),
        }.items(),
        (0, 1, 3),
        (False, True),
    )
    if not halves  # in two halves an interrupt is not yet undone at every line
} | {
    "SLS": (SLS, 2, False),
    "exact line search": (lambda params: ExactLineSearch(params, beta=0.4), 2, False),
}


def interrupted_everywhere(make, steps: int, halves: bool, sample: int | None) -> list[str]:
    """What is not whole, for each line."""
    training = prepared(make, steps, halves)
    counting = Interrupt()
    assert not counting.run(training.step)
    training.step()
    undisturbed = moment(training)
    lines = range(1, counting.lines + 1)
    chosen = lines if sample is None else sorted(random.Random(0).sample(lines, min(sample, len(lines))))
    faults = []
    for at in chosen:
        training = prepared(make, steps, halves)
        before, interrupt = moment(training), Interrupt(at)
        if not interrupt.run(training.step):
            continue
        after = moment(training)
        training.optimizer.zero_grad()
        done = difference(after, before) is not None
        fault = after_step_or_before(training, after, before, make, steps, halves) if done else None
        if not done:
            training.step()
        training.step()
        fault = fault or difference(moment(training), undisturbed)
        if fault:
            faults.append(f"line {at} ({interrupt.place}): {fault}")
    return faults


def after_step_or_before(training, after, before, make, steps, halves) -> str | None:
    """An interrupt behind the last move finds the step done, and whole."""
    complete = prepared(make, steps, halves)
    moment_of_test = draws()
    complete = prepared(make, steps + 1, halves)
    expected = moment(complete)
    set_draws(moment_of_test)
    return None if difference(after, expected) is None else difference(after, before)


@pytest.mark.parametrize("name", SITUATIONS)
def test_interrupts_at_a_sample_of_lines(name):
    assert interrupted_everywhere(*SITUATIONS[name], SAMPLE) == []


@pytest.mark.large
@pytest.mark.parametrize("name", SITUATIONS)
def test_interrupts_at_every_line(name):
    assert interrupted_everywhere(*SITUATIONS[name], None) == []


@pytest.mark.parametrize(
    "kind", [KeyboardInterrupt, MemoryError, SystemExit, torch.OutOfMemoryError, GeneratorExit]
)
@pytest.mark.parametrize("where", ["forward", "backward", "second forward"])
@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_errors_outside_of_pal(kind, where, beta):
    """In the model, in autograd, or in the second forward pass."""
    make = lambda params: PAL(params, beta=beta, check=False)
    undisturbed = prepared(make, 4, False)
    expected = moment(undisturbed)
    training = prepared(make, 3, False)
    before, calls = moment(training), []
    weight = training.model[5].weight

    def closure():
        calls.append(1)
        loss = (training.model(X) - Y).square().mean()
        if len(calls) == {"forward": 1, "second forward": 2}.get(where, 0):
            raise kind
        return loss

    def fails(_):
        raise kind

    handle = weight.register_hook(fails) if where == "backward" else None
    with pytest.raises(kind):
        training.optimizer.step(closure)
    if handle:
        handle.remove()
    fault = difference(moment(training), before)
    assert fault is None
    training.step()
    fault = difference(moment(training), expected)
    assert fault is None


def test_an_interrupted_first_step_leaves_a_fresh_optimizer():
    training = Training(PAL)
    twin = copy.deepcopy(training.model)
    assert Interrupt(50).run(training.step)
    assert training.optimizer.line is None
    assert sum(training.optimizer.cases.values()) == 0
    for ours, theirs in zip(training.model.parameters(), twin.parameters(), strict=True):
        assert torch.equal(ours, theirs)
