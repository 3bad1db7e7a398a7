"""The folder of decoded data: each set is found, verified and decoded once, and verified again when it is read.

`data/<name>/` holds one .npy file per array and `manifest.json` with the source and each file's size and
SHA-256. It appears by a rename, so it is either complete or absent. The environment variable PAL_DATA moves
the folder.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, lock
from experiments.data.download import download
from experiments.data.integrity import check_file, file_sha256, require_space
from experiments.data.sources import Arrays, Source


def folder() -> Path:
    """Where decoded data are kept."""
    return Path(os.environ.get("PAL_DATA") or REPOSITORY / "data")


def mirror() -> Path | None:
    """The folder with packs, official archives or image folders, if PAL_DATA_MIRROR names one."""
    value = os.environ.get("PAL_DATA_MIRROR")
    if not value:
        return None
    if not Path(value).is_dir():
        raise UserError(f"PAL_DATA_MIRROR is {value!r}, which is not a folder")
    return Path(value)


class Store:
    """Decoded arrays of one data set.

    Args:
        name: Name of the subfolder.
        title: Name of the data set in messages.
        sources: Ways to get it, best first.
    """

    def __init__(self, name: str, title: str, sources: Sequence[Source]) -> None:
        self.name = name
        self.title = title
        self.sources = sources

    @property
    def home(self) -> Path:
        """Folder of the decoded arrays."""
        return folder() / self.name

    def arrays(self) -> Arrays:
        """The decoded arrays, created if necessary; raises UserError if they are unavailable or damaged."""
        if not self.home.is_dir():
            with self._writing():
                self._make()
        self.check()
        names = self._manifest()["arrays"]
        return {name: np.load(self.home / f"{name}.npy", allow_pickle=False) for name in names}

    def check(self) -> None:
        """Raise UserError unless every decoded array has the size and SHA-256 with which it was written."""
        for name, entry in self._manifest()["arrays"].items():
            self._check(f"{name}.npy", entry)

    def size(self) -> int:
        """Size of the decoded arrays in bytes."""
        return sum(entry["bytes"] for entry in self._manifest()["arrays"].values())

    def next_source(self) -> str:
        """Where the arrays would come from: the mirror, or the official address."""
        found = self._in_mirror(mirror())
        if found is not None:
            return f"in the mirror: {found[0].title}"
        for source in self.sources:
            if source.downloadable:
                size = sum(file.size for file in source.files)
                return f"to be downloaded: {source.title}, {size / 1e6:,.1f} MB"
        return f"needs {self.sources[0].names} in PAL_DATA_MIRROR"

    def source(self) -> str:
        """Where the decoded arrays came from."""
        return self._manifest()["source"]

    def checksum(self) -> str:
        """SHA-256 over names and checksums of the decoded arrays."""
        entries = self._manifest()["arrays"]
        sums = {name: entry["sha256"] for name, entry in entries.items()}
        return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()

    def is_here(self) -> bool:
        """Whether the arrays have been decoded."""
        return self.home.is_dir()

    def _manifest(self) -> dict:
        try:
            return json.loads((self.home / "manifest.json").read_text())
        except (OSError, ValueError):
            raise UserError(f"{self.home}/manifest.json is damaged; {self._mend}") from None

    def _check(self, name: str, entry: dict) -> None:
        try:
            check_file(self.home / name, entry["bytes"], entry["sha256"])
        except UserError as error:
            raise UserError(f"{error}; {self._mend}") from None

    @property
    def _mend(self) -> str:
        return f"remove the folder {self.home} to have {self.title} decoded again"

    def _make(self) -> None:
        if self.home.is_dir():  # another process was faster
            return
        source, paths = self._locate()
        for file, path in zip(source.files, paths, strict=False):
            check_file(path, file.size, file.sha256)
        self._write(source.title, source.decode(paths))
        shutil.rmtree(folder() / ".downloads" / self.name, ignore_errors=True)

    def _locate(self) -> tuple[Source, list[Path]]:
        place = mirror()
        found = self._in_mirror(place)
        if found is not None:
            return found
        reason = "no address serves it"
        for source in self.sources:
            if source.downloadable:
                try:
                    return source, [
                        download(file, folder() / ".downloads" / self.name) for file in source.files
                    ]
                except ConnectionError as error:
                    reason = str(error)
        raise UserError(self._missing(place, reason))

    def _in_mirror(self, place: Path | None) -> tuple[Source, list[Path]] | None:
        if place is not None:
            for source in self.sources:
                paths = source.paths_in(place)
                if paths is not None:
                    return source, paths
        return None

    def _missing(self, place: Path | None, reason: str) -> str:
        needed = ", or ".join(source.names for source in self.sources)
        where = f"({place} has none of them)" if place else "(it is not set)"
        return (
            f"{self.title} is not here: let PAL_DATA_MIRROR name a folder with {needed} {where}; "
            f"or let it be downloaded ({reason}); or copy {self.home} from a machine that has it. "
            "The profile quick needs none of this"
        )

    def _write(self, source: str, arrays: Arrays) -> None:
        require_space(folder(), sum(array.nbytes for array in arrays.values()), self.title)
        making = Path(tempfile.mkdtemp(prefix=f".making-{self.name}-", dir=folder()))
        entries = {}
        for name, array in arrays.items():
            path = making / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            entries[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        manifest = json.dumps({"source": source, "arrays": entries}, indent=2)
        (making / "manifest.json").write_text(manifest + "\n")
        making.chmod(0o755)
        making.rename(self.home)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Admit one process at a time, and delete what an interrupted or failed one left behind."""
        try:
            folder().mkdir(parents=True, exist_ok=True)
            with (folder() / f".lock-{self.name}").open("w") as file:
                lock(file)
                self._sweep()
                try:
                    yield
                finally:
                    self._sweep()
        except OSError as error:
            raise UserError(
                f"{self.title} cannot be written to {folder()}: {error.strerror or error}"
            ) from error

    def _sweep(self) -> None:
        for left in folder().glob(f".making-{self.name}-*"):
            shutil.rmtree(left, ignore_errors=True)
