"""What makes two runs the same: the key of a run."""

import hashlib
import json
from dataclasses import asdict

from experiments.common import code_digest
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
    what = {
        "config": config.model_dump(),
        "problem": asdict(problem) | {"source": ""},
        "network": asdict(network) | {"target": _attribute(network.target)},
        "optimizer": asdict(optimizer) | {"target": _attribute(optimizer.target)},
        "code": code_digest.digest(
            STUDIES[config.study],
            DATASETS[problem.dataset],
            _module(network.target),
            _module(optimizer.target),
            without=REGISTRIES,
        ),
    }
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def _module(target: str) -> str:
    return target.partition(":")[0]


def _attribute(target: str) -> str:
    return target.partition(":")[2]
