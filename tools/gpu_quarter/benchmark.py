"""benchmarks/gpu.py, on random pixels if CIFAR-10 is not here: the time of a step does not depend on them."""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from experiments.data.cifar import CIFAR10, SHAPE
from experiments.data.integrity import file_sha256

log = logging.getLogger("gpu_quarter")

TITLE = "random pixels, for benchmarks only"


def main() -> None:
    """Continue as the benchmark."""
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    if not CIFAR10.is_here() and not CIFAR10.next_source().startswith("in the mirror"):
        os.environ["PAL_DATA"] = str(stand_in(Path(tempfile.mkdtemp()), 50_000, 10_000))
        log.info(f"CIFAR-10 is not here; in its place: {TITLE}")
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks.gpu", *sys.argv[1:]])


def stand_in(folder: Path, train: int, test: int) -> Path:
    """Write a folder of data with random images and labels in place of CIFAR-10; returns it."""
    random, home = np.random.default_rng(0), folder / CIFAR10.name
    home.mkdir(parents=True)
    entries = {}
    for split, count in (("train", train), ("test", test)):
        arrays = {
            f"{split}_images": random.integers(0, 256, (count, *SHAPE), dtype=np.uint8),
            f"{split}_labels": random.integers(0, 10, count),
        }
        for name, array in arrays.items():
            path = home / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            entries[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    (home / "manifest.json").write_text(json.dumps({"source": TITLE, "arrays": entries}))
    return folder


if __name__ == "__main__":
    main()
