"""What makes two runs the same: the key of a run.

A run is known by all that its result depends on: configuration (with threads and instruction set), the code that it
executes, the data, and the packages of others that its network and optimizer come from. The device is not in the key,
because a cluster's login node plans runs for others; tables refuse to mix devices instead (`runs.mixture`).
"""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.common import code_digest, extensions, instruction_set, packages, source
from experiments.common.paths import runs_root
from experiments.data import DATASETS, dataset
from experiments.models import NETWORKS
from experiments.optimizers import OPTIMIZERS
from experiments.runs.integrity import run_folders
from experiments.studies.registry import STUDIES
from experiments.training.config import RunConfig

REGISTRIES = (
    "experiments.data.registry",
    "experiments.models.registry",
    "experiments.optimizers.registry",
    "experiments.problems.registry",
    "experiments.problems.objectives:OBJECTIVES",
    "experiments.studies.registry",
)
"""What no run depends on: what they say of a run's own parts is in its key."""

OBJECTIVE = "experiments.problems.objectives:OBJECTIVES[{}]"


def run_key(config: RunConfig) -> str:
    """16 hexadecimal digits: SHA-256 of all that `identity` says."""
    return _key(identity(config))


def key_without_data(config: RunConfig) -> str:
    """The same whatever the data are, for plans of runs whose data are not here."""
    return _key(identity(config) | {"data": None})


def _key(parts: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def identity(config: RunConfig) -> dict[str, Any]:
    """All that the result of a run depends on, by the name that a change of it has for users."""
    problem = config.resolved_problem
    network, optimizer = NETWORKS[problem.network], OPTIMIZERS[config.optimizer]
    targets = [target for target in (network.target, optimizer.target) if isinstance(target, str)]
    own = extensions.roots({name: thing for name, thing in config.things.items() if name != "PROBLEMS"})
    parts = {
        "config": config.model_dump(exclude={"extensions"}),
        "problem": asdict(problem) | {"source": ""},
        "network": asdict(network) | {"target": _attribute(network.target)},
        "optimizer": asdict(optimizer) | {"target": _attribute(optimizer.target)},
        "code": _code(config.study, problem.dataset, problem.objective_name, *targets),
        "own code": {root: code_digest.digest(root, without=REGISTRIES) for root in own},
        "data": data_checksum(problem.dataset),
        "packages": _packages(*targets, *own),
        "instruction set": ("native" if config.instruction_set == "native" else instruction_set.portable()),
    }
    return json.loads(json.dumps(parts, default=_name))  # as it is read back


def _attribute(target: Any) -> str:
    return target.partition(":")[2] if isinstance(target, str) else _name(target)


def _name(thing: Any) -> str:
    """The name of a class or function; its code is among the own code."""
    return getattr(thing, "__qualname__", type(thing).__qualname__)


@lru_cache
def _code(study: str, data: str, objective: str, *targets: str) -> str:
    """Digest of the code of the project that a run executes."""
    modules = {"STUDY": STUDIES[study], f"DATASETS[{data}]": DATASETS[data]}
    roots = [f"{module}:{name}" for name, module in modules.items() if isinstance(module, str)]
    return code_digest.digest(*roots, OBJECTIVE.format(objective), *targets, without=REGISTRIES)


@lru_cache
def _packages(*roots: str) -> dict[str, str]:
    """Versions of torch, of numpy, which orders the data, and of what else a network and an optimizer use."""
    used = code_digest.packages(*roots, without=REGISTRIES) - sys.stdlib_module_names
    used |= {root.partition(".")[0].partition(":")[0] for root in roots}
    used -= {"experiments", "pal", *source.own}
    return {name: packages.version(name) for name in sorted({"numpy", "torch"} | used)}


def data_checksum(name: str) -> str | None:
    """SHA-256 of a data set. One that is not here is taken to be that of the newest run; None if no run has it."""
    return dataset.checksum(name) or _recorded_checksums().get(name)


def _recorded_checksums() -> Mapping[str, str]:
    root = runs_root()
    return _read_checksums(root, root.stat().st_mtime_ns) if root.is_dir() else {}


@lru_cache(maxsize=1)
def _read_checksums(root: Path, _changed: int) -> Mapping[str, str]:
    """Checksums of data sets as the finished runs say, the newest run's last; read once until a run is added."""
    found: list[tuple[str, str, str]] = []
    for folder in run_folders(root):
        try:
            run, info = (json.loads((folder / f"{name}.json").read_bytes()) for name in ("run", "info"))
            parts = info["identity"]
            found.append((run["start_time"], parts["problem"]["dataset"], parts["data"]))
        except (OSError, ValueError, KeyError, TypeError):  # damaged, or deleted just now
            continue
    return {name: checksum for _, name, checksum in sorted(found)}
