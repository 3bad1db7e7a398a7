"""The overhead of many runs: slots, recognising finished runs, making tables.

* slots: the same list of new runs with one slot and with two, in turn; median ratio of the times (2 is ideal).
* recognise: seconds to recognise that a plan of 1,000 runs is finished.
* tables: seconds and peak memory for the tables of the benchmark over 1,000 finished runs.

    python -m benchmarks.launching [--rounds 3] [--runs 12] [--steps 3000] [--finished 1000]
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from experiments.common.paths import runs_root
from experiments.results import tables
from experiments.runs import launcher, run_directory
from experiments.runs.finished import find_finished
from experiments.runs.key import run_key
from experiments.studies import benchmark
from experiments.training.config import RunConfig, resolve


def configs(count: int, steps: int) -> list[RunConfig]:
    """Runs on digits that differ in the seed only."""
    fields = {
        "problem": "digits-cnn",
        "optimizer": "pal",
        "steps": steps,
        "evaluate_every": max(1, steps // 10),
    }
    return [resolve("benchmark", seed=seed, **fields) for seed in range(count)]


def seconds_with(slots: int, several: list[RunConfig]) -> float:
    """Wall time of a list of new runs."""
    shutil.rmtree(runs_root(), ignore_errors=True)
    started = time.perf_counter()
    failures = launcher.launch(several, slots)
    if failures:
        raise SystemExit(f"{failures[0].name}: {failures[0].reason}")
    return time.perf_counter() - started


def slot_ratio(rounds: int, several: list[RunConfig]) -> float:
    """Time with one slot divided by that with two, median over rounds."""
    return statistics.median(seconds_with(1, several) / seconds_with(2, several) for _ in range(rounds))


def fill(several: list[RunConfig]) -> None:
    """Make all runs finished: one is executed and copied under the keys and configs of the others."""
    first = run_directory.execute(several[0], benchmark.STUDY.run)
    for config in several[1:]:
        folder = runs_root() / run_key(config)
        shutil.copytree(first, folder)
        (folder / "config.json").write_text(json.dumps(config.model_dump() | {"key": run_key(config)}))


def recognised(several: list[RunConfig]) -> float:
    """Seconds to find all of them finished."""
    started = time.perf_counter()
    if len(find_finished(several)) != len(several):
        raise SystemExit("some runs were not recognised")
    return time.perf_counter() - started


def tabulate(count: int, steps: int) -> None:
    """In its own process: make the tables; print seconds and peak memory in MB."""
    finished = find_finished(configs(count, steps))
    started = time.perf_counter()
    tables.write("benchmark", "launching", finished, runs_root().parent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([time.perf_counter() - started, peak]))


def tabulated(count: int, steps: int) -> tuple[float, float]:
    """Seconds and peak memory of `tabulate`."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.launching",
        "--tabulate",
        f"--finished={count}",
        f"--steps={steps}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    seconds, peak = json.loads(done.stdout.splitlines()[-1])
    return seconds, peak


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3, help="of one slot against two (3)")
    parser.add_argument("--runs", type=int, default=12, help="in the list (12)")
    parser.add_argument("--steps", type=int, default=3000, help="of each run (3000)")
    parser.add_argument("--finished", type=int, default=1000, help="finished runs that are recognised (1000)")
    parser.add_argument("--tabulate", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.tabulate:
        tabulate(given.finished, given.steps)
        return
    shown = Table("what", "value", "required")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PAL_RUNS"] = str(Path(folder) / "runs")
        if given.rounds:
            ratio = slot_ratio(given.rounds, configs(given.runs, given.steps))
            shown.add_row(
                f"one slot / two slots, {given.runs} runs of {given.steps} steps", f"{ratio:.2f}", "1.8"
            )
        shutil.rmtree(runs_root(), ignore_errors=True)
        many = configs(given.finished, given.steps)
        fill(many)
        shown.add_row(f"{given.finished} finished runs recognised", f"{recognised(many):.2f} s", "5 s")
        seconds, peak = tabulated(given.finished, given.steps)
        shown.add_row(f"tables over {given.finished} runs", f"{seconds:.1f} s", "20 s")
        shown.add_row("peak memory of that", f"{peak:.0f} MB", "1000 MB")
    Console(width=100).print(shown)


if __name__ == "__main__":
    main()
