"""Runs in a real database server: everything of the directories is there, and no trouble with it reaches a run."""

import json
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager

import gridfs
import numpy as np
import pymongo
import pytest
from small_runs import free_port, short, until

from experiments.common.errors import UserError
from experiments.common.paths import runs_root
from experiments.runs import mongo, omniboard, run_directory
from experiments.runs.integrity import seal
from experiments.runs.key import run_key
from experiments.training.loop import train

SERVER = shutil.which("secantusd-py")
pytestmark = pytest.mark.skipif(SERVER is None, reason="secantusd-py is not installed")


class Server:
    """A database server that can be killed and started again."""

    def __init__(self, folder):
        self.port, self.folder = free_port(), folder
        self.url = f"mongodb://127.0.0.1:{self.port}/test"

    def start(self):
        command = omniboard.server_command(SERVER, self.port, str(self.folder))
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers)

    def answers(self):
        try:
            with mongo.connect(self.url):
                return True
        except UserError:
            return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def started(folder):
    found = Server(folder)
    found.start()
    try:
        yield found
    finally:
        found.kill()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with started(tmp_path_factory.mktemp("database") / "data") as found:
        yield found


@pytest.fixture
def database(server):
    with mongo.connect(server.url) as found:
        yield found
        found.client.drop_database(found.name)


def broken(config, record):
    sys.stdout.write("this is where it went wrong")
    raise RuntimeError("no reason")


def test_the_database_holds_what_the_run_directories_hold(database, runs_root):
    configs = [short(seed=seed) for seed in range(2)] + [short(optimizer="sgd", settings={"lr": 0.01})]
    folders = [run_directory.execute(config, train) for config in configs]
    assert mongo.sync(database) == (3, 3)
    files = gridfs.GridFS(database)
    for config, folder in zip(configs, folders, strict=True):
        run = database.runs.find_one({"_id": mongo.number_of(run_key(config))})
        assert run["status"] == "COMPLETED"
        assert run["experiment"]["name"] == f"single/digits-cnn/{config.method}"
        for name, value in (config.model_dump(exclude={"settings"}) | config.settings).items():
            assert run["config"].get(name) == value
        columns = ["problem", "method", "setting", "seed", "outcome", "final_train_loss"]
        assert list(run["config"])[:6] == columns
        result = json.loads((folder / "run.json").read_text())["result"]
        assert run["config"]["final_train_loss"] == result["final_train_loss"]
        written = json.loads((folder / "metrics.json").read_text())
        stored = {each["name"]: each for each in database.metrics.find({"run_id": run["_id"]})}
        assert set(stored) == set(written) == {each["name"] for each in run["info"]["metrics"]}
        for name, series in written.items():
            assert stored[name]["values"] == series["values"]
            assert stored[name]["steps"] == series["steps"]
        for artifact in run["artifacts"]:
            assert files.get(artifact["file_id"]).read() == (folder / artifact["name"]).read_bytes()
        assert {artifact["name"] for artifact in run["artifacts"]} == set(mongo.FILES)


def test_syncing_twice_changes_nothing_and_keeps_what_a_person_wrote(database):
    run_directory.execute(short(), train)
    mongo.sync(database)
    database.runs.update_one({}, {"$set": {"omniboard.notes": "look at this"}})
    before = [*database.runs.find(), *database.metrics.find(), *database["fs.files"].find()]
    assert mongo.sync(database) == (0, 1)
    assert [*database.runs.find(), *database.metrics.find(), *database["fs.files"].find()] == before
    found = mongo.documents(runs_root() / run_key(short()), run_key(short()))
    mongo.store(database, [found])
    assert database.runs.find_one()["omniboard"] == {"tags": ["single"], "notes": "look at this"}
    assert database.runs.count_documents({}) == 1


def test_a_run_made_anew_replaces_the_old_one(database):
    folder = run_directory.execute(short(), train)
    mongo.sync(database)
    (folder / "trace.npz").write_bytes(b"much shorter")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(run | {"heartbeat": "2030-01-01T00:00:00.123456"}))
    assert mongo.sync(database) == (0, 1)  # as long as it looks like damage
    seal(folder)
    assert mongo.sync(database) == (1, 1)
    assert mongo.sync(database) == (0, 1)
    artifact = database.runs.find_one()["artifacts"][0]
    assert gridfs.GridFS(database).get(artifact["file_id"]).read() == b"much shorter"
    assert database["fs.files"].count_documents({}) == len(mongo.FILES)


