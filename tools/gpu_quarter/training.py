"""ResNet-32 on CIFAR-10 with PAL and SGD, one configuration each, as far as the time goes.

The runs are those of profile `paper`, with the same keys, by the project's own commands. Seed after seed, both methods
share the card. At the time limit they save checkpoints, from which the same command continues on another day.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path

from tools.gpu_quarter import archive
from tools.gpu_quarter.parts import PYTHON, REPOSITORY

log = logging.getLogger("gpu_quarter")

PROFILE = "gpu-quarter"

METHODS = {
    "pal": {"grid": {"mu": [0.1], "alpha": [1.0], "beta": [0.4]}},
    "sgd-step": {"optimizer": "sgd", "schedule": "step", "grid": {"lr": [0.1], "momentum": [0.9]}},
}
PAPER = {"problems": ["cifar10-resnet32"], "seeds": [0, 1, 2], "optimizers": METHODS}
TINY = PAPER | {"problems": ["digits-mlp"], "seeds": [0], "steps": 2_000, "evaluate_every": 500}

KEEP_SECONDS = 60.0
"""Time between archives."""

LEAST = 20.0
"""Seconds that are worth another seed: workers take as long to start."""

OTHER_FAILED = 1
"""Exit code of a study of which a run failed: the others go on."""


def main() -> None:
    """Train until the time is over; write tables, packs and the archive."""
    given = arguments()
    end = time.monotonic() + given.seconds
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    section = TINY if given.tiny else PAPER
    (REPOSITORY / "profiles" / f"{PROFILE}.yaml").write_text(
        json.dumps({"benchmark": section}, indent=2) + "\n"
    )
    for seed in section["seeds"]:
        if end - time.monotonic() > LEAST and train(seed, end, given.out) not in (0, OTHER_FAILED):
            break
    log.info("kept in " + ", ".join(path.name for path in archive.keep(given.out, PROFILE)))


def train(seed: int, end: float, out: Path) -> int:
    """Execute the runs of one seed until then, with archives meanwhile; pack what is finished."""
    words = ["--only", f"seed={seed}", "--slots", str(len(METHODS)), "--time-limit"]
    words += [f"{end - time.monotonic():.0f}s"]
    started = {
        "PAL_STARTED": f"{time.time():.0f}"
    }  # the time limit counts what the command takes to start, too
    process = subprocess.Popen(
        [*command("study", "benchmark"), *words], cwd=REPOSITORY, env=os.environ | started
    )
    try:
        while (code := wait(process, KEEP_SECONDS)) is None:
            archive.keep(out, PROFILE)
    finally:
        process.kill()
    archive.keep(out, PROFILE)
    subprocess.run(command("pack"), cwd=REPOSITORY, check=False)
    return code


def wait(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """The exit code of a process, or None if it has not ended by then."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def command(*words: str) -> list[str]:
    """A command of the project for the profile."""
    return [*PYTHON, "experiments", *words, "--profile", PROFILE]


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tiny", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
