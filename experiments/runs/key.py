"""What makes two runs the same: the key of a run."""

import hashlib
import json
from dataclasses import asdict
from typing import Any

from experiments.common import code_digest, extensions
from experiments.data import DATASETS
from experiments.models import NETWORKS
from experiments.optimizers import OPTIMIZERS
from experiments.studies.registry import STUDIES
from experiments.training.config import RunConfig

REGISTRIES = (
    "experiments.data.registry",
    "experiments.models.registry",
    "experiments.optimizers.registry",
    "experiments.problems.registry",
)
"""Modules that no run depends on: what they say of a run's own parts is in its key."""


def run_key(config: RunConfig) -> str:
    """16 hexadecimal digits: SHA-256 of the config, the problem it names and the code it runs, wherever that stands."""
    problem = config.resolved_problem
    network, optimizer = NETWORKS[problem.network], OPTIMIZERS[config.optimizer]
    targets = STUDIES[config.study], DATASETS[problem.dataset], network.target, optimizer.target
    modules = [target.partition(":")[0] for target in targets if isinstance(target, str)]
    what = {
        "config": config.model_dump(exclude={"extensions"}),
        "problem": asdict(problem) | {"source": ""},
        "network": asdict(network) | {"target": _attribute(network.target)},
        "optimizer": asdict(optimizer) | {"target": _attribute(optimizer.target)},
        "code": code_digest.digest(*modules, without=REGISTRIES),
        "own": extensions.digest(config.things, without=REGISTRIES),
    }
    text = json.dumps(what, sort_keys=True, default=_name)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _attribute(target: Any) -> str:
    return target.partition(":")[2] if isinstance(target, str) else _name(target)


def _name(thing: Any) -> str:
    """The name of a class or function; its code is among what is `own`."""
    return getattr(thing, "__qualname__", type(thing).__qualname__)
