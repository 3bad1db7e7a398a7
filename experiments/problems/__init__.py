"""Problems: a data set and a network under one name, with batch size, L2 term, steps and schedule points.

problem = problems.get("cifar10-resnet20")
splits = problem.load("cuda")
loader = problem.loader(splits.train, order_seed=1, augmentation_seed=2)
model = problem.build(seed=3).to("cuda")
loss = problem.loss(model, *loader.batch(0))
"""

import dataclasses
from typing import Any

from experiments.errors import UserError, nearest
from experiments.problems.catalogue import PROBLEMS
from experiments.problems.problem import Problem, Score
from experiments.problems.table import table

__all__ = ["Problem", "Score", "get", "names", "table", "with_changes"]


def names() -> list[str]:
    """All problems."""
    return list(PROBLEMS)


def get(name: str) -> Problem:
    """The problem `name`; raises UserError with the nearest names if there is none."""
    if name not in PROBLEMS:
        raise UserError(f"there is no problem {name!r}; {nearest(name, PROBLEMS)}")
    return PROBLEMS[name]


def with_changes(problem: Problem, **changes: Any) -> Problem:
    """The problem with some fields changed, such as train_size, batch_size or l2."""
    fields = [field.name for field in dataclasses.fields(problem)]
    for name in changes:
        if name not in fields:
            raise UserError(f"a problem has no field {name!r}; {nearest(name, fields)}")
    return dataclasses.replace(problem, **changes)
