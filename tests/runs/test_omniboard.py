"""How Omniboard is installed, addressed, started again and given up; it itself is replaced by a few words of shell."""

import http.client
import os
import shutil
import subprocess
from contextlib import nullcontext

import pytest
from small_runs import free_port

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.runs import omniboard

SECRET = "mongodb://me:secret@127.0.0.1:1/sacred"


@pytest.fixture(autouse=True)
def at_once(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(omniboard, "FOLDER", tmp_path)
    monkeypatch.setattr(omniboard, "PAUSE_SECONDS", 0.0)


@pytest.fixture
def program(tmp_path):
    """Make a program of a few words of shell, which runs in a folder of the test's own."""

    def make(name, words):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)

    return make


def test_the_address_of_the_database_is_no_word_of_the_command(program, monkeypatch, tmp_path):
    program("node", 'echo "$*" >> words; echo "$MONGO_URI" >> address; exit 1')
    monkeypatch.setattr(omniboard, "QUICK_SECONDS", float("inf"))
    with pytest.raises(UserError):
        omniboard._serve(SECRET, 1, [])
    assert "omniboard" in (tmp_path / "words").read_text()
    assert "secret" not in (tmp_path / "words").read_text()
    assert SECRET in (tmp_path / "address").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("echo 'Error: no database' >&2; echo at emitErrorNT >&2; echo Node.js >&2", "'Error: no database'"),
        (
            "echo 'MongoError: Authentication failed.'; echo Exiting now",
            "'MongoError: Authentication failed.'",
        ),
        ("echo 'TypeError [ERR_A]: no port' >&2; echo code: >&2", r"'TypeError \[ERR_A\]: no port'"),
        ("echo one; echo two", "'two'"),
        ("true", "'no reason given'"),
    ],
)
def test_an_omniboard_that_always_ends_at_once_is_given_up(program, monkeypatch, tmp_path, words, reason):
    program("node", f"echo >> starts; {words}; exit 1")
    monkeypatch.setattr(omniboard, "QUICK_SECONDS", float("inf"))
    with pytest.raises(UserError, match=f"exited {omniboard.ENDS} times in a row.*{reason}"):
        omniboard._serve(SECRET, 1, [])
    assert len((tmp_path / "starts").read_text()) == omniboard.ENDS


def test_where_there_are_no_runs_it_says_how_to_get_them(own_packs, monkeypatch, caplog, runs_root):
    (own_packs / "mine" / "packs").mkdir(parents=True)
    (own_packs / "mine" / "packs" / "lines.tar.xz").touch()
    monkeypatch.setattr(omniboard, "_install", lambda: None)
    monkeypatch.setattr(omniboard, "_serve", lambda *_: None)
    monkeypatch.setattr(omniboard, "_keep_up", lambda _: None)
    caplog.set_level("INFO")
    monkeypatch.setattr(omniboard, "_database", lambda: nullcontext(SECRET))
    monkeypatch.setattr(omniboard.mongo, "connect", lambda _: nullcontext())
    monkeypatch.setattr(omniboard.mongo, "sync", lambda _: (0, 0))
    monkeypatch.setattr(omniboard.mongo, "fields", lambda _: [])
    assert omniboard.main(free_port()) == 0
    assert "no runs yet; `make reproduce` executes" in caplog.text
    assert "`make omniboard PROFILE=mine` unpacks committed ones" in caplog.text


def test_an_omniboard_that_ends_now_and_then_is_started_again(monkeypatch, caplog):
    ends = iter([*["Error: no such file"] * 3 * omniboard.ENDS, None])
    monkeypatch.setattr(omniboard, "_once", lambda *_: next(ends))
    monkeypatch.setattr(omniboard, "QUICK_SECONDS", 0.0)
    omniboard._serve(SECRET, 1, [])
    again = "Omniboard exited (Error: no such file); it is restarted"
    assert caplog.text.count(again) == 3 * omniboard.ENDS


def test_omniboard_is_installed_once_for_each_state_of_its_lock(program, tmp_path):
    program("node", "")
    program("npm", "echo >> installed")
    lock, installed = tmp_path / "package-lock.json", tmp_path / "installed"
    lock.touch()
    os.utime(lock, (1, 1))
    (tmp_path / "node_modules").mkdir()
    for _ in range(2):
        omniboard._install()
    assert len(installed.read_text()) == 1
    os.utime(tmp_path / "node_modules" / ".ready", (2, 2))
    os.utime(lock, (3, 3))
    for _ in range(2):
        omniboard._install()
    assert len(installed.read_text()) == 2


SERVE = """
const http = require("http");
http.createServer((_, answer) => answer.end("runs")).listen(0, function () { console.log(this.address().port); });
"""


@pytest.fixture(scope="module")
def port():
    """A server of Node.js that is kept as Omniboard is."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js")
    command = [node, "--require", str(REPOSITORY / "tools" / "omniboard" / "loopback.cjs"), "--eval", SERVE]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield int(process.stdout.readline())
        process.kill()


OURS = "127.0.0.1:{port}"


@pytest.mark.parametrize(
    ("method", "headers", "code"),
    [
        ("GET", {}, 200),
        ("GET", {"Host": "localhost:8080"}, 200),
        ("GET", {"Origin": f"http://{OURS}", "Sec-Fetch-Site": "same-origin"}, 200),
        ("DELETE", {"Origin": f"http://{OURS}"}, 200),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}, 200),
        ("GET", {"Host": "rebound.example"}, 403),
        ("GET", {"Host": "127.0.0.1.example:80"}, 403),
        ("GET", {"Origin": "http://elsewhere.example"}, 403),
        ("DELETE", {"Origin": "http://elsewhere.example"}, 403),
        ("OPTIONS", {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "DELETE"}, 403),
        ("DELETE", {"Origin": "http://127.0.0.1:1"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("GET", {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403),
        ("GET", {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"}, 403),
    ],
)
def test_a_page_of_another_origin_is_refused(port, method, headers, code):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(
        method, "/", headers={name: value.format(port=port) for name, value in headers.items()}
    )
    assert connection.getresponse().status == code
    connection.close()
