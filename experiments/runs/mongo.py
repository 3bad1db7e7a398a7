"""Run directories as documents of a MongoDB, in the form of Sacred's own observer: what Omniboard shows.

The run directories stay the truth. Everything in the database is made of them, under names made of the run's key, so
that bringing a run in twice changes nothing and a lost database costs nothing.
"""

import hashlib
import json
import logging
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import gridfs
import numpy as np
import pymongo
from bson import ObjectId
from bson.errors import BSONError
from pymongo import InsertOne, ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.database import Database
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from experiments.common.errors import UserError
from experiments.common.paths import regular, runs_root
from experiments.runs.integrity import damage, run_folders

log = logging.getLogger(__name__)

FORMAT = "MongoObserver-0.7.0"
"""What Sacred 0.8 writes into every run."""

DATABASE = "sacred"
"""Name of the database of `make omniboard`."""

POINTS = 1_000
"""Of a metric, at most; more are thinned evenly, the last one stays."""

OUTPUT = 1_000_000
"""Bytes of a run's output, at most; of more its end is kept, since MongoDB takes no document beyond 16 MB."""

TIMEOUT = 2.0
"""Seconds after which a database counts as absent."""

BATCH = 32
"""Runs written at a time: every command is a round trip and a flush to disk, whatever it holds."""

UNWRITABLE = (BSONError, UnicodeEncodeError, OverflowError, OperationFailure)
"""What pymongo raises for a single run that the database does not take, such as one that is too large."""

TORN = (OSError, ValueError, KeyError, TypeError, AttributeError)
"""What reading a folder raises that holds no run, or half of one."""

FILES = ("trace.npz",)
"""Files of a run that become artifacts."""

RESULTS = {
    "outcome": "status",
    "final_train_loss": "final_train_loss",
    "best_val_accuracy": "best_val_accuracy",
    "test_accuracy": "test_accuracy",
}
"""Results that stand in the config, where Omniboard can show, sort and filter by them, and their names in a run."""


@dataclass(frozen=True)
class Documents:
    """What the database holds of one run.

    Attributes:
        folder: What they are made of.
        run: The document of collection `runs`.
        metrics: Those of collection `metrics`.
        files: Artifacts, those of collection `fs.files`.
        chunks: Their contents, those of collection `fs.chunks`.
    """

    folder: Path
    run: dict[str, Any]
    metrics: list[dict[str, Any]]
    files: list[dict[str, Any]]
    chunks: list[dict[str, Any]]


def documents(folder: Path, key: str) -> Documents:
    """The documents of a run directory; raises OSError or ValueError if its files are not there or half-written."""
    config, run = _json(folder / "config.json"), _json(folder / "run.json")
    # A run that has just begun has neither of these yet.
    info, metrics = (
        _json(path) if (path := folder / f"{name}.json").exists() else {} for name in ("info", "metrics")
    )
    number, result = number_of(key), run.get("result") or {}
    series = [_metric(number, key, name, values) for name, values in sorted(metrics.items())]
    artifacts = [_artifact(key, folder / name) for name in FILES if (folder / name).exists()]
    document = {name: run.get(name) for name in ("host", "status", "meta", "fail_trace")} | {
        "_id": number,
        "format": FORMAT,
        "experiment": dict(run["experiment"], sources=[], name="/".join(map(str, _name(config)))),
        "config": _flat(config, result),
        "info": info | {"metrics": [{"name": each["name"], "id": str(each["_id"])} for each in series]},
        "captured_out": _output(folder / "cout.txt"),
        "artifacts": [{"name": file["filename"], "file_id": file["_id"]} for file, _ in artifacts],
        "origin": origin(),
    }
    document |= {name: _moment(run.get(name)) for name in ("start_time", "stop_time", "heartbeat")}
    marks = {"diverged"} if result.get("status") == "diverged" else set()
    document["omniboard"] = {"tags": [str(config["study"]), *sorted(marks)], "notes": ""}
    files, chunks = [file for file, _ in artifacts], [chunk for _, chunks in artifacts for chunk in chunks]
    return Documents(folder, document, series, files, chunks)


