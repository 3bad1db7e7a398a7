"""The DVC pipeline of a profile.

DVC is called as a library, so that whatever it refuses arrives as one sentence. It looks for no git: neither a
repository around the checkout nor a user's ignore rules have a say in what is made.
"""

import fcntl
import io
import json
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from experiments.common.errors import UserError
from experiments.common.git import git
from experiments.common.paths import REPOSITORY, lock, write_whole
from experiments.common.profiles import extensions_of, parts, profile_path, sections

CACHE = REPOSITORY / ".dvc" / "tmp" / "site"
"""DVC's site cache, instead of /var/tmp."""

RWLOCK = REPOSITORY / ".dvc" / "tmp" / "rwlock"
"""The file in which DVC records which processes use which files."""

HINTS = {
    "dvc.lock": "restore it from git or remove it, then run the same command again",
    "dvc.yaml": "restore it from git; copies in results/ can be removed",
}
"""What to do about a file that DVC cannot read."""


def pipeline_file(profile: str) -> str:
    """The pipeline file of a profile: that of quick is at the root, the others are next to their results."""
    return "dvc.yaml" if profile == "quick" else f"results/{profile}/dvc.yaml"


def write_pipeline(profile: str) -> None:
    """Write results/<profile>/dvc.yaml: the pipeline at the root, reduced to the studies of the profile."""
    profile_path(profile)
    if profile == "quick":
        return
    known = sections(profile)
    try:
        whole = (REPOSITORY / "dvc.yaml").read_text()
        text = for_studies(whole, list(known), parts(known), extensions_of(profile))
    except (FileNotFoundError, ValueError, LookupError, TypeError, YAMLError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"dvc.yaml is no pipeline ({words}); {HINTS['dvc.yaml']}") from None
    file = REPOSITORY / pipeline_file(profile)
    for target, content in {
        file: text,
        file.with_name("params.yaml"): f"profile: {profile}\nroot: ../..\n",
    }.items():
        if not target.is_file() or target.read_bytes() != content.encode():
            write_whole(target, content)


def for_studies(
    text: str, studies: Sequence[str], parts: Mapping[str, int], extensions: Sequence[str] = ()
) -> str:
    """The pipeline with these studies instead of its own; the same text if they are the same.

    Args:
        text: The pipeline.
        studies: The studies.
        parts: Number of parts of each study, each of which becomes a stage; none if empty.
        extensions: Files on which its stages depend, too.
    """
    yaml, changed = YAML(), io.StringIO()
    yaml.width, yaml.preserve_quotes = 1000, True
    pipeline: Any = yaml.load(text)
    study, claims = pipeline["stages"]["study"], pipeline["stages"]["claims"]
    known = list(study["foreach"])
    if set(known) == set(studies) and not parts and not extensions:
        return text
    for stage in ("plan", "claims", "report"):
        pipeline["stages"][stage]["deps"] += extensions
    study["foreach"] = list(studies)
    code = [path for path in claims["deps"] if path not in map(_tables, known)]
    claims["deps"] = code + list(map(_tables, studies))
    pipeline["plots"] = [plot for plot in pipeline["plots"] if any(_is_of(plot, one) for one in studies)]
    if parts:
        pipeline["stages"]["part"] = _part_stages(parts)
        study["do"]["deps"] = ["results/${profile}/parts/${item}"]
    yaml.dump(pipeline, changed)
    return changed.getvalue()


def _part_stages(parts: Mapping[str, int]) -> dict[str, Any]:
    """A stage for each part, which executes its runs; the stage of its study then makes the tables."""
    items = {
        f"{study}-{part}": {"study": study, "part": part}
        for study, count in parts.items()
        for part in range(1, count + 1)
    }
    done = "results/${profile}/parts/${item.study}/${item.part}.txt"
    return {
        "foreach": items,
        "do": {
            "desc": "runs of one part of the study ${item.study}",
            "wdir": "${root}",
            "cmd": "python -m experiments study ${item.study} --part ${item.part} --profile ${profile}",
            "params": [{"results/${profile}/plan.json": ["${item.study}"]}],
            "outs": [{done: {"cache": False, "persist": True}}],
        },
    }


