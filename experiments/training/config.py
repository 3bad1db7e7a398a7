"""The configuration of a run: a flat record with every field resolved."""

import math
import reprlib
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from experiments import optimizers
from experiments.common import extensions
from experiments.common.errors import UserError, nearest
from experiments.common.instruction_set import Choice
from experiments.optimizers import OPTIMIZERS
from experiments.problems.problem import Problem
from experiments.problems.registry import PROBLEMS

Count = Annotated[int, Field(ge=1, le=10**8)]


RARE = ("reference", "extensions")
"""Fields of a run that are written only if they say something."""


class Strict(BaseModel):
    """A section of a configuration; unknown keys and wrong types are reported in one sentence."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _has_known_keys(cls, values: Any) -> Any:
        """A misspelt key says more than the one that is missing for it."""
        if not isinstance(values, dict):
            raise ValueError(f"it must have fields, known are {', '.join(cls.model_fields)}")
        for name in values:
            if name not in cls.model_fields:
                raise ValueError(f"there is no key {name!r}; {nearest(str(name), cls.model_fields)}")
        return values

    @classmethod
    def read(cls, values: Any, where: str) -> Self:
        """Read the section from `values`; raises UserError naming `where`, the key, the value and what is allowed."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise UserError(f"{where}: {_sentence(error)}") from None


def _sentence(error: ValidationError) -> str:
    """The first mistake of a validation, as one sentence."""
    first = error.errors()[0]
    path = ".".join(map(str, first["loc"]))
    if first["type"] == "missing":
        return f"the key {path!r} is missing"
    words = first["msg"].removeprefix("Value error, ").replace("Input", "it")
    if words.startswith("there is no key"):
        return f"{path}: {words}" if path else words
    return f"{path + ' is ' if path else ''}{reprlib.repr(first['input'])}; {words}"


class RunConfig(Strict):
    """One run. The same configuration and code give the same key and the same results.

    Attributes:
        study: The study it belongs to.
        problem: Data set and network.
        method: Its name in comparisons, such as "sgd-step".
        optimizer: Name in `experiments.optimizers`.
        settings: All hyper-parameters of the optimizer.
        schedule: Schedule of the learning rate.
        schedule_steps: Number of steps for which the schedule is made; None: that of the run.
        phase: "selection" if the run chooses hyper-parameters, "evaluation" if it is judged.
        steps: Number of steps.
        batch_size: Examples per step.
        l2: lambda of lambda / 2 ||theta||^2 in the loss.
        train_size: Number of training examples to use, from the first; None: all.
        evaluate_every: Steps between evaluations on the validation data.
        seed: Seed of everything random.
        device: "auto" uses a GPU if there is one.
        dtype: Dtype of the forward pass; bfloat16 by autocast.
        deterministic: Whether repeated runs are bitwise identical.
        threads: CPU threads.
        instruction_set: "portable" gives the same bits on other processors, "native" uses all that this one has.
        measure: What the study measures during training, if anything.
        reference: Method and hyper-parameters of the run that it is compared with, in the study `ablation`.
        extensions: Modules of one's own that its things come from, relative to the repository.
    """

    study: str
    problem: str
    method: Annotated[str, Field(pattern=r"^[\w.+-]{1,60}$")]
    optimizer: str
    settings: dict[str, Any]
    schedule: Literal["none", "step", "cosine"] = "none"
    schedule_steps: Count | None = None
    phase: Literal["selection", "evaluation"] = "evaluation"
    steps: Count
    batch_size: Count
    l2: Annotated[float, Field(ge=0)]
    train_size: Count | None
    evaluate_every: Count = 1
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["float32", "bfloat16"] = "float32"
    deterministic: bool = True
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    instruction_set: Choice = "portable"
    measure: dict[str, Any] | None = None
    reference: str | None = None
    extensions: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _has_its_things(self) -> Self:
        """Whoever reads the configuration of a run, such as a worker, knows the things it is made of."""
        extensions.load(self.extensions)
        return self

    @model_serializer(mode="wrap")
    def _without_what_is_empty(self, fields: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in fields(self).items() if value or name not in RARE}

    @property
    def things(self) -> dict[str, str]:
        """What the run is made of: names, by the variables of their registries."""
        problem = PROBLEMS[self.problem]
        return {
            "STUDIES": self.study,
            "PROBLEMS": self.problem,
            "DATASETS": problem.dataset,
            "NETWORKS": problem.network,
            "OBJECTIVES": problem.objective_name,
            "OPTIMIZERS": self.optimizer,
        }

    @property
    def resolved_problem(self) -> Problem:
        """The problem with the changes of this run."""
        return replace(
            PROBLEMS[self.problem],
            batch_size=self.batch_size,
            l2=self.l2,
            train_size=self.train_size,
            steps=self.steps,
        )

    @property
    def setting(self) -> str:
        """The hyper-parameters as text without spaces inside values, such as "mu=0.1 alpha=1"."""
        return " ".join(f"{name}={_text(value)}" for name, value in self.settings.items())

    @property
    def name(self) -> str:
        """A readable name: problem, method, hyper-parameters and seed."""
        settings = " ".join(f"{key}={value:g}" for key, value in self.settings.items() if _is_number(value))
        return f"{self.problem} {self.method} {settings} seed={self.seed}"


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float)


def resolve(study: str, **given: Any) -> RunConfig:
    """A run in which all fields that are not given come from the problem and the optimizer.

    Raises:
        UserError: For unknown names and values that are not allowed, before anything runs.
    """
    for name in ("problem", "optimizer"):
        if not isinstance(given.get(name), str):
            known = {"problem": PROBLEMS, "optimizer": OPTIMIZERS}[name]
            raise UserError(
                f"run: {name} must be one of {', '.join(known)}, not {reprlib.repr(given.get(name))}"
            )
    problem = PROBLEMS[given["problem"]]
    settings = given.get("settings", {})
    if not isinstance(settings, dict):
        raise UserError(
            f"run: settings is {reprlib.repr(settings)}; it must hold fields such as settings.mu=0.1"
        )
    given["settings"] = optimizers.resolve(
        given["optimizer"], {str(name): value for name, value in settings.items()}
    )
    inherited = {name: getattr(problem, name) for name in ("steps", "batch_size", "l2", "train_size")}
    config = RunConfig.read({"study": study, "method": given["optimizer"]} | inherited | given, "run")
    optimizers.check(config.optimizer, config.settings, config.schedule)
    further: dict[str, Any] = {"extensions": extensions.of(config.things)}
    if "evaluate_every" not in given:
        epoch = math.ceil(config.resolved_problem.examples[0] / config.batch_size)
        further["evaluate_every"] = epoch
    return config.model_copy(update=further)


def device_of(config: RunConfig) -> torch.device:
    """The device of a run; raises UserError if it asks for a GPU and there is none."""
    if config.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device is 'cuda', but torch finds no CUDA device; use 'cpu' or 'auto'")
    name = "cuda" if config.device != "cpu" and torch.cuda.is_available() else "cpu"
    return torch.device(name)