def number_of(key: str) -> int:
    """A run's number: Omniboard takes no other names, and JavaScript no more than 53 bits."""
    return int(key[:13], 16)


def origin() -> str:
    """The folder of all runs, for a database into which several machines bring theirs: host and path."""
    return f"{socket.gethostname()}:{runs_root().resolve()}"


def _name(config: dict[str, Any]) -> tuple[Any, ...]:
    return config["study"], config["problem"], config["method"]


def _flat(config: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
    """What Omniboard shows as columns, in this order: which run, its results, its settings, everything else."""
    settings = {name: value for name, value in (config.get("settings") or {}).items() if value is not None}
    text = " ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}"
        for name, value in settings.items()
    )
    others = {name: value for name, value in config.items() if name != "settings"}
    first = {
        "problem": config["problem"],
        "method": config["method"],
        "setting": text,
        "seed": config["seed"],
    }
    results = {name: result.get(source) for name, source in RESULTS.items()}
    own = {f"settings_{name}" if name in others else name: value for name, value in settings.items()}
    return first | results | own | {name: value for name, value in others.items() if name not in first}


def _metric(number: int, key: str, name: str, values: dict[str, Any]) -> dict[str, Any]:
    count = len(values["values"])
    kept = np.unique(np.linspace(0, count - 1, min(count, POINTS)).round().astype(int)).tolist()
    return {
        "_id": _id(key, name),
        "run_id": number,
        "name": name,
        "steps": [values["steps"][index] for index in kept],
        "values": [values["values"][index] for index in kept],
        "timestamps": [_moment(values["timestamps"][index]) for index in kept],
    }


