"""Ablations, one change at a time: PAL's mu, the dtype, PAL's safeguards, and bugs of the published code.

The curvature is a difference of nearly equal losses divided by mu², so mu and dtype are swept together. Each variant
starts from the same weights and sees the same batches as its reference. It is PAL with one safeguard less or one more,
the reference with a known bug of the published code, or whatever a profile compares with whatever.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import Field, model_validator

from experiments.problems import PROBLEMS
from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig, Strict, resolve
from experiments.training.loop import train
from experiments.training.measure import train_and_measure
from experiments.training.record import Record
from experiments.training.trainer import Trainer, l2_term

Number = Literal["float32", "bfloat16"]

L2_OUTSIDE = "pal-l2-beside"


class Kind(NamedTuple):
    """A kind of training, executed on every problem with every seed.

    Attributes:
        method: The variant or reference.
        optimizer: Its optimizer.
        settings: Hyper-parameters of the optimizer.
        dtype: Dtype of the forward pass.
        ending: Suffix of the problem's name, if the problem is what changes.
        reference: What it is a variant of, if it is one.
    """

    method: str
    optimizer: str
    settings: dict[str, Any]
    dtype: Number = "float32"
    ending: str = ""
    reference: "Kind | None" = None


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

Fraction = Annotated[float, Field(gt=0)]


class Method(Strict):
    """An optimizer with its hyper-parameters.

    Attributes:
        optimizer: Name in `experiments.optimizers`.
        settings: Hyper-parameters that differ from the defaults.
    """

    optimizer: str
    settings: dict[str, Any] = Field(default_factory=dict)


class Reference(Method):
    """What variants are compared with; its `name` is that in tables and figures."""

    name: str


class Comparison(Strict):
    """A reference and its variants.

    Attributes:
        reference: The reference.
        variants: The variants, by the name in tables and figures.
        margins: Quantities (columns of `results.tables.ablation`) in which each variant is claimed to be not worse than
            its reference, with the difference that counts as none (see `results.claims.margins`).
    """

    reference: Reference
    variants: Annotated[dict[str, Method], Field(min_length=1)]
    margins: dict[Literal["val_accuracy", "val_loss", "log10_train_loss"], Fraction] = Field(
        default_factory=dict
    )

    @model_validator(mode="after")
    def _have_other_names(self) -> Self:
        if self.reference.name in self.variants:
            raise ValueError(
                f"a variant is called {self.reference.name!r} like its reference; it needs another name"
            )
        return self

    def kinds(self) -> list[Kind]:
        """The reference and the variants."""
        reference = Kind(self.reference.name, self.reference.optimizer, self.reference.settings)
        return [
            reference,
            *(
                Kind(name, variant.optimizer, variant.settings, reference=reference)
                for name, variant in self.variants.items()
            ),
        ]


class Part(Trainings):
    """A part of the study, with its own problems.

    Attributes:
        mus: Values of mu for plain PAL.
        dtypes: Dtypes, each combined with every mu.
        variants: Optimizers that are PAL with one change, such as pal-new-masks, and alig-numerator.
        mu: mu of the variants of PAL and of their reference.
        alig: Hyper-parameters of ALI-G, for variant and reference.
        comparisons: Any other references and variants.
    """

    mus: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    dtypes: list[Number] = Field(default_factory=lambda: list[Number](["float32"]))
    variants: list[str] = Field(default_factory=list)
    mu: Annotated[float, Field(gt=0)] = 0.1
    alig: dict[str, float] = Field(default_factory=dict)
    comparisons: list[Comparison] = Field(default_factory=list)

    def kinds(self) -> list[Kind]:
        """All kinds of training, without duplicates."""
        kinds = [Kind("pal", "pal", {"mu": mu}, dtype) for dtype in self.dtypes for mu in self.mus]
        pairs = [self._pair(name) for name in self.variants]
        for several in [*pairs, *(comparison.kinds() for comparison in self.comparisons)]:
            kinds += [kind for kind in several if kind not in kinds]
        return kinds

    def _pair(self, variant: str) -> list[Kind]:
        """A variant, preceded by its reference."""
        changed = ERRORS.get(variant, Kind(variant, variant, {}))
        of_alig = changed.optimizer == "alig"
        settings = dict(self.alig) if of_alig else {"mu": self.mu}
        name = "alig" if of_alig else "pal"
        reference = Kind(name, name, settings)
        return [reference, changed._replace(settings=settings | changed.settings, reference=reference)]


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
                yield _run(part, problem, kind, seed)


def _run(part: Part, problem: str, kind: Kind, seed: int) -> RunConfig:
    compared: dict[str, Any] = {}
    if kind.reference is not None:
        reference = _run(part, problem, kind.reference, seed)
        compared["reference"] = f"{reference.method} {reference.setting}"
    return resolve(
        "ablation",
        problem=problem + kind.ending,
        method=kind.method if kind.dtype == "float32" else f"{kind.method}-{kind.dtype}",
        optimizer=kind.optimizer,
        dtype=kind.dtype,
        seed=seed,
        **_l2(problem, kind),
        **compared,
        **part.lengths(),
    )


def _l2(problem: str, kind: Kind) -> dict[str, Any]:
    """Hyper-parameters and L2 term, which the optimizer has as its weight decay if that is what changes."""
    if kind.optimizer != L2_OUTSIDE:
        return {"settings": kind.settings}
    factor = PROBLEMS[problem].l2
    settings = {"weight_decay": factor} | kind.settings
    return {"settings": settings, "l2": 0.0, "measure": {"l2": settings["weight_decay"]}}


def run(config: RunConfig, record: Record) -> dict[str, Any]:
    """Train. If the L2 term is outside of the searched loss, lines/l2 records it at each step, as l(0) lacks it."""
    if config.measure is None:
        return train(config, record)
    factor = config.measure["l2"]
    return train_and_measure(config, record, lambda _, trainer: {"l2": _term(trainer, factor)})


def _term(trainer: Trainer, factor: float) -> float:
    return l2_term(list(trainer.model.parameters()), factor).item()


STUDY = Study(Settings, plan, run)
