"""Members of archives, read into memory: nothing is unpacked, so no member can escape its folder."""

import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from experiments.common.errors import UserError


def read(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of the wanted members of a tar file, a zip file or a folder (whose name is part of theirs).

    Raises UserError if the name of any member leads out of the folder, or if the archive is damaged.
    """
    try:
        if path.is_dir():
            yield from _read_folder(path, wanted)
        elif zipfile.is_zipfile(path):
            yield from _read_zip(path, wanted)
        else:
            yield from _read_tar(path, wanted)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"the archive {path} is damaged: {error}") from error


def _read_folder(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path.parent).as_posix()
        if wanted(name) and file.is_file():
            yield name, file.read_bytes()


def _read_zip(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            _check_name(name, path)
            if wanted(name):
                yield name, archive.read(name)


def _read_tar(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            _check_name(member.name, path)
            content = archive.extractfile(member) if member.isfile() and wanted(member.name) else None
            if content is not None:
                yield member.name, content.read()


def _check_name(name: str, path: Path) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts:
        raise UserError(f"the archive {path} is not used: its member {name!r} leads out of the folder")
