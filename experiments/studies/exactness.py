"""Is an exact line search on the batch loss a good way to train? (section 6 of the paper)

The same weights and batches for each method: exact searches along the negative gradient and along PAL's adapted
direction, PAL, PAL with the alpha that makes its steps most exact, and SGD.
"""

from typing import Annotated, Any

from pydantic import Field

from experiments.studies.base import Study, Trainings
from experiments.training.config import RunConfig, Strict
from experiments.training.loop import train


class Method(Strict):
    """One way to train.

    Attributes:
        optimizer: Name in `experiments.optimizers`.
        settings: Its settings; what is missing keeps its default.
    """

    optimizer: str
    settings: dict[str, Any] = Field(default_factory=dict)


class Settings(Trainings):
    """Section `exactness` of a profile.

    Attributes:
        methods: By the name that tables and figures show: pal, and names that begin with exact.
    """

    methods: Annotated[dict[str, Method], Field(min_length=1)]


def plan(settings: Settings) -> list[RunConfig]:
    """Every method with every seed on every problem."""
    kinds = [
        {"method": name, "optimizer": method.optimizer, "settings": method.settings}
        for name, method in settings.methods.items()
    ]
    return settings.runs("exactness", kinds)


STUDY = Study(Settings, plan, train)
