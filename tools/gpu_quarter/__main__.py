"""A quarter of an hour on a rented GPU: tests, benchmark, and the paper's run, in this order of worth.

    python -m tools.gpu_quarter --out DIR [--seconds 540] [--parts 1 2 3] [--restore FILE ...]

tools/README.md has the preparations, and says what is in DIR afterwards.
"""

import argparse
import logging
import signal
import sys
import time
from pathlib import Path

from tools.gpu_quarter import archive
from tools.gpu_quarter.parts import INVENTORY, PACKING, Part, execute, full, tiny

log = logging.getLogger("gpu_quarter")


def main() -> None:
    """Execute the parts and say how long each has taken."""
    given = arguments()
    began = time.monotonic()
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends the part that is under way, too
    given.out.mkdir(parents=True, exist_ok=True)
    archive.restore(given.restore)
    parts = (tiny if given.tiny else full)(given.out.absolute())
    words = []
    for part in [INVENTORY, *(parts[number - 1] for number in sorted(set(given.parts)))]:
        words.append(timed(part, began + given.seconds - PACKING))
        (given.out / "minutes.txt").write_text("\n".join(words) + "\n")
    log.info("\n".join(["", *words, f"together: {(time.monotonic() - began) / 60:.1f} minutes"]))


def timed(part: Part, end: float) -> str:
    """Execute a part until then at the latest; returns how long it has taken, and how it ended."""
    began = time.monotonic()
    log.info(f"\n== {part.name}, at most {part.limit(end - began) / 60:.1f} minutes ==")
    state = execute(part, end - began)
    return f"{part.name}: {(time.monotonic() - began) / 60:.1f} minutes, {state}"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results")
    parser.add_argument("--seconds", type=float, default=540.0, help="for everything (540)")
    parser.add_argument("--parts", type=int, nargs="+", choices=[1, 2, 3], default=[1, 2, 3])
    parser.add_argument(
        "--restore", type=Path, nargs="+", default=[], help="pieces of runs.*.tar.xz of an earlier call"
    )
    parser.add_argument("--tiny", action="store_true", help="try all of it on a CPU, in tiny sizes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