class Counter(pymongo.monitoring.CommandListener):
    count = 0

    def started(self, event):
        self.count += 1

    def succeeded(self, event):
        pass

    failed = succeeded


def test_many_runs_take_few_commands_and_an_interrupted_sync_is_finished_by_the_next(
    database, server, runs_root
):
    folder = one_number()
    for number in range(2 * mongo.BATCH):
        shutil.copytree(folder, runs_root / f"{number:013x}000")
    counter = Counter()
    with pymongo.MongoClient(server.url, event_listeners=[counter]) as client:
        assert mongo.sync(client.get_default_database()) == (2 * mongo.BATCH + 1,) * 2
    assert counter.count < mongo.BATCH + 20
    before = [*database.metrics.find(), *database.fs.files.find(), *database.fs.chunks.find()]
    database.runs.delete_many({"_id": {"$lt": 2**20}})  # runs are written last
    assert mongo.sync(database) == (2 * mongo.BATCH, 2 * mongo.BATCH + 1)
    after = [*database.metrics.find(), *database.fs.files.find(), *database.fs.chunks.find()]
    assert sorted(map(str, after)) == sorted(map(str, before))


def test_an_attempt_that_died_while_it_was_written_stops_nothing(database, runs_root):
    run_directory.execute(short(), train)
    torn = runs_root / ".failed" / run_key(short(seed=1))
    torn.mkdir(parents=True)
    (torn / "run.json").write_text('{"status": "RUNN')
    assert mongo.sync(database) == (1, 1)


def test_a_failed_run_is_there_with_its_output_until_it_succeeds(database):
    with pytest.raises(RuntimeError):
        run_directory.execute(short(), broken)
    assert mongo.sync(database) == (1, 1)
    run = database.runs.find_one()
    assert run["status"] == "FAILED"
    assert "this is where it went wrong" in run["captured_out"]
    assert "RuntimeError: no reason" in "".join(run["fail_trace"])
    run_directory.execute(short(), train)
    assert mongo.sync(database) == (1, 1)
    assert database.runs.find_one()["status"] == "COMPLETED"


def test_a_diverged_run_is_marked(database):
    run_directory.execute(short(optimizer="sgd", settings={"lr": 1e6}), train)
    mongo.sync(database)
    run = database.runs.find_one()
    assert run["omniboard"]["tags"] == ["single", "diverged"]
    assert run["config"]["outcome"] == "diverged"


def test_long_metrics_are_thinned_and_keep_both_ends():
    count = 12_345
    moment = "2026-01-01T00:00:00.123456"
    values = {"steps": list(range(count)), "values": [0.5] * count, "timestamps": [moment] * count}
    found = mongo._metric(1, "key", "loss", values)
    assert len(found["steps"]) == len(found["values"]) == mongo.POINTS
    assert (found["steps"][0], found["steps"][-1]) == (0, count - 1)
    assert np.diff(found["steps"]).max() <= 13


def test_a_run_under_way_is_there_and_what_it_says_next_too(database):
    shown = []

    def body(config, record):
        for step in range(2):
            record.metric("loss", 1.0 - step, step)
            until(lambda step=step: mongo.sync(database) and len(losses()) == step + 1)
            shown.append(database.runs.find_one()["status"])
        return {"steps": 2}

    def losses():
        found = database.metrics.find_one({"name": "loss"})
        return found["values"] if found else []

    run_directory.execute(short(), body)
    assert shown == ["RUNNING", "RUNNING"]
    assert mongo.sync(database) == (1, 1)
    assert database.runs.find_one()["status"] == "COMPLETED"
    assert losses() == [1.0, 0.0]


def one_number(seed=0, value=0.0):
    """The directory of a run that writes down one number."""

    def body(config, record):
        record.metric("loss", value, 0)
        return {"steps": 0}

    return run_directory.execute(short(seed=seed), body)


def test_a_run_whose_directory_gets_another_key_is_there_once_and_keeps_its_notes(database, runs_root):
    folder = one_number()
    mongo.sync(database)
    database.runs.update_one({}, {"$set": {"omniboard.notes": "look at this"}})
    folder.rename(runs_root / "0123456789abcdef")
    assert mongo.sync(database) == (1, 1)
    assert [run["_id"] for run in database.runs.find()] == [0x0123456789ABC]
    assert database.runs.find_one()["omniboard"]["notes"] == "look at this"
    assert database.metrics.distinct("run_id") == [0x0123456789ABC]
    assert database["fs.files"].count_documents({}) == len(mongo.FILES)


