"""Write packs of the finished runs of a profile."""

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from experiments import planning
from experiments.common.errors import UserError
from experiments.results import tables
from experiments.results.tables.fingerprints import STEPS
from experiments.runs import run_packs, thinning
from experiments.runs.finished import FinishedRun, find_finished
from experiments.runs.key import run_key

log = logging.getLogger(__name__)


def main(profile: str) -> None:
    """Write the packs of a profile, with all of its finished runs.

    Raises:
        UserError: If a pack that is there is damaged, or there is no room for the new ones.
    """
    run_packs.unpack_all(profile)
    for study in planning.load_profile(profile):
        try:
            log.info(f"{study}: {_pack(profile, study)}")
        except OSError as error:
            path = run_packs.shown(run_packs.path_of(profile, study))
            raise UserError(
                f"{path} cannot be written: {error.strerror}; the pack is left as it was"
            ) from None


def _pack(profile: str, study: str) -> str:
    """Write the pack of a study; returns a summary."""
    planned, path = planning.plan(profile, study), run_packs.path_of(profile, study)
    finished = find_finished(planned.runs)
    left = len(planned.every) - len(finished)
    if not finished:
        return "none of its runs is finished, nothing is packed"
    with tempfile.TemporaryDirectory() as place:
        packed = finished if left else _smaller(study, finished, Path(place))
        written = run_packs.write(path, [run.directory for run in packed])
    state = f"{path.stat().st_size / 1e6:.2f} MB{'' if written else ', unchanged'}"
    kind = "exact" if packed is finished else "thinned"
    return f"{len(finished)} {kind} runs in {run_packs.shown(path)} ({state}), {left} are not finished"


def _smaller(study: str, finished: Sequence[FinishedRun], place: Path) -> Sequence[FinishedRun]:
    """Thinned copies of the runs of a complete study if they give identical tables, else the runs themselves."""
    copies = [
        replace(run, directory=thinning.thin(run.directory, place / run.key, STEPS)) for run in finished
    ]
    return copies if _tables(study, copies) == _tables(study, finished) else finished


def _tables(study: str, finished: Sequence[FinishedRun]) -> dict[str, str]:
    return {name: tables.text(table) for name, table in tables.make(study, finished).items()}


def unpacked_keys(profile: str) -> set[str]:
    """Unpack the runs of a profile; returns their keys and those of its planned runs."""
    run_packs.unpack_all(profile)
    packed = {key for path in run_packs.packs_of(profile) for key in run_packs.read_sums(path)}
    plans = [planning.plan(profile, study) for study in planning.load_profile(profile)]
    return packed | {run_key(config) for plan in plans for config in plan.every}