def _artifact(key: str, path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A file and its chunks as GridFS lays them down (its specification: `fs.files` and `fs.chunks`)."""
    content, size = path.read_bytes(), gridfs.DEFAULT_CHUNK_SIZE
    file = {
        "_id": _id(key, path.name),
        "filename": path.name,
        "length": len(content),
        "chunkSize": size,
        "uploadDate": datetime.fromtimestamp(path.stat().st_mtime, tz=UTC),
    }
    parts = [content[start : start + size] for start in range(0, len(content), size)]
    chunks = [
        {"_id": _id(key, f"{path.name}/{number}"), "files_id": file["_id"], "n": number, "data": part}
        for number, part in enumerate(parts)
    ]
    return file, chunks


def _output(path: Path) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        cut = max(0, os.fstat(file.fileno()).st_size - OUTPUT)
        file.seek(cut)
        text = file.read(OUTPUT).decode(errors="replace")
    return f"... ({cut} bytes before this are in {path.name} alone)\n{text}" if cut else text


def _id(key: str, name: str) -> ObjectId:
    return ObjectId(hashlib.sha256(f"{key}/{name}".encode()).hexdigest()[:24])


def _moment(text: str | None) -> datetime | None:
    """BSON knows milliseconds."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _json(path: Path) -> dict[str, Any]:
    return json.loads(regular(path).read_text())


@contextmanager
def connect(url: str) -> Iterator[Database[Any]]:
    """The database at an address.

    Raises:
        UserError: If the address is none, nobody answers, or another Sacred wrote what is there.
    """
    try:
        client: pymongo.MongoClient[Any] = pymongo.MongoClient(
            url, serverSelectionTimeoutMS=int(1000 * TIMEOUT)
        )
    except (InvalidURI, ConfigurationError, ValueError) as error:
        # pymongo's words may quote what stands behind a / in a password.
        why = "in a password / is written %2F, @ %40, : %3A and % %25" if "@" in url else error
        raise UserError(
            f"MONGO_URL is {_public(url)!r}; it must look like mongodb://host:27017/sacred ({why})"
        ) from None
    with client:
        try:
            database = client.get_default_database()
        except ConfigurationError:
            raise UserError(
                f"MONGO_URL is {_public(url)!r}, which names no database; it must end with one, as in mongodb://host:27017/{DATABASE}"
            ) from None
        try:
            other = database.runs.find_one({"format": {"$ne": FORMAT}}, {"format": True})
        except PyMongoError as error:
            raise UserError(
                f"no MongoDB answers at {_public(url)!r} within {TIMEOUT:g} s ({type(error).__name__})"
            ) from None
        if other is not None:
            raise UserError(
                f"the database at {_public(url)!r} holds runs of another version of Sacred (format "
                f"{other.get('format')!r}, here {FORMAT!r}); name another database in MONGO_URL, such as mongodb://host:27017/pal"
            )
        yield database


def _public(url: str) -> str:
    """An address without its password, whatever is in it: such an address may be one that is no address."""
    return re.sub(r"(?<=://)([^:]*):.*@", r"\1:...@", url, flags=re.DOTALL)


def sync(database: Database[Any]) -> tuple[int, int]:
    """Load all runs, finished, failed and running; returns how many were new or newer, and how many there are.

    Runs that came from this very folder and have no directory any more go; what a person wrote to one whose directory
    was given another key stays with it. A run that the database does not take is named and left out.
    """
    prepare(database)
    wanted = ("heartbeat", "status", "origin", "artifacts", "omniboard", "config.key")
    known = {each["_id"]: each for each in database.runs.find({}, dict.fromkeys(wanted, True))}
    here, changed = _directories(), 0
    gone = _gone(known, here)
    written = {run["config"]["key"]: run["omniboard"] for run in gone}
    news = _news(known, here)
    while batch := list(islice(news, BATCH)):
        for run in (found.run for found in batch):
            if run["_id"] not in known:
                run["omniboard"] = written.get(run["config"]["key"], run["omniboard"])
        loaded = {found.run["_id"]: found.run for found in _load(database, batch)}
        known |= loaded
        changed += len(loaded)
    if gone:
        _remove(database, gone)
    for run in gone:
        known.pop(run["_id"])
    theirs = [number for number in here if number in known and known[number].get("origin") != origin()]
    if theirs:
        database.runs.update_many({"_id": {"$in": theirs}}, {"$set": {"origin": origin()}})
    return changed, len(known)


def _news(known: Mapping[int, Mapping[str, Any]], here: Mapping[int, Path]) -> Iterator[Documents]:
    """What the database does not have as it is now."""
    for number, folder in here.items():
        try:
            if _same(known.get(number), _json(folder / "run.json")):
                continue
            if folder.parent == runs_root() and (wrong := damage(folder)):
                log.warning(f"the run {folder} is not loaded: {wrong}")
                continue
            found = documents(folder, _key(folder))
        except TORN:  # under way, moved just now, or dead before Sacred wrote anything
            continue
        yield found


def _load(database: Database[Any], batch: list[Documents]) -> list[Documents]:
    """Write runs all at once, or, if the database refuses one of them, one by one; returns those that it took."""
    try:
        store(database, batch)
    except UNWRITABLE as error:
        if len(batch) > 1:
            return [loaded for found in batch for loaded in _load(database, [found])]
        log.warning(_left_out(batch[0].folder, error))
        return []
    return batch


def _directories() -> dict[int, Path]:
    """Where the runs of this machine are, by number: finished, else failed, else under way."""
    root = runs_root()
    found: dict[int, Path] = {}
    for place in (root / ".partial", root / ".failed", root):  # a run that moves meanwhile moves to the right
        found |= {number_of(folder.name): folder for folder in run_folders(place)}
    return {
        number: folder / "record" if folder.parent.name == ".partial" else folder
        for number, folder in found.items()
    }


def _key(folder: Path) -> str:
    return folder.parent.name if folder.name == "record" else folder.name


def _gone(known: Mapping[int, dict[str, Any]], here: Mapping[int, Path]) -> list[dict[str, Any]]:
    """Runs that came from this folder and are not in it any more; none if it is empty: a disk may not be mounted."""
    ours = [run for run in known.values() if run.get("origin") == origin()] if here else []
    return [run for run in ours if run["_id"] not in here]


def _remove(database: Database[Any], runs: Sequence[Mapping[str, Any]]) -> None:
    numbers = {"$in": [run["_id"] for run in runs]}
    _remove_files(database, [artifact["file_id"] for run in runs for artifact in run["artifacts"]])
    database.metrics.delete_many({"run_id": numbers})
    # Last, so that the next sync finishes a removal that was cut short.
    database.runs.delete_many({"_id": numbers})


def _remove_files(database: Database[Any], ids: Sequence[ObjectId]) -> None:
    database.fs.files.delete_many({"_id": {"$in": ids}})
    database.fs.chunks.delete_many({"files_id": {"$in": ids}})


def _left_out(folder: Path, error: Exception) -> str:
    reason = f"{type(error).__name__}: {str(error)[:200]}"
    return f"the run {folder} cannot be loaded into the database ({reason}); all others are"


def fields(database: Database[Any]) -> list[str]:
    """Every field of any run's config, in the order in which they are met."""
    configs = database.runs.find({}, {"config": True})
    return list(dict.fromkeys(name for run in configs for name in run.get("config", {})))


def _same(known: Mapping[str, Any] | None, run: dict[str, Any]) -> bool:
    """Whether the database has a run as its run.json is now."""
    moment = _moment(run.get("heartbeat"))
    return known is not None and (known.get("heartbeat"), known.get("status")) == (moment, run.get("status"))


def prepare(database: Database[Any]) -> None:
    """Indexes that Omniboard's queries and GridFS need."""
    database.metrics.create_index([("run_id", 1), ("name", 1)])
    database.fs.files.create_index([("filename", 1), ("uploadDate", 1)])
    database.fs.chunks.create_index([("files_id", 1), ("n", 1)], unique=True)
    for name in ("start_time", *(f"config.{result}" for result in RESULTS)):
        database.runs.create_index(name)


def store(database: Database[Any], batch: Sequence[Documents]) -> None:
    """Write runs, their metrics and artifacts; a person's tags and notes stay as they are."""
    files = [file for found in batch for file in found.files]
    _remove_files(database, [file["_id"] for file in files])  # the new content may have fewer chunks
    _write(database.fs.chunks, [chunk for found in batch for chunk in found.chunks], _replacement)
    _write(database.fs.files, files, _replacement)
    _write(database.metrics, [metric for found in batch for metric in found.metrics], _replacement)
    # Last, so that the next sync finishes what was cut short.
    _write(database.runs, [found.run for found in batch], _update)


def _write(
    collection: Collection[Any],
    documents: Sequence[dict[str, Any]],
    change: Callable[[dict[str, Any]], ReplaceOne[Any] | UpdateOne],
) -> None:
    """Insert documents, and change those that are there already."""
    if not documents:
        return
    ids = {"$in": [document["_id"] for document in documents]}
    there = {each["_id"] for each in collection.find({"_id": ids}, {"_id": True})}
    writes = [change(each) if each["_id"] in there else InsertOne(each) for each in documents]
    collection.bulk_write(writes, ordered=False)


def _replacement(document: dict[str, Any]) -> ReplaceOne[Any]:
    return ReplaceOne({"_id": document["_id"]}, document)


def _update(run: dict[str, Any]) -> UpdateOne:
    """All of a run but what a person wrote; what diverged meanwhile is marked."""
    change = {"$set": {name: value for name, value in run.items() if name not in ("_id", "omniboard")}}
    if "diverged" in run["omniboard"]["tags"]:
        change |= {"$addToSet": {"omniboard.tags": "diverged"}}
    return UpdateOne({"_id": run["_id"]}, change)
