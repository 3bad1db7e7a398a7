"""Downloads from a local server: they resume, and what is not the file never takes its place."""

import hashlib
import shutil
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from experiments.common.errors import UserError
from experiments.data.download import download
from experiments.data.sources import File

CONTENT = hashlib.sha256(b"content").digest() * 40_000
SIZE = len(CONTENT)


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the server says whether ranges work and after how many bytes each answer breaks off."""

    def do_GET(self):
        first = 0
        if self.server.ranges and "Range" in self.headers:
            first = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.server.first_bytes.append(first)
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(CONTENT) - first))
        self.end_headers()
        self.wfile.write(CONTENT[first:][: self.server.breaks_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.ranges, server.breaks_after, server.first_bytes = True, None, []
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield server
        server.shutdown()


def file_at(server, sha256=None, size=SIZE):
    url = f"http://127.0.0.1:{server.server_port}/toy.bin"
    return File("toy.bin", size, sha256 or hashlib.sha256(CONTENT).hexdigest(), (url,))


def test_whole(server, tmp_path):
    path = download(file_at(server), tmp_path)
    assert path.read_bytes() == CONTENT
    assert [entry.name for entry in tmp_path.iterdir()] == ["toy.bin"]


def test_half_a_download_is_continued(server, tmp_path):
    server.breaks_after = 500_000
    with pytest.raises(ConnectionError, match=r"500,000 of 1,280,000 bytes are here and will be continued"):
        download(file_at(server), tmp_path)
    assert not (tmp_path / "toy.bin").exists()
    server.breaks_after = None
    assert download(file_at(server), tmp_path).read_bytes() == CONTENT
    assert server.first_bytes == [0, 500_000]


def test_a_server_without_ranges_starts_over(server, tmp_path):
    (tmp_path / "toy.bin.part").write_bytes(b"x" * 1000)
    server.ranges = False
    assert download(file_at(server), tmp_path).read_bytes() == CONTENT


def test_the_second_address_helps(server, tmp_path):
    good = file_at(server)
    file = File(good.name, good.size, good.sha256, ("http://127.0.0.1:9/toy.bin", *good.urls))
    assert download(file, tmp_path).read_bytes() == CONTENT


def test_wrong_content_is_thrown_away(server, tmp_path):
    with pytest.raises(UserError, match=r"is damaged: its SHA-256 is .* instead of 000000000000"):
        download(file_at(server, sha256="0" * 64), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_longer_answer_is_not_the_file(server, tmp_path):
    with pytest.raises(UserError, match=r"262,144 bytes instead of 1,000"):
        download(file_at(server, size=1000), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_too_little_disk(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(free=1_000_000))
    with pytest.raises(UserError, match=r"toy\.bin needs 1\.3 MB in .*, where 1\.0 MB are free"):
        download(file_at(server), tmp_path)
    assert server.first_bytes == []


def test_no_connection(tmp_path):
    with pytest.raises(ConnectionError, match=r"127\.0\.0\.1:9/toy\.bin: .*refused"):
        download(File("toy.bin", 10, "0", ("http://127.0.0.1:9/toy.bin",)), tmp_path)