def _tables(study: str) -> str:
    return f"results/${{profile}}/{study}"


def _is_of(plot: Any, study: str) -> bool:
    return f"/{_tables(study)}/" in next(iter(plot))


class Pipeline:
    """The pipeline of a profile in DVC; writes its file first.

    Args:
        profile: Its name.
    """

    def __init__(self, profile: str) -> None:
        write_pipeline(profile)
        self._file = pipeline_file(profile)
        if profile == "quick":  # its results are never committed, and so the lock file stays for git as it is
            git("update-index", "--skip-worktree", "dvc.lock")

    def make(self, stage: str | None = None, force: bool = False) -> int:
        """Execute outdated stages, with `force` this one in any case; returns 0, or 1 if a command failed."""
        from dvc.exceptions import ReproductionError
        from dvc.stage.exceptions import StageCmdFailedError

        with _dvc() as repo:
            try:
                repo.reproduce(self._target(stage), force=force, single_item=force)
            except ReproductionError as error:
                if isinstance(error.__cause__, StageCmdFailedError):  # the command itself has said why
                    return 1
                raise
        return 0

    def outdated(self) -> list[str]:
        """The stages whose dependencies have changed, or that lack what they make."""
        with _dvc() as repo:
            return [name.rpartition(":")[2] for name in repo.status(self._file)]

    def stages(self, studies: Sequence[str]) -> list[str]:
        """The stages of some studies, those of their parts first."""
        found = YAML(typ="safe").load((REPOSITORY / self._file).read_text())["stages"]
        parts = found.get("part", {"foreach": {}})["foreach"]
        of_parts = [f"part@{name}" for name, item in parts.items() if item["study"] in studies]
        return of_parts + [f"study@{study}" for study in studies]

    def keep(self, *stages: str) -> None:
        """Mark stages as up to date with their present dependencies."""
        with _dvc() as repo:
            for stage in stages:
                repo.commit(self._target(stage), force=True)

    def _target(self, stage: str | None) -> str:
        return self._file if stage is None else f"{self._file}:{stage}"


@contextmanager
def _dvc() -> Iterator[Any]:
    """DVC in this checkout; its errors are raised as UserError."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo
    from dvc_data.hashfile.cache import DiskError

    logging.getLogger("dvc").setLevel(logging.CRITICAL)
    core = {"no_scm": True, "site_cache_dir": str(CACHE)}
    # Stages call `python`, in the shell that they ask for.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    os.environ["SHELL"] = "/bin/sh"
    _check_rwlock()
    use_our_locks()
    try:
        with chdir(REPOSITORY), Repo(config={"core": core}, _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        raise UserError(_sentence(error)) from None
    except (sqlite3.Error, DiskError) as error:
        raise UserError(
            f"DVC cannot use its cache: {error}; remove {CACHE}, then run the same command again"
        ) from None


def use_our_locks() -> None:
    """Have DVC lock files as we do: on a file system without locks it waits for one for ever."""
    import zc.lockfile

    def take(file: IO[str]) -> None:
        try:
            lock(file, wait=False)
        except OSError as error:
            raise zc.lockfile.LockError(f"{file.name}: {error.strerror}") from None

    def release(file: IO[str]) -> None:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)

    zc.lockfile._lock_file, zc.lockfile._unlock_file = take, release


def _check_rwlock() -> None:
    from dvc.rwlock import SCHEMA
    from voluptuous import Invalid

    try:
        SCHEMA(json.loads(RWLOCK.read_bytes()))
    except FileNotFoundError:
        pass
    except (ValueError, Invalid):
        raise UserError(f"{RWLOCK} is corrupt; if no other DVC command is running here, remove it") from None


def _sentence(error: BaseException) -> str:
    """The message of DVC with its cause, and what to do about it."""
    words = [" ".join(str(one).split()) for one in (error, error.__cause__) if one is not None]
    hint = next((hint for file, hint in HINTS.items() if f"{file}'" in words[0]), None)
    return f"DVC: {'; '.join(filter(None, [': '.join(words), hint]))}"