def test_runs_of_other_folders_and_machines_stay(database, monkeypatch, tmp_path):
    one_number()
    mongo.sync(database)
    monkeypatch.setenv("PAL_RUNS", str(tmp_path / "others"))
    gone = one_number(seed=1)
    assert mongo.sync(database) == (1, 2)
    one_number(seed=2)
    shutil.rmtree(gone)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "elsewhere")
        assert mongo.sync(database) == (1, 3)
    assert mongo.sync(database) == (0, 2)


def test_runs_stay_that_are_under_way_or_whose_folder_is_empty(database, runs_root):
    folder = one_number()
    mongo.sync(database)
    folder.rename(runs_root / "elsewhere")
    assert mongo.sync(database) == (0, 1)
    (runs_root / ".partial").mkdir(exist_ok=True)
    (runs_root / "elsewhere").rename(runs_root / ".partial" / folder.name)
    assert mongo.sync(database) == (0, 1)
    one_number(seed=1)
    assert mongo.sync(database) == (1, 2)


def test_of_a_long_output_the_end_is_kept_and_what_was_cut_is_said(database, monkeypatch):
    folder = one_number()
    (folder / "cout.txt").write_text("x" * 17_000_000 + "the last words")
    seal(folder)
    assert mongo.sync(database) == (1, 1)
    output = database.runs.find_one()["captured_out"]
    assert output.startswith("... (16000014 bytes before this are in cout.txt alone)\nxxx")
    assert output.endswith("the last words")
    assert len(output) < mongo.OUTPUT + 100


def test_a_run_that_the_database_does_not_take_is_named_and_stops_no_other(database, caplog):
    for seed in range(3):
        one_number(seed, value=2**70 if seed == 1 else 0.0)
    assert mongo.sync(database) == (2, 2)
    error = caplog.text
    assert error.count("cannot be loaded into the database (OverflowError") == 1
    assert run_key(short(seed=1)) in error


@pytest.mark.parametrize(
    "user", ["me:se/cret", "me:se@cret", "me:s/e@/cret", "me@corp:secret", "me:1:2/cret"]
)
def test_an_invalid_address_is_shown_without_any_part_of_its_password(user):
    with pytest.raises(UserError, match="/ is written %2F") as raised:
        mongo.connect(f"mongodb://{user}@host/x").__enter__()
    assert f"'mongodb://{user.partition(':')[0]}:...@host/x'" in str(raised.value)
    assert "cret" not in str(raised.value)


def test_what_is_wrong_with_a_database_is_one_sentence(database, server, monkeypatch):
    with pytest.raises(UserError, match="it must look like mongodb://host:27017/sacred"):
        mongo.connect("http://localhost").__enter__()
    monkeypatch.setattr(mongo, "TIMEOUT", 0.2)
    with pytest.raises(UserError, match=r"'mongodb://me:\.\.\.@127\.0\.0\.1:1/x'"):
        mongo.connect("mongodb://me:secret@127.0.0.1:1/x").__enter__()
    with pytest.raises(UserError, match=r"no MongoDB answers at 'mongodb://127\.0\.0\.1:1/x' within 0\.2 s"):
        mongo.connect("mongodb://127.0.0.1:1/x").__enter__()
    monkeypatch.setattr(mongo, "TIMEOUT", 2.0)
    database.runs.insert_one({"_id": 1, "format": "MongoObserver-0.2.0"})
    with pytest.raises(UserError, match=r"another version of Sacred \(format 'MongoObserver-0\.2\.0'"):
        mongo.connect(server.url).__enter__()


def test_a_port_in_use_and_missing_programs_are_one_sentence(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"port {port} of 127\.0\.0\.1 is in use; choose another"):
            omniboard.main(port)
        monkeypatch.setattr(omniboard, "DATABASE_PORT", port)
        with pytest.raises(
            UserError, match=rf"port {port} .* set MONGO_URL=mongodb://127\.0\.0\.1:{port}/sacred"
        ):
            omniboard._database().__enter__()
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(UserError, match=r"needs Node\.js"):
        omniboard.main(free_port())


def test_the_server_listens_at_home_only(server):
    listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True, check=True).stdout
    places = [line.split()[3] for line in listening.splitlines() if f":{server.port} " in line]
    assert places == [f"127.0.0.1:{server.port}"]
