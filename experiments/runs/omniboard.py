"""`make omniboard`: a database, the runs in it, and Omniboard before it, all on this machine alone.

Omniboard 2.16.1 is no longer maintained: it listens on all interfaces (`loopback.cjs` keeps it at home), takes the next
port if its own is in use, and ends at a missing file, so that it is started again. `page.cjs` gives it our columns and
lets the browser ask early for what it will want.
"""

import json
import logging
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress

from pymongo.errors import PyMongoError

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, runs_root
from experiments.runs import mongo
from experiments.runs.run_packs import where_from

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
DATABASE_PORT = 27117
PATH = "/sacred"
"""Where Omniboard shows the database, whatever the database's own name."""
FOLDER = REPOSITORY / "tools" / "omniboard"
SYNC_SECONDS = 5.0
"""Time between two looks at the run directories."""
START_SECONDS = 30.0
"""Time that the database has to answer."""
ENDS, QUICK_SECONDS, PAUSE_SECONDS = 10, 30.0, 1.0
"""Omniboard is given up after so many ends in a row that each came so soon after its start; there is a pause before the
next start, so that a database that is started anew has time to come back."""
LAST_WORDS = 10_000
"""Bytes at the end of what Omniboard says, in which its reason is looked for."""


def main(port: int) -> int:
    """Serve until Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        UserError: If Node.js or the database server is missing, a port is in use, or $MONGO_URL leads nowhere.
    """
    _require_free(port, f"choose another: make omniboard PORT={port + 1}")
    _install()
    with _database() as url:
        with mongo.connect(url) as database:
            new, total = mongo.sync(database)
            fields = mongo.fields(database)
        if total == 0:
            log.info(f"There are no runs yet; {where_from('omniboard')}.")
        log.info(f"{total} runs, {new} of them new. Omniboard: http://{HOST}:{port}{PATH} (Ctrl-C stops it)")
        threading.Thread(target=_keep_up, args=(url,), daemon=True).start()
        _serve(url, port, fields)
    return 0


def _keep_up(url: str) -> None:
    """Load what is new in the run directories every few seconds, so that runs are shown while they train."""
    while True:
        time.sleep(SYNC_SECONDS)
        with suppress(UserError, PyMongoError), mongo.connect(url) as database:
            mongo.sync(database)


def _require_free(port: int, otherwise: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise UserError(f"port {port} of {HOST} is in use; {otherwise}") from None


def _install() -> None:
    """Omniboard as the lock file names it, once for each state of that file."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise UserError(
            "Omniboard needs Node.js with npm, which are not installed; on Debian: apt install nodejs npm"
        )
    ready, lock = FOLDER / "node_modules" / ".ready", FOLDER / "package-lock.json"
    if ready.exists() and ready.stat().st_mtime >= lock.stat().st_mtime:
        return
    log.info("Installing Omniboard (once, about 500 MB) ...")
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=FOLDER,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"npm could not install Omniboard into {FOLDER}: {last}")
    ready.touch()


@contextmanager
def _database() -> Iterator[str]:
    """Address of the database: $MONGO_URL, or a server of our own while this lasts, its files under the runs."""
    if url := os.environ.get("MONGO_URL"):
        yield url
        return
    server = shutil.which("secantusd-py")
    if server is None:
        raise UserError(
            "the database server is not installed; pip install secantusdb==0.7.0b3, or set MONGO_URL to a MongoDB"
        )
    own = f"mongodb://{HOST}:{DATABASE_PORT}/{mongo.DATABASE}"
    _require_free(DATABASE_PORT, f"if it is the database of another `make omniboard`, set MONGO_URL={own}")
    place = runs_root() / ".mongo"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "server.log").open("a") as log:
        process = subprocess.Popen(
            server_command(server, DATABASE_PORT, str(place / "data")), stdout=log, stderr=log
        )
    try:
        yield _when_it_answers(process, own)
    finally:
        process.terminate()
        process.wait()


def server_command(server: str, port: int, folder: str) -> list[str]:
    """How the database is started; without --sync-on-commit it loses what it has confirmed when it is killed."""
    return [server, "--host", HOST, "--port", str(port), "--storage-path", folder, "--sync-on-commit"]


def _when_it_answers(process: "subprocess.Popen[bytes]", url: str) -> str:
    end = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < end:
        try:
            with mongo.connect(url):
                return url
        except UserError as error:
            if "no MongoDB answers" not in str(error):
                raise
    raise UserError(f"the database server did not start; its log is {runs_root() / '.mongo' / 'server.log'}")


def _serve(url: str, port: int, fields: Sequence[str]) -> None:
    """Run Omniboard, with columns for these fields of the config, again and again until Ctrl-C.

    Raises:
        UserError: If it ends soon after its start, again and again.
    """
    loaded = [word for name in ("loopback", "page") for word in ("--require", f"./{name}.cjs")]
    command = ["node", *loaded, "node_modules/.bin/omniboard"]
    # Everybody on this machine sees the words of a command; its environment, and with it a password, only its owner.
    ours = {"PORT": str(port), "NODE_NO_WARNINGS": "1", "PAL_FIELDS": json.dumps(fields), "MONGO_URI": url}
    quick = 0
    while True:
        started = time.monotonic()
        reason = _once(command, os.environ | ours)
        if reason is None:
            return
        quick = quick + 1 if time.monotonic() - started < QUICK_SECONDS else 0
        if quick == ENDS:
            raise UserError(
                f"Omniboard exited {ENDS} times in a row within {QUICK_SECONDS:g} s of its start, the last time with "
                f"{reason!r}; see docs/tracking.md"
            )
        log.warning(f"Omniboard exited ({reason}); it is restarted")
        time.sleep(PAUSE_SECONDS)


def _once(command: Sequence[str], environment: Mapping[str, str]) -> str | None:
    """Run Omniboard until it ends; returns its last words, or None after Ctrl-C."""
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, cwd=FOLDER, env=environment, stdout=said, stderr=said) as process:
            try:
                process.wait()
            except KeyboardInterrupt:
                process.terminate()
                return None
        said.seek(max(0, said.tell() - LAST_WORDS))
        return _reason(said.read().decode(errors="replace"))


def _reason(said: str) -> str:
    """The last line that names an error, else the last one: Node.js ends with where it was, and its version."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (
        [line for line in lines if re.search(r"Error( \[\w+\])?: ", line)] or lines or ["no reason given"]
    )[-1]
