"""Downloads that resume, and whose files are verified before they appear."""

import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from experiments.common.errors import UserError
from experiments.data.integrity import check_file, require_space
from experiments.data.sources import File

TIMEOUT = 30
BLOCK = 1 << 18


def download(file: File, folder: Path) -> Path:
    """Download the file into `folder`, resuming a partial download.

    Raises ConnectionError if no address serves the file, and UserError if the content is not the expected one.
    """
    path = folder / file.name
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{file.name}.part"
    require_space(folder, file.size - _size(part), file.name)
    _fetch_from_any(file, part)
    try:
        check_file(part, file.size, file.sha256)
    except UserError:
        part.unlink()
        raise
    return part.rename(path)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _fetch_from_any(file: File, part: Path) -> None:
    reasons = []
    for url in file.urls:
        try:
            _fetch(url, file, part)
        except (OSError, HTTPException) as error:
            reasons.append(f"{url}: {getattr(error, 'reason', error)}")
        if _size(part) >= file.size:
            return
    got = f"; {_size(part):,} of {file.size:,} bytes are here and will be continued" if _size(part) else ""
    raise ConnectionError("; ".join(reasons) + got if reasons else f"{file.urls[-1]} ended early{got}")


def _fetch(url: str, file: File, part: Path) -> None:
    """Append the missing rest to `part`."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={_size(part)}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        continues = answer.status == 206
        with part.open("ab" if continues else "wb") as target:
            _copy(answer, target, file)


def _copy(answer: BinaryIO, target: BinaryIO, file: File) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(file.name, total=file.size, completed=target.tell())
        while target.tell() <= file.size and (block := answer.read(BLOCK)):  # more is not the file
            target.write(block)
            progress.update(task, advance=len(block))
