"""A soak: random losses, settings, dtypes, scales and mishaps, each step held to the slow reference in float64.

The closure notes the losses it gives and the weights it sees. From these numbers, the gradient and the m of before, the
reference says where the step must go; so each step is judged by itself, in any dtype, to the rounding of that dtype:

* the first evaluation sees the weights of before, bit by bit, and the second those mu along the direction;
* after the step the weights are where the reference puts them, and m is what it must be;
* after an error, a NaN or an infinity the weights are those of before, bit by bit.

The parabola divides a difference of losses. Where rounding of the sums decides, the step may be any that the reference
takes for losses that differ by as much; such steps are counted.
"""

import math
import random
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from pal import PAL
from pal.parabola import Case
from pal.reference import ReferenceStep, reference_step

SOME, ALL = 150, 2_000

SUMS = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 1e-6, torch.float16: 1e-6}
"""How far the line's numbers may be off, relative to the largest term: float32 sums in chunks, others in float64."""

SCALES = {
    torch.float64: (-30, 30),
    torch.float32: (-30, 30),
    torch.bfloat16: (-30, 30),
    torch.float16: (-2, 2),
}
"""Powers of ten of the loss for which losses and gradients are numbers."""

MISHAPS = ["none"] * 12 + [
    "nan loss", "nan at the probe", "infinite loss", "minus infinite at the probe", "nan gradient", "error",
    "error at the probe",
]  # fmt: skip


@dataclass
class Seen:
    """What the closure saw in one step."""

    losses: list[float] = field(default_factory=list)
    weights: list[list[Tensor]] = field(default_factory=list)


class Problem:
    """A random loss of random weights, with an optimizer of random settings."""

    def __init__(self, seed: int):
        self.dice = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.dtype = self.dice.choice(
            [torch.float64, torch.float64, torch.float32, torch.float32, torch.bfloat16, torch.float16]
        )
        shapes = [
            self.dice.choice([(), (1,), (3,), (2, 3), (0,), (4, 2, 3)])
            for _ in range(self.dice.randint(1, 5))
        ] + [(5,)]
        self.weights = [
            self.strided(torch.randn(shape, generator=generator).to(self.dtype)).requires_grad_()
            for shape in shapes
        ]
        self.targets = [torch.randn(shape, generator=generator) for shape in shapes]
        self.bumps = self.dice.choice([0.0, 0.0, 0.5, 3.0])
        self.scale = 10 ** self.dice.uniform(*SCALES[self.dtype])
        self.inside = self.dtype if self.dice.random() < 0.5 or self.dtype is torch.float64 else torch.float32
        self.settings: dict[str, Any] = {
            "mu": 10 ** self.dice.uniform(-2, 0.5),
            "alpha": self.dice.uniform(0.5, 2),
            "beta": self.dice.choice([0.0, 0.0, 0.4, 0.9]),
            "s_max": self.dice.choice([3.16, 0.05, math.inf]),
            "lr": self.dice.choice([1.0, 1.0, 0.3, torch.tensor(0.5)]),
            "maximize": self.dice.random() < 0.2,
            "decoupled_weight_decay": self.dice.random() < 0.5,
            "foreach": self.dice.choice([None, None, False]),
            "check": self.dice.random() < 0.7,
        }
        cuts = sorted(
            self.dice.sample(range(1, len(shapes) + 1), min(self.dice.randint(0, 2), len(shapes) - 1))
        )
        parts = [self.weights[start:end] for start, end in zip([0, *cuts], [*cuts, len(shapes)], strict=True)]
        # Weight decay and a loss of another size would leave one of them to rounding.
        decays = [0.0, 1e-3, 0.1] if 1e-3 < self.scale < 1e3 else [0.0]
        self.groups = [{"params": part, "weight_decay": self.dice.choice(decays)} for part in parts]
        self.optimizer = PAL(self.groups, **self.settings)

    def strided(self, tensor: Tensor) -> Tensor:
        """The same numbers with gaps, transposed or as they are."""
        way = self.dice.choice(["plain", "plain", "gaps", "transposed"])
        if way == "gaps":
            room = torch.zeros(*tensor.shape, 2, dtype=tensor.dtype)
            room[..., 0] = tensor
            return room[..., 0]
        return tensor.t().contiguous().t() if way == "transposed" and tensor.ndim == 2 else tensor

    def loss(self, used: list[int]) -> Tensor:
        total = torch.zeros((), dtype=self.inside)
        for number in used:
            offset = self.weights[number].to(self.inside) - self.targets[number].to(self.inside)
            total = total + (offset.square() + self.bumps * torch.sin(3 * offset)).sum()
        return total.to(torch.float64 if self.dtype is torch.float64 else torch.float32) * self.scale


class Fault(AssertionError):
    """A wrong move."""


def demand(right: bool, what: str) -> None:
    if not right:
        raise Fault(what)


def copies(tensors: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().clone() for tensor in tensors]


def same_bits(ours: list[Tensor], theirs: list[Tensor]) -> bool:
    return all(torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)) for a, b in zip(ours, theirs, strict=True))


