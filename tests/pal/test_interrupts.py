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
from by_hand import data, draws
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

    def calls(self) -> list[Callable[[], Any]]:
        """What a step consists of."""
        loss = lambda rows=slice(None): (self.model(X[rows]) - Y[rows]).square().mean()
        if not self.two_halves:
            return [lambda: self.optimizer.step(loss)]
        halves = [lambda rows=rows: loss(rows) / 2 for rows in (slice(0, 8), slice(8, 16))]
        return [*(lambda half=half: self.optimizer.backward(half) for half in halves), self.optimizer.step]

    def step(self, done: int = 0):
        """A step, of which some calls are done."""
        for call in self.calls()[done:]:
            call()


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
    if not halves or name == "beta 0.4"
} | {
    "SLS": (SLS, 2, False),
    "exact line search": (lambda params: ExactLineSearch(params, beta=0.4), 2, False),
}


class Course:
    """A situation without interrupts: the lines of pal in a step, and the moments around each of its calls."""

    def __init__(self, make, steps: int, halves: bool):
        counting = Interrupt()
        assert not counting.run(prepared(make, steps, halves).step)
        self.lines = counting.lines
        training = prepared(make, steps, halves)
        self.moments = [moment(training)]
        for call in training.calls():
            call()
            self.moments.append(moment(training))
        training.step()
        self.two_steps_on = moment(training)


def interrupted(training: Training, at: int, course: Course) -> tuple[int, str | None]:
    """Interrupt a step; give how many of its calls are done, and what is not whole.

    An interrupt at the beginning of a call or behind its last move finds it not begun or done; otherwise it gives the
    whole batch up. The step can go on from there.
    """
    interrupt = Interrupt(at)
    if not interrupt.run(training.step):
        return len(course.moments) - 1, None
    now = moment(training)
    for done, expected in enumerate(course.moments):
        if difference(now, expected) is None:
            return done, None
    return 0, f"line {at} ({interrupt.place}): {difference(now, course.moments[0])}"


def faults_one_by_one(make, steps: int, halves: bool, sample: int | None) -> list[str]:
    """Each line in a training of its own; the next step must be the undisturbed one."""
    course, faults = Course(make, steps, halves), []
    lines = range(1, course.lines + 1)
    for at in lines if sample is None else sorted(random.Random(0).sample(lines, min(sample, course.lines))):
        training = prepared(make, steps, halves)
        done, fault = interrupted(training, at, course)
        training.step(done)
        training.step()
        fault = fault or difference(moment(training), course.two_steps_on)
        faults += [] if fault is None else [f"line {at}: {fault}"]
    return faults


def faults_in_a_row(make, steps: int, halves: bool) -> list[str]:
    """Every line, one interrupt after the other in one training; then the steps must be the undisturbed ones."""
    course, faults = Course(make, steps, halves), []
    training = prepared(make, steps, halves)
    for at in range(1, course.lines + 1):
        done, fault = interrupted(training, at, course)
        faults += [] if fault is None else [fault]
        if done or fault or at == course.lines:
            training.step(done)
            training.step()
            fault = None if fault else difference(moment(training), course.two_steps_on)
            faults += [] if fault is None else [f"after line {at}: {fault}"]
            training = prepared(make, steps, halves)
    return faults


IN_A_ROW = [
    "beta 0, 3 steps before",
    "beta 0.4, 3 steps before",
    pytest.param("beta 0, 0 steps before", marks=pytest.mark.large),
    pytest.param("beta 0.4, 0 steps before", marks=pytest.mark.large),
    pytest.param("beta 0.4, 1 steps before, in two halves", marks=pytest.mark.large),
]


@pytest.mark.parametrize("name", SITUATIONS)
def test_interrupts_at_a_sample_of_lines(name):
    assert faults_one_by_one(*SITUATIONS[name], SAMPLE) == []


@pytest.mark.parametrize("name", IN_A_ROW)
def test_interrupts_at_every_line_in_a_row(name):
    assert faults_in_a_row(*SITUATIONS[name]) == []


@pytest.mark.large
@pytest.mark.parametrize("name", SITUATIONS)
def test_interrupts_at_every_line(name):
    assert faults_one_by_one(*SITUATIONS[name], None) == []


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
