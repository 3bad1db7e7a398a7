"""Everything besides its config that a run's result may depend on."""

import hashlib
import os
import platform
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from experiments.common import instruction_set
from experiments.common.errors import UserError
from experiments.common.git import git
from experiments.common.paths import REPOSITORY
from experiments.data import dataset
from experiments.training.config import RunConfig, device_of

CODE = ("pal", "experiments", "requirements.lock")
"""What a commit must hold as it is here, for the runs to be its own; all settings are recorded with the run."""


def provenance(config: RunConfig) -> dict[str, Any]:
    """Code, data, software and hardware of a run that starts now.

    Raises:
        UserError: If this process computes with another instruction set than the run asks for.
    """
    gpu = device_of(config).type == "cuda"
    return _software() | {
        "data_sha256": dataset.checksum(config.resolved_problem.dataset),
        "device": torch.cuda.get_device_name() if gpu else processor(),
        "device_type": "cuda" if gpu else "cpu",
        "threads": torch.get_num_threads(),
        "instruction_set": _instruction_set(config.instruction_set),
    }


ENVIRONMENT = ("threads", "torch", "instruction_set")
"""What rounding depends on, besides the device."""


def environment(config: RunConfig) -> dict[str, Any]:
    """What rounding depends on in this process: if it is equal, the same code gives bitwise identical results."""
    return rounding(provenance(config.model_copy(update={"instruction_set": "portable"})))


def rounding(made: Mapping[Any, Any]) -> dict[str, Any]:
    """What rounding depends on, from a run's provenance, as far as earlier versions recorded it."""
    return {name: made.get(name) for name in ENVIRONMENT} | {
        "device": arithmetic(made),
        "maker": _maker(made),
    }


def arithmetic(made: Mapping[str, Any]) -> str:
    """What computes, from a run's provenance: the model of a GPU; "cpu", since its instruction set says the rest."""
    return str(made["device"]) if made.get("device_type") == "cuda" else "cpu"


def _maker(made: Mapping[str, Any]) -> str:
    """The maker of what computes, from a run's provenance.

    The fixed instruction set computes the same on processors of all makers, except for the vector mathematics of MKL,
    with which torch takes the square roots of Adam and RMSProp.
    """
    return str(made.get("device")).partition(" ")[0]


def _instruction_set(choice: instruction_set.Choice) -> str:
    """The portable set, or what torch finds where a run may use all; the processor's own name says less."""
    here = torch.backends.cpu.get_cpu_capability().lower()
    portable = instruction_set.portable()
    known = {"avx2": "avx2", "sse4.1": "default"}.get(portable, here)
    if not instruction_set.is_fixed(choice) or (choice == "portable" and here != known):
        raise UserError(
            f"instruction_set is {choice!r}, but this process has loaded torch with {here}; "
            "`python -m experiments` starts every run with its own"
        )
    return portable if choice == "portable" else f"native {here}"


DIFF = ("-c", "diff.suppressBlankEmpty=false", "diff", "--no-ext-diff", "--no-textconv", "--no-color")
DIFF += ("--src-prefix=a/", "--dst-prefix=b/", "--unified=3")
"""Differences as `git apply` takes them, whatever a person's own git shows."""


@lru_cache
def changes() -> str:
    """What the code here has that its commit has not, as a patch for `git apply`; empty without git, or changes."""
    if not _software()["dirty"]:
        return ""
    tracked = git(*DIFF, "HEAD", "--", *CODE) or ""
    new = git("ls-files", "--others", "--exclude-standard", "-z", "--", *CODE) or ""
    parts = [tracked, *(_as_new(name) for name in sorted(filter(None, new.split("\0"))))]
    return "\n".join(part for part in parts if part) + "\n"


def _as_new(name: str) -> str:
    """The patch that creates a file or link; empty for what nobody can read, and for a repository inside of this one.

    Editors leave links to nowhere, such as the locks of Emacs.
    """
    path = REPOSITORY / name
    try:
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
    except OSError:
        return ""
    text = content.decode(errors="replace")
    lines = text.removesuffix("\n").split("\n") if text else []
    mode = "120000" if path.is_symlink() else "100644"
    head = f"diff --git a/{name} b/{name}\nnew file mode {mode}\n"
    if not lines:
        return head.rstrip()
    end = "" if text.endswith("\n") else "\n\\ No newline at end of file"
    body = "\n".join(f"+{line}" for line in lines)
    return f"{head}--- /dev/null\n+++ b/{name}\n@@ -0,0 +1,{len(lines)} @@\n{body}{end}"


@lru_cache
def _software() -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    commit = git("rev-parse", "HEAD")
    lock = REPOSITORY / "requirements.lock"
    return {
        "commit": commit,
        "dirty": commit and bool(git("status", "--porcelain", "--untracked-files=all", "--", *CODE)),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda if gpu else None,
        "cudnn": torch.backends.cudnn.version() if gpu else None,
        "driver": _driver() if gpu else None,
    }


def processor() -> str:
    """Model of the CPU as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def _driver() -> str | None:
    """Version of the NVIDIA driver."""
    file = Path("/proc/driver/nvidia/version")
    return file.read_text().splitlines()[0] if file.exists() else None