def flat(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().double().reshape(-1) for tensor in tensors])


def directions(problem: Problem) -> list[Tensor]:
    """m of every weight; zeros where there is none yet."""
    state = problem.optimizer.state
    return [
        state[each]["direction"].clone() if "direction" in state.get(each, {}) else torch.zeros_like(each)
        for each in problem.weights
    ]


def take_step(problem: Problem, mishap: str, used: list[int]) -> Seen:
    """One step, in which something may go wrong."""
    seen = Seen()

    def closure() -> Tensor:
        number = len(seen.losses)
        loss = problem.loss(used)
        if (mishap, number) in {("error", 0), ("error at the probe", 1)}:
            raise MemoryError
        if (mishap, number) in {("nan loss", 0), ("nan at the probe", 1)}:
            loss = loss * math.nan
        if (mishap, number) == ("infinite loss", 0):
            loss = loss + math.inf
        if (mishap, number) == ("minus infinite at the probe", 1):
            loss = loss - math.inf
        if (mishap, number) == ("nan gradient", 0):
            weight = problem.weights[used[-1]]
            loss = loss + (weight * 0).sqrt().sum() * 0
        seen.losses.append(loss.item())
        seen.weights.append(copies(problem.weights))
        return loss

    problem.optimizer.step(closure)
    return seen


class Judge:
    """The reference's view of one step from the numbers that the closure gave.

    Args:
        problem: after the step; its gradients are those of the step.
        before: weights of before.
        m: directions of before.
        seen: what the closure saw.
    """

    def __init__(self, problem: Problem, before: list[Tensor], m: list[Tensor], seen: Seen):
        self.present = [number for number, weight in enumerate(problem.weights) if weight.grad is not None]
        self.settings, self.seen = problem.settings, seen
        self.theta = flat([before[number] for number in self.present])
        self.g = flat([problem.weights[number].grad for number in self.present])
        self.m = flat([m[number] for number in self.present])
        self.sign = -1.0 if self.settings["maximize"] else 1.0
        self.lr = float(self.settings["lr"])
        decay = {id(weight): group["weight_decay"] for group in problem.groups for weight in group["params"]}
        self.decay = torch.cat(
            [
                torch.full_like(before[n], decay[id(problem.weights[n])], dtype=torch.float64).reshape(-1)
                for n in self.present
            ]
        )
        self.decoupled = self.settings["decoupled_weight_decay"]

    def step(self, shift: float = 0.0) -> ReferenceStep:
        """The step of the reference, where the loss at the probe differs by a relative shift."""
        losses = iter(self.seen.losses)
        l2 = torch.zeros_like(self.decay) if self.decoupled else self.decay
        anchor = self.theta

        def loss(theta: Tensor) -> Tensor:
            penalty = (l2 * theta.square()).sum() / 2
            value = self.sign * next(losses, math.nan)
            if theta.requires_grad:
                return value + self.sign * self.g.dot(theta - anchor) + penalty
            return value + penalty + shift

        return reference_step(
            loss, self.theta, self.m, mu=self.lr * self.settings["mu"], alpha=self.settings["alpha"],
            beta=self.settings["beta"], s_max=self.lr * self.settings["s_max"],
        )  # fmt: skip

    def final(self, result: ReferenceStep) -> Tensor:
        """The weights with decoupled weight decay."""
        if not self.decoupled or result.case is Case.NONFINITE:
            return result.theta
        share = (self.decay * result.step).clamp(max=1.0)
        return result.theta - share * self.theta

    def probe(self, result: ReferenceStep) -> Tensor:
        """Where the second evaluation must be."""
        direction = -result.buffer / result.norm
        return self.theta + self.lr * self.settings["mu"] * direction


def judge(problem: Problem, before: list[Tensor], m: list[Tensor], seen: Seen, counts: Counter) -> None:
    """Raise Fault if the step was not that of the reference."""
    weights, line = problem.weights, problem.optimizer.line
    demand(same_bits(seen.weights[0], before), "the first evaluation saw other weights than those of before")
    judged = Judge(problem, before, m, seen)
    exact = judged.step()
    case = Case(int(line.case))
    counts[f"case {case.name}"] += 1
    absent = [n for n in range(len(weights)) if n not in judged.present]
    demand(
        same_bits([weights[n] for n in absent], [before[n] for n in absent]), "weights without gradient moved"
    )
    demand(len(seen.losses) >= 2, "one evaluation only")
    eps = torch.finfo(problem.dtype).eps
    if exact.case is Case.NONFINITE or case is Case.NONFINITE:
        demand(exact.case is case, f"{case.name}, right {exact.case.name}")
        demand(same_bits(weights, before), "a step that is no number moved the weights")
    else:
        check_moves(problem, judged, exact, case, eps, counts)
    check_m(problem, judged, m, eps)


