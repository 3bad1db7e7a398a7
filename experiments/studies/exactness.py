"""Is an exact line search on the batch loss a good way to train? (section 6 of the paper)

Methods with the same initial weights and batches: exact searches along the negative gradient and along PAL's adapted
direction, PAL, PAL with the alpha that makes its steps most exact, and SGD.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig, Strict
from experiments.training.loop import train


class Method(Strict):
    """One method.

    Attributes:
        optimizer: Name in `experiments.optimizers`.
        settings: Hyper-parameters that differ from the defaults.
    """

    optimizer: str
    settings: dict[str, Any] = Field(default_factory=dict)


class Settings(Trainings):
    """Section `exactness` of a profile.

    Attributes:
        methods: The methods by name. The claims compare pal with exact, and pal-adapted with exact-adapted.
    """

    methods: Annotated[dict[str, Method], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """Each method on each problem with each seed."""
    kinds = [
        {"method": name, "optimizer": method.optimizer, "settings": method.settings}
        for name, method in settings.methods.items()
    ]
    return settings.runs("exactness", kinds)


STUDY = Study(Settings, plan, train)
