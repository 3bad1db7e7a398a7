"""Ablations, one change at a time: PAL's mu, the dtype, PAL's safeguards, and bugs of the published code.

The curvature is a difference of nearly equal losses divided by mu², so mu and dtype are swept together. Each variant
starts from the same weights and sees the same batches as its reference. It is PAL with one safeguard less or one more,
or the reference with a known bug of the published code.
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
    """A kind of training, executed on every problem with every seed.

    Attributes:
        method: The variant or reference.
        optimizer: Its optimizer.
        settings: Hyper-parameters of the optimizer.
        dtype: Dtype of the forward pass.
        ending: Suffix of the problem's name, if the problem is what changes.
    """

    method: str
    optimizer: str
    settings: dict[str, float]
    dtype: Number = "float32"
    ending: str = ""


ERRORS = {
    kind.method: kind
    for kind in (
        # The published port of ALI-G divides its step counter, which stays at 1, instead of the loss.
        Kind("alig-numerator", "alig", {"numerator": 1.0}),
        # CIFAR-10 is read in the same order in every epoch.
        Kind("pal-unshuffled", "pal", {}, ending="-unshuffled"),
    )
}
"""Variants that are known bugs of the published code; all others are separate optimizers."""


class Part(Trainings):
    """A part of the study, with its own problems.

    Attributes:
        mus: Values of mu for plain PAL.
        dtypes: Dtypes, each combined with every mu.
        variants: References with one change, prefixed by the name of the reference: pal-new-masks, alig-numerator.
        mu: mu of the variants of PAL and of their reference.
        alig: Hyper-parameters of ALI-G, for variant and reference.
    """

    mus: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    dtypes: list[Number] = Field(default_factory=lambda: list[Number](["float32"]))
    variants: list[str] = Field(default_factory=list)
    mu: Annotated[float, Field(gt=0)] = 0.1
    alig: dict[str, float] = Field(default_factory=dict)

    def kinds(self) -> list[Kind]:
        """All kinds of training, without duplicates."""
        kinds = [Kind("pal", "pal", {"mu": mu}, dtype) for dtype in self.dtypes for mu in self.mus]
        for name in self.variants:
            kinds += [kind for kind in self._pair(name) if kind not in kinds]
        return kinds

    def _pair(self, variant: str) -> tuple[Kind, Kind]:
        """A variant, preceded by its reference."""
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
    """Hyper-parameters and L2 term; an optimizer with its own weight decay takes over the L2 term of the problem."""
    if "weight_decay" not in OPTIMIZERS[optimizer].settings:
        return {"settings": settings}
    return {"settings": settings | {"weight_decay": PROBLEMS[problem].l2}, "l2": 0.0}


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train. If the optimizer decays weights, lines/l2 records the L2 term of each step, which l(0) lacks."""
    factor = config.settings.get("weight_decay")
    if factor is None:
        return train(config, record)
    return train_and_measure(config, record, lambda _, trainer: {"l2": _term(trainer, factor)})


def _term(trainer: Trainer, factor: float) -> float:
    return l2_term(list(trainer.model.parameters()), factor).item()


STUDY = Study(Settings, plan, run)
