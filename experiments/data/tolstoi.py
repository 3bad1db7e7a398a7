"""Characters of Tolstoi's War and Peace, prepared as in DeepOBS (Schneider, Balles, Hennig 2019).

The 83 characters are numbered by decreasing frequency (ties by first occurrence). The first 80 % of the text
(rounded up) are for training, the rest for test, and the last 653,237 training characters for validation. An
example is a row of 50 consecutive characters; its target is the row one character later. Rows are shuffled, so
no row continues the one before: the network starts each row from a zero state, and every evaluation of a batch
is the same function.
"""

import gzip
import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from experiments.common.errors import UserError
from experiments.data.dataset import Dataset
from experiments.data.sources import Arrays, Source, files
from experiments.data.splits import Split, Splits
from experiments.data.store import Store
from experiments.data.transforms import Cast

ROW = 50
HELD_OUT = 653_237
TEXT_SHA256 = "48b5030ae673ac66db6e46c0915c04a8c18e0c83367a5836b2bae53154f339e4"
CUTS = ((1, 29), (5, 775), (63850, 64207))


def cut_lines(text: bytes) -> bytes:
    """Cut header, contents and licence, in this order; lines are counted from 1 after each cut."""
    lines = text.splitlines(keepends=True)
    for first, last in CUTS:
        del lines[first - 1 : last]
    return b"".join(lines)


def decode_book(paths: Sequence[Path]) -> Arrays:
    """Decode Project Gutenberg's text of the book."""
    return decode_text(cut_lines(paths[0].read_bytes()), paths[0])


def decode_pack(paths: Sequence[Path]) -> Arrays:
    """Decode the text as cut by DeepOBS."""
    return decode_text(gzip.decompress(paths[0].read_bytes()), paths[0])


def decode_text(text: bytes, path: Path) -> Arrays:
    """Character numbers of the text that DeepOBS uses, uint8 [3,266,185]."""
    if hashlib.sha256(text).hexdigest() != TEXT_SHA256:
        raise UserError(f"{path} does not contain the text that DeepOBS uses")
    return {"characters": number_by_frequency(text.decode())}


def number_by_frequency(text: str) -> np.ndarray:
    """The number of each character: 0 for the most frequent; ties are broken by first occurrence."""
    ranked = [character for character, _ in Counter(text).most_common()]
    table = np.zeros(max(map(ord, ranked)) + 1, dtype=np.uint8)
    table[[ord(character) for character in ranked]] = range(len(ranked))
    return table[np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)]


def rows(characters: np.ndarray) -> Split:
    """Rows of 50 characters and the rows one character later; an incomplete row is dropped."""
    count = (len(characters) - 1) // ROW
    inputs = characters[: count * ROW].reshape(count, ROW)
    targets = characters[1 : count * ROW + 1].reshape(count, ROW)
    return Split(torch.from_numpy(inputs), torch.from_numpy(targets.astype(np.int64)))


def load() -> Splits:
    """Rows of the training, validation and test characters."""
    characters = STORE.arrays()["characters"]
    test = math.ceil(0.8 * len(characters))
    parts = np.split(characters, [test - HELD_OUT, test])
    return Splits(*map(rows, parts))


PACK = "tolstoi_deepobs.txt.gz 1201065 6f9b4044ae1c18fc85b08e64883387fd384b09fe1255978fa21c86502a12eb94"
BOOK = "war-and-peace.txt 3291648 3ed0f41cfdf660846878943bad5b9d575bcae1e4a92ee9a7f43d3c9dba2af344"
COMMIT = "981d5bc4739dcf138312b8c01835d601d0a19c49"
ADDRESS = f"https://raw.githubusercontent.com/fluentpython/example-code/{COMMIT}/sequences/"
STORE = Store(
    "tolstoi",
    "Tolstoi",
    (
        Source("data pack tolstoi_deepobs.txt.gz: exact", files(PACK), decode_pack),
        Source("Project Gutenberg's war-and-peace.txt", files(BOOK, ADDRESS), decode_book),
    ),
)

DATASETS = {
    "tolstoi": Dataset(
        STORE.title,
        "characters",
        (ROW,),
        83,
        (39_194, 13_064, 13_064),
        Cast(torch.int64),
        load,
        STORE.source,
        STORE,
    )
}
