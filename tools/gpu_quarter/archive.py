"""Unfinished runs, tables and packs as one archive in pieces, from which the same runs go on elsewhere.

`runs.<number>.tar.xz.<piece>` is complete before that of an earlier number is deleted, so that there is a whole one at
any moment. `cat runs.3.tar.xz.* | tar -xJ` opens it, too.
"""

import io
import lzma
import os
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from experiments.common.paths import REPOSITORY, runs_root, write_whole

PIECE = 15 * 2**20
"""Bytes of a piece: what most ways of taking files away allow."""

PRESET = 1
"""Weights and losses hardly shrink further."""

RUNS = "runs"
NUMBER = "runs.{}.tar.xz"


def keep(out: Path, profile: str) -> list[Path]:
    """Replace the archive in a folder; returns its pieces."""
    earlier = pieces(out)
    number = 1 + max((int(path.name.split(".")[1]) for path in earlier), default=0)
    content = lzma.compress(packed(profile), preset=PRESET)
    name = NUMBER.format(number)
    written = [
        write_whole(out / f"{name}.{at // PIECE:02}", content[at : at + PIECE])
        for at in range(0, len(content), PIECE)
    ]
    for path in earlier:
        path.unlink()
    return written


def pieces(out: Path) -> list[Path]:
    """The pieces of all archives in a folder."""
    return sorted(out.glob(NUMBER.format("[0-9]*") + ".[0-9][0-9]"))


def packed(profile: str) -> bytes:
    """The archive, not compressed."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, path in sorted(files(profile)):
            with suppress(FileNotFoundError):  # a run that was finished just now
                content = path.read_bytes()
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def files(profile: str) -> Iterator[tuple[str, Path]]:
    """Names in the archive, and files: unfinished and failed runs; tables and packs of finished ones; the profile."""
    for place in (".partial", ".failed"):
        for folder, _, names in os.walk(runs_root() / place):  # no error for a folder that goes meanwhile
            for path in (Path(folder, name) for name in names):
                if path.name != "lock" and path.suffix != ".new":
                    yield f"{RUNS}/{path.relative_to(runs_root())}", path
    own = [*(REPOSITORY / "results" / profile).rglob("*"), REPOSITORY / "profiles" / f"{profile}.yaml"]
    for path in own:
        if path.is_file() and ".tar.xz." not in path.name:  # no archive of an earlier day in another
            yield str(path.relative_to(REPOSITORY)), path


def restore(several: Sequence[Path]) -> None:
    """Unpack the pieces of an archive, if any: runs to where runs are, everything else into the repository."""
    if not several:
        return
    content = lzma.decompress(b"".join(path.read_bytes() for path in sorted(several)))
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in archive:
            inside = member.name.startswith(f"{RUNS}/")
            member.name = member.name.removeprefix(f"{RUNS}/")
            archive.extract(member, runs_root() if inside else REPOSITORY, filter="data")
