"""How Omniboard is installed and told its database; its programs are replaced by a few words of shell."""

import os

import pymongo
import pytest

from experiments import omniboard


@pytest.fixture(autouse=True)
def at_once(monkeypatch, tmp_path):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    monkeypatch.setattr(omniboard, "FOLDER", tmp_path)


@pytest.fixture
def program(tmp_path):
    """Make a program of a few words of shell, which runs in a folder of the test's own."""

    def make(name, words):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{words}\n")
        path.chmod(0o755)

    return make


def credentials(url):
    """Whom and where a database is asked for, as pymongo understands an address."""
    with pymongo.MongoClient(url, connect=False) as client:
        return client.options.pool_options._credentials


@pytest.mark.parametrize("options", ["", "?tls=true", "?tls=true&AuthSource=users"])
@pytest.mark.parametrize("place", ["", "/", "/runs"])
@pytest.mark.parametrize("user", ["", "me:secret@", "me:sec%2Fret@"])
def test_omniboard_is_told_the_database_and_its_user_stays_where_it_is(user, place, options):
    url = f"mongodb://{user}one:1,two:2{place or '/' * bool(options)}{options}"
    name = place.strip("/") or "sacred"
    found = omniboard.with_database(url, name)
    assert found.startswith(f"mongodb://{user}one:1,two:2/{name}{options}")
    assert credentials(found) == credentials(url)
    assert ("authSource=admin" in found) == (bool(user) and place != "/runs" and "Source" not in options)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "PLAIN", "MONGODB-X509&tls=true"])
def test_users_of_every_mechanism_stay_where_they_are(mechanism):
    user = "CN%3Dme" if "X509" in mechanism else "me:secret"
    url = f"mongodb://{user}@one/?authMechanism={mechanism}"
    found = omniboard.with_database(url, "sacred")
    assert found.startswith(f"mongodb://{user}@one/sacred?authMechanism={mechanism}")
    assert credentials(found) == credentials(url)


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
