"""One thing changed at a time: PAL's mu, the number type, what its steps take care of, what the published code does.

The curvature is a difference of nearly equal losses divided by mu², so that mu and the number type are swept together.
Each variant starts from the same weights and sees the same batches as the reference that it is compared with. It is a
PAL that lacks one piece of care or has one more, or the reference with a known error of the published code.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from experiments.optimizers import OPTIMIZERS
from experiments.problems import PROBLEMS
from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig, Strict, resolve
from experiments.training.loop import train
from experiments.training.measure import train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer, l2_term

Number = Literal["float32", "bfloat16"]


class Kind(NamedTuple):
    """What is trained on every problem with every seed.

    Attributes:
        method: The variant or reference.
        optimizer: Its optimizer.
        settings: The optimizer's.
        dtype: Number type of the forward pass.
        ending: Of the problem's name, where it is the problem that is changed.
    """

    method: str
    optimizer: str
    settings: dict[str, float]
    dtype: Number = "float32"
    ending: str = ""


ERRORS = {
    kind.method: kind
    for kind in (
        # ALI-G's port divides its step counter, which stays at 1, instead of the loss.
        Kind("alig-numerator", "alig", {"numerator": 1.0}),
        # CIFAR-10 is read in the same order in every epoch.
        Kind("pal-unshuffled", "pal", {}, ending="-unshuffled"),
    )
}
"""Variants that are known errors of the published code; all others are optimizers of their own."""


class Part(Trainings):
    """Some of the trainings.

    Attributes:
        mus: Measuring steps of plain PAL.
        dtypes: Number types, each with every mu.
        variants: References with one change, called after them: pal-new-masks, alig-numerator.
        mu: Measuring step of the variants of PAL and of their reference.
        alig: Settings of ALI-G, as variant and as reference.
    """

    mus: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    dtypes: list[Number] = Field(default_factory=lambda: list[Number](["float32"]))
    variants: list[str] = Field(default_factory=list)
    mu: Annotated[float, Field(gt=0)] = 0.1
    alig: dict[str, float] = Field(default_factory=dict)

    def kinds(self) -> list[Kind]:
        """What is trained on every problem with every seed, each once."""
        kinds = [Kind("pal", "pal", {"mu": mu}, dtype) for dtype in self.dtypes for mu in self.mus]
        for name in self.variants:
            kinds += [kind for kind in self._pair(name) if kind not in kinds]
        return kinds

    def _pair(self, variant: str) -> tuple[Kind, Kind]:
        """A variant after its reference."""
        reference = variant.partition("-")[0]
        settings = dict(self.alig) if reference == "alig" else {"mu": self.mu}
        changed = ERRORS.get(variant, Kind(variant, variant, {}))
        return Kind(reference, reference, settings), changed._replace(settings=settings | changed.settings)


class Settings(Strict):
    """Section `ablation` of a profile."""

    parts: Annotated[list[Part], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """All runs, with every field resolved."""
    return [config for part in settings.parts for config in _plan(part)]


def _plan(part: Part) -> Iterator[RunConfig]:
    for problem in part.problems:
        for kind in part.kinds():
            for seed in part.seeds:
                yield resolve(
                    "ablation",
                    problem=problem + kind.ending,
                    method=kind.method if kind.dtype == "float32" else f"{kind.method}-{kind.dtype}",
                    optimizer=kind.optimizer,
                    dtype=kind.dtype,
                    seed=seed,
                    **_l2(problem, kind.optimizer, kind.settings),
                    **part.lengths(),
                )


def _l2(problem: str, optimizer: str, settings: dict[str, float]) -> dict[str, Any]:
    """The settings; for an optimizer that decays weights by itself, with the problem's L2 term moved over to it."""
    if "weight_decay" not in OPTIMIZERS[optimizer].settings:
        return {"settings": settings}
    return {"settings": settings | {"weight_decay": PROBLEMS[problem].l2}, "l2": 0.0}


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """One training. Where the optimizer decays weights, lines/l2 is the L2 term of each step, which l(0) lacks."""
    factor = config.settings.get("weight_decay")
    if factor is None:
        return train(config, record)
    return train_and_measure(config, record, lambda _, trainer: {"l2": _term(trainer, factor)})


def _term(trainer: Trainer, factor: float) -> float:
    return l2_term(list(trainer.model.parameters()), factor).item()


STUDY = Study(Settings, plan, run)
