"""PAL with one thing changed at a time: mu, the number type, and what its steps take care of (PAPER section 7).

The curvature is a difference of nearly equal losses divided by mu², so that mu and the number type are swept together.
Each variant is a PAL that lacks one piece of care, or has one more, and starts from the same weights and sees the same
batches as the plain PAL that it is compared with.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from experiments import optimizers, problems
from experiments.config import RunConfig, Strict, resolve
from experiments.plans import Trainings
from experiments.trainer import Trainer, l2_term
from experiments.training import Record, train
from experiments.watched import watched

Number = Literal["float32", "bfloat16"]
Kind = tuple[str, float, Number]
"""Optimizer, mu and number type."""


class Part(Trainings):
    """Some of the trainings.

    Attributes:
        mus: Measuring steps of plain PAL.
        dtypes: Number types, each with every mu.
        variants: Optimizers that are PAL with one change, each with mu = `mu` in float32, as their reference.
        mu: Measuring step of the variants and their reference.
    """

    mus: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    dtypes: list[Number] = Field(default_factory=lambda: list[Number](["float32"]))
    variants: list[str] = Field(default_factory=list)
    mu: Annotated[float, Field(gt=0)] = 0.1

    def kinds(self) -> list[Kind]:
        """What is trained on every problem with every seed, each once."""
        swept: list[Kind] = [("pal", mu, dtype) for dtype in self.dtypes for mu in self.mus]
        compared: list[Kind] = [
            (name, self.mu, "float32") for name in ("pal", *self.variants) if self.variants
        ]
        return list(dict.fromkeys([*swept, *compared]))


class Settings(Strict):
    """Section `ablation` of a profile."""

    parts: Annotated[list[Part], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """All runs, with every field resolved."""
    return [config for part in settings.parts for config in _plan(part)]


def _plan(part: Part) -> Iterator[RunConfig]:
    for problem in part.problems:
        for optimizer, mu, dtype in part.kinds():
            for seed in part.seeds:
                yield resolve(
                    "ablation",
                    problem=problem,
                    entry=optimizer if dtype == "float32" else f"{optimizer}-{dtype}",
                    optimizer=optimizer,
                    dtype=dtype,
                    seed=seed,
                    **_l2(problem, optimizer, {"mu": mu}),
                    **part.lengths(),
                )


def _l2(problem: str, optimizer: str, settings: dict[str, float]) -> dict[str, Any]:
    """The settings; for an optimizer that decays weights by itself, with the problem's L2 term moved over to it."""
    if "weight_decay" not in optimizers.get(optimizer).settings:
        return {"settings": settings}
    return {"settings": settings | {"weight_decay": problems.get(problem).l2}, "l2": 0.0}


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training. Where the optimizer decays weights, lines/l2 is the L2 term of each step, which l(0) lacks."""
    factor = config.settings.get("weight_decay")
    if factor is None:
        return train(config, record)
    return watched(config, record, lambda _, trainer: {"l2": _term(trainer, factor)})


def _term(trainer: Trainer, factor: float) -> float:
    return l2_term(list(trainer.model.parameters()), factor).item()
