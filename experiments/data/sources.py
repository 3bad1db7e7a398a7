"""Where a data set can come from: files with known SHA-256, or an image folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class File:
    """A published file: name, size in bytes, SHA-256, and the addresses that serve it (none: mirrors only)."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...] = ()


def files(table: str, *addresses: str) -> tuple[File, ...]:
    """Files from lines of name, size and SHA-256; each address serves all of them under their names."""
    return tuple(
        File(name, int(size), sha256, tuple(address + name for address in addresses))
        for name, size, sha256 in map(str.split, table.splitlines())
    )


@dataclass(frozen=True)
class Source:
    """One way to get a data set.

    Attributes:
        title: Description, which each run records.
        files: The files it needs; each is verified before it is read.
        decode: Turns the paths of the files (or of the folder) into arrays.
        folder: Name of an image folder that serves instead of files.
    """

    title: str
    files: tuple[File, ...]
    decode: Callable[[Sequence[Path]], Arrays]
    folder: str | None = None

    @property
    def names(self) -> str:
        """What has to be in the mirror."""
        return " and ".join(file.name for file in self.files) or f"the folder {self.folder}"

    @property
    def downloadable(self) -> bool:
        """Whether every file has an address."""
        return bool(self.files) and all(file.urls for file in self.files)

    def paths_in(self, mirror: Path) -> list[Path] | None:
        """Paths of the files (or the folder) in `mirror`; None if any is missing."""
        if self.folder is not None:
            return [mirror / self.folder] if (mirror / self.folder).is_dir() else None
        paths = [mirror / file.name for file in self.files]
        return paths if all(path.is_file() for path in paths) else None