def check_moves(
    problem: Problem, judged: Judge, exact: ReferenceStep, case: Case, eps: float, counts: Counter
) -> None:
    seen, line, present = judged.seen, problem.optimizer.line, judged.present
    probe = flat([seen.weights[1][n] for n in present])
    reach = float(judged.lr * judged.settings["mu"])
    parts = (judged.g.abs() + judged.settings["beta"] * judged.m.abs()) / exact.norm  # which may cancel
    room = 4 * eps * (judged.theta.abs() + reach * parts) + 1e-6 * reach
    demand(
        bool(((probe - judged.probe(exact)).abs() <= room).all()),
        "the second evaluation was not at mu along the direction",
    )
    size = abs(seen.losses[0]) + abs(seen.losses[1]) + abs(float(line.slope)) * reach + abs(float(line.loss0))
    shift = SUMS[problem.dtype] * size
    near = [exact, judged.step(shift), judged.step(-shift)]
    now = flat([problem.weights[n] for n in present])
    ambiguous = len({each.case for each in near}) > 1
    counts["steps that rounding decides"] += ambiguous
    demand(ambiguous or case is exact.case, f"{case.name}, right {exact.case.name}")
    low, high = min(each.step for each in near), max(each.step for each in near)
    if ambiguous:
        low, high = min(low, 0.0), max(high, judged.lr * min(judged.settings["s_max"], 1e300))
    step, slack = float(line.step), 1e-4 if problem.dtype is not torch.float64 else 1e-9
    demand(low * (1 - slack) <= step <= high * (1 + slack), f"step {step}, right between {low} and {high}")
    taken = exact._replace(step=step, theta=judged.theta - step * exact.buffer / exact.norm)
    room = 4 * eps * (judged.theta.abs() + step) + 1e-5 * step + torch.finfo(problem.dtype).tiny
    off = (now - judged.final(taken)).abs()
    demand(
        bool((off <= room).all()), f"the weights are off by {off.max().item():.3g} after a step of {step:.3g}"
    )
    demand(step != 0 or bool((now == judged.theta).all()), "a step of length 0 moved the weights")


def check_m(problem: Problem, judged: Judge, m: list[Tensor], eps: float) -> None:
    if not judged.settings["beta"]:
        demand(
            not problem.optimizer.state
            or all("direction" not in kept for kept in problem.optimizer.state.values()),
            "m without beta",
        )
        return
    now = directions(problem)
    l2 = torch.zeros_like(judged.decay) if judged.decoupled else judged.decay
    g = judged.sign * judged.g + l2 * judged.theta
    right = judged.settings["beta"] * judged.m + g if g.isfinite().all() else judged.m
    terms = right.abs() + judged.m.abs() + judged.g.abs().nan_to_num(0.0) + (l2 * judged.theta).abs()
    room = 4 * eps * terms + torch.finfo(problem.dtype).tiny
    seen = flat([now[n] for n in judged.present])
    demand(bool(((seen - right).abs() <= room).all()), "m is not beta m + g")
    absent = [n for n in range(len(m)) if n not in judged.present]
    demand(
        same_bits([now[n] for n in absent], [m[n] for n in absent]), "m of weights without gradient changed"
    )


def soak(seed: int, counts: Counter) -> None:
    """Six steps of a random problem."""
    problem = Problem(seed)
    counts[str(problem.dtype)] += 1
    for _ in range(6):
        mishap = problem.dice.choice(MISHAPS)
        everything = list(range(len(problem.weights)))
        used = (
            everything
            if problem.dice.random() < 0.7
            else sorted({len(everything) - 1, *problem.dice.sample(everything, 1)})
        )
        before, m, cases = copies(problem.weights), directions(problem), sum(problem.optimizer.cases.values())
        counts[mishap] += 1
        if mishap.startswith("error"):
            with pytest.raises(MemoryError):
                take_step(problem, mishap, used)
            demand(same_bits(problem.weights, before), f"an error moved the weights ({mishap})")
            demand(same_bits(directions(problem), m), "an error changed m")
            demand(sum(problem.optimizer.cases.values()) == cases, "an error was counted as a step")
            mishap = "none"
        seen = take_step(problem, mishap, used)
        judge(problem, before, m, seen, counts)
        counts["steps"] += 1


def soaked(count: int) -> tuple[Counter, list[str]]:
    """What was met in many random cases, and what went wrong."""
    counts: Counter = Counter()
    faults: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for seed in range(count):
            try:
                soak(seed, counts)
            except Exception as fault:
                faults.append(f"seed {seed}: {type(fault).__name__}: {fault}")
    return counts, faults


def assert_sound(count: int) -> None:
    counts, faults = soaked(count)
    print(f"\n{count} cases: {dict(sorted(counts.items()))}")  # noqa: T201 - the counts are the result
    assert faults == []
    assert all(counts[f"case {case.name}"] > 0 for case in Case), counts
    assert all(counts[mishap] > 0 for mishap in MISHAPS), counts
    assert counts["steps that rounding decides"] < 0.1 * counts["steps"]


def test_some_random_cases():
    assert_sound(SOME)


@pytest.mark.large
def test_many_random_cases():
    assert_sound(ALL)
