"""`make test-omniboard`: the quick way of a person through Omniboard, in a real browser."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from small_runs import free_port

from experiments.common.paths import REPOSITORY, lock
from experiments.runs import omniboard

pytestmark = pytest.mark.skipif(
    not Path(os.environ.get("CHROMIUM", "/usr/bin/chromium")).exists(), reason="needs Chromium, see CHROMIUM"
)

PICTURES = REPOSITORY / "build" / "omniboard"
RUN = ["run", "problem=digits-mlp", "optimizer=pal", "settings.mu=0.1", "steps=120", "evaluate_every=10"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Keep other workers out: the database has one port, and the packages of Omniboard one folder."""
    with (tmp_path_factory.getbasetemp().parent / "omniboard.lock").open("w") as file:
        lock(file)
        yield


@pytest.fixture(scope="module")
def address(tmp_path_factory, alone):
    """Omniboard before the runs of $PAL_RUNS, or before two runs made for it."""
    environment = dict(os.environ)
    if "PAL_RUNS" not in environment:
        environment["PAL_RUNS"] = str(tmp_path_factory.mktemp("runs"))
        for words in (RUN, [*RUN[:-3], "optimizer=sgd", "settings.lr=0.1"]):
            subprocess.run([sys.executable, "-m", "experiments", *words], env=environment, check=True)
    port = free_port()
    command = [sys.executable, "-m", "experiments", "omniboard", "--port", str(port)]
    log = (tmp_path_factory.mktemp("log") / "omniboard.txt").open("w+")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address, end = f"http://127.0.0.1:{port}{omniboard.PATH}", time.monotonic() + 600
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            break
        except OSError:
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() < end, Path(log.name).read_text()
            time.sleep(0.5)
    yield address
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    log.close()


@pytest.fixture(scope="module")
def seen(address):
    PICTURES.mkdir(parents=True, exist_ok=True)
    fields = ["problem=digits-mlp", "method=pal"]
    command = ["node", str(omniboard.FOLDER / "look.cjs"), address, str(PICTURES), *fields]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_new_browser_shows_which_run_it_is_and_its_results(seen):
    assert re.search(r"\d+ experiments", seen["table"])
    assert seen["headers"][:4] == ["experiment_name", "status", "c_problem", "c_method"]
    assert {"c_setting", "c_outcome", "c_final_train_loss", "c_test_accuracy", "tags"} <= set(seen["headers"])
    assert not {"hostname", "format", "heartbeat"} & set(seen["headers"])


def test_columns_that_a_person_has_hidden_stay_hidden(seen):
    assert "c_seed" in seen["headers"]
    assert "c_seed" not in seen["kept"]
    assert "c_test_accuracy" in seen["kept"]


def test_a_pal_run_has_config_metrics_output_and_artifacts(seen):
    assert "digits-mlp/pal" in seen["opened"].replace("\n", "")
    assert seen["curves"] >= 3
    assert "problem" in seen["Config"]
    assert "digits-mlp" in seen["Config"]
    assert "trace.npz" in seen["Artifacts"]
    assert len({seen[name] for name in ("Captured Out", "Artifacts", "Config")}) == 3
    assert {path.stem for path in PICTURES.glob("*.png")} >= {
        "runs",
        "filtered",
        "metrics-plot",
        "captured-out",
        "artifacts",
        "config",
    }


def test_nothing_listens_or_asks_beyond_this_machine(address, seen):
    assert seen["outside"] == []
    listening = subprocess.run(["ss", "-ltn"], capture_output=True, text=True, check=True).stdout
    ports = (urllib.parse.urlsplit(address).port, omniboard.DATABASE_PORT)
    places = [line.split()[3] for line in listening.splitlines()[1:]]
    ours = [place for place in places if int(place.rpartition(":")[2]) in ports]
    assert len(ours) == 2
    assert all(place.startswith("127.0.0.1:") for place in ours)


def test_a_click_on_a_header_sorts_by_a_result(seen):
    times = {"first_page_s": seen["first_page_ms"] / 1000, "sorting_s": seen["sorting_ms"] / 1000}
    (PICTURES / "times.json").write_text(json.dumps(times))
    losses = [float(text) for text in seen["losses"] if text]
    assert losses
    assert losses == sorted(losses, reverse=True)


def test_a_page_of_another_origin_can_neither_read_nor_delete_runs(seen):
    assert seen["attack"] == {"read": "refused", "deleted": "refused", "lost": []}
