"""Packs: the finished runs of a study as one file that is committed with its tables.

results/<profile>/packs/<study>.tar.xz holds run directories byte for byte, and before them SHA256SUMS, a checksum of
the checksums of each. tar opens it everywhere: `tar -xf results/small/packs/lines.tar.xz -C runs`. Of the common
compressions xz is the smallest and one that Python has built in, and its checksum (SHA-256) covers everything. The same
runs give the same pack.
"""

import hashlib
import io
import json
import logging
import lzma
import os
import re
import shutil
import tarfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.common.errors import UserError, reason
from experiments.common.paths import REPOSITORY, lock, runs_root, write_whole
from experiments.runs.integrity import CHANGES, FILES, NAME, damage

log = logging.getLogger(__name__)

RESULTS = REPOSITORY / "results"

MEMBER = re.compile(rf"([0-9a-f]{{16}})/({'|'.join(map(re.escape, (*FILES, CHANGES, NAME)))})")
"""Names of the files in a pack, after its list of checksums."""

COMPRESSION = {"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 1, "lp": 2, "pb": 2}
"""The last three suit numbers of four bytes: they save a twentieth."""

EXPANSION = 100
"""Times its own size that a pack may unpack to; runs take three to ten."""

MEMORY = 2**27
"""Bytes that the decoder of xz may use; packs need 9 MB, and those of the highest preset 65 MB."""

CHUNK = 2**16

Sums = dict[str, str]
"""SHA-256 of a run's SHA256SUMS, by the key of the run."""


class _RefusedError(Exception):
    """What is wrong with a pack."""


def path_of(profile: str, study: str) -> Path:
    """The pack of a study."""
    return _folder(profile) / f"{study}.tar.xz"


def packs_of(profile: str) -> list[Path]:
    """The packs of a profile that there are."""
    return sorted(_folder(profile).glob("*.tar.xz"))


def where_from(command: str) -> str:
    """How to get runs where there are none: by executing them, or by a make command that unpacks committed ones."""
    profiles = sorted({path.parent.parent.name for path in RESULTS.glob("*/packs/*.tar.xz")})
    unpacking = " or ".join(f"`make {command} PROFILE={profile}`" for profile in profiles)
    return "`make reproduce` executes runs" + (f"; {unpacking} unpacks committed ones" if unpacking else "")


def _folder(profile: str) -> Path:
    return RESULTS / profile / "packs"


def shown(path: Path) -> str:
    """The name of a pack in messages."""
    return str(path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path)


def write(path: Path, directories: Iterable[Path]) -> bool:
    """Write the pack of these run directories, unless the one that is there holds just these; whether it was written.

    Raises:
        UserError: If the pack that is there is damaged.
    """
    folders = sorted(directories, key=lambda folder: folder.name)
    sums = {folder.name: _sha256((folder / NAME).read_bytes()) for folder in folders}
    if path.exists() and read_sums(path, whole=True) == sums:
        return False
    packed = io.BytesIO()
    with (
        lzma.open(packed, "wb", check=lzma.CHECK_SHA256, filters=[COMPRESSION]) as stream,
        tarfile.open(fileobj=stream, mode="w|", format=tarfile.USTAR_FORMAT) as archive,
    ):
        _add(archive, NAME, "".join(f"{digest}  {key}/{NAME}\n" for key, digest in sums.items()).encode())
        for name in (*FILES, CHANGES, NAME):  # alike files next to each other are smaller
            for folder in folders:
                if (folder / name).exists():
                    _add(archive, f"{folder.name}/{name}", (folder / name).read_bytes())
    write_whole(path, packed.getvalue())
    return True


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def leave_out(path: Path, keys: Collection[str]) -> None:
    """Write a pack again without some of its runs, all of which have been unpacked; without any left, it goes."""
    others = [runs_root() / key for key in read_sums(path) if key not in keys]
    kept = [directory for directory in others if damage(directory) is None]
    if kept:
        write(path, kept)
    else:
        path.unlink()


def read_sums(path: Path, whole: bool = False) -> Sums:
    """The runs of a pack, from its beginning or with all of it checked; raises UserError if it is damaged."""
    with _reading(path) as (stream, archive):
        sums = _first(archive)
        if whole:
            stream.finish()
        return sums


def unpack_all(profile: str) -> None:
    """Unpack all runs of a profile that are in its packs; raises UserError as `unpack`."""
    fresh = sum(unpack(path) for path in packs_of(profile))
    if fresh:
        log.info(f"{fresh} runs of profile {profile} unpacked into {runs_root()}")


def unpack(path: Path) -> int:
    """Unpack the runs of a pack that are not in the folder of all runs yet; returns how many.

    Runs that are there, or being executed, stay as they are, whatever the pack holds. Nothing is used of a pack that is
    damaged, or holds anything but complete runs.

    Raises:
        UserError: If the pack cannot be used, or there is no room for the runs.
    """
    if not _missing(read_sums(path)):
        return 0
    from experiments.runs.run_directory import adopt  # imports torch, which listing runs does not need

    with _staging(path) as place:
        with _reading(path) as (stream, archive):
            sums = _first(archive)
            wanted = _missing(sums)  # another process may have unpacked some meanwhile
            _extract(archive, place, sums, wanted)
            stream.finish()
            _check(place, {key: sums[key] for key in wanted})
        os.sync()  # once for all files: after a power loss, none must be empty under its final name
        return sum(adopt(place / key, key) for key in sorted(wanted))


def _missing(sums: Sums) -> set[str]:
    return {key for key in sums if not (runs_root() / key).exists()}


@contextmanager
def _staging(path: Path) -> Iterator[Path]:
    """A folder beside the runs, for one process at a time; what a killed one left there goes."""
    place = runs_root() / ".unpacked"
    try:
        place.mkdir(parents=True, exist_ok=True)
        with (place / "lock").open("w") as file:
            lock(file)
            runs = place / "runs"
            shutil.rmtree(runs, ignore_errors=True)
            try:
                runs.mkdir()
                yield runs
            finally:
                shutil.rmtree(runs, ignore_errors=True)
    except OSError as error:
        raise UserError(
            f"the runs of {shown(path)} cannot be unpacked into {runs_root()}: {reason(error)}; free some space, "
            "or set PAL_RUNS to another folder"
        ) from None


@contextmanager
def _reading(path: Path) -> Iterator[tuple["_Decoder", tarfile.TarFile]]:
    """A pack as a stream of bytes and of members; raises a UserError that names it for whatever is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"the pack {shown(path)} cannot be read: {error.strerror}") from None
    try:
        stream = _Decoder(content)
        with tarfile.open(fileobj=stream, mode="r|", bufsize=CHUNK) as archive:  # pyright: ignore[reportArgumentType, reportCallIssue]
            yield stream, archive
    except (_RefusedError, tarfile.TarError, lzma.LZMAError, EOFError, ValueError, RecursionError) as error:
        raise UserError(
            f"the pack {shown(path)} is refused and not used: {error}; restore it from git or remove it"
        ) from None


class _Decoder:
    """Decodes an xz file piece by piece, in bounded memory.

    Args:
        content: The file.
    """

    def __init__(self, content: bytes) -> None:
        self._content, self._left = content, EXPANSION * len(content)
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end only; raises _RefusedError for what is not one complete xz stream."""
        data = b""
        while not data and not self._decoder.eof:
            fresh, self._content = self._content, b""
            if self._decoder.needs_input and not fresh:
                raise _RefusedError("it is truncated")
            data = self._decoder.decompress(fresh, size)
        self._left -= len(data)
        if self._left < 0:
            raise _RefusedError(f"it unpacks to more than {EXPANSION} times its size")
        return data

    def finish(self) -> None:
        """Decode the rest, which ends with the checksum of the whole; raises _RefusedError if more follows."""
        while self.read(CHUNK):
            pass
        if self._decoder.unused_data:
            raise _RefusedError("there is more data after its end")


def _first(archive: tarfile.TarFile) -> Sums:
    """The list of checksums with which a pack begins."""
    member = archive.next()
    content = _content(archive, member) if member is not None and member.name == NAME else b""
    lines = re.findall(rf"^([0-9a-f]{{64}})  ([0-9a-f]{{16}})/{NAME}$", content.decode(), re.MULTILINE)
    if not lines:
        raise _RefusedError(f"it does not begin with {NAME}")
    return {key: digest for digest, key in lines}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """The bytes of a plain file; raises _RefusedError for links, devices, and files with holes."""
    file = archive.extractfile(member) if member.type == tarfile.REGTYPE and not member.issparse() else None
    if file is None:
        raise _RefusedError(f"its member {member.name[:100]!r} is not a regular file")
    return file.read()


def _extract(archive: tarfile.TarFile, place: Path, sums: Sums, wanted: set[str]) -> None:
    """Write the files of the wanted runs; raises _RefusedError for any member that is not a file of a listed run."""
    while (member := archive.next()) is not None:
        found = MEMBER.fullmatch(member.name)
        if found is None or found[1] not in sums:
            raise _RefusedError(f"its member {member.name[:100]!r} does not belong to a run that it lists")
        content = _content(archive, member)
        if found[1] in wanted:
            (place / found[1]).mkdir(exist_ok=True)
            (place / member.name).write_bytes(content)


def _check(place: Path, sums: Mapping[str, str]) -> None:
    """Raises _RefusedError unless the runs are there as they are listed."""
    for key, digest in sums.items():
        wrong = damage(place / key)
        if wrong is None and _sha256((place / key / NAME).read_bytes()) != digest:
            wrong = f"{NAME} is not the one that is listed"
        if wrong is None and _key(place / key / "config.json") != key:
            wrong = "its config.json has another key"
        if wrong is not None:
            raise _RefusedError(f"run {key}: {wrong}")


def _key(path: Path) -> Any:
    config = json.loads(path.read_bytes())
    return config.get("key") if isinstance(config, dict) else None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
