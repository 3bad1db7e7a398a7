"""`make reproduce`: what make passes on, and what DVC refuses."""

import json
import os
import re
import shutil
import subprocess
from contextlib import nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest
from copies import repository_copy

from experiments import pipeline
from experiments.cli import main as cli
from experiments.cli import reproduce
from experiments.cli.study import Request
from experiments.common.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:(dvc|pygtrie)")

TOY = """\
stages:
  plan:
    cmd: cp profile plan.json
    deps: [profile]
    outs: [{plan.json: {cache: false}}]
  study:
    foreach: [one, two]
    do:
      cmd: test ${item} != broken && cp plan.json ${item}
      params: [{plan.json: ["${item}"]}]
      outs: [{"${item}": {cache: false, persist: true}}]
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """A pipeline of files that are copied, made once."""
    monkeypatch.setattr(pipeline, "REPOSITORY", tmp_path)
    monkeypatch.setattr(pipeline, "RWLOCK", tmp_path / ".dvc" / "tmp" / "rwlock")
    monkeypatch.setattr(pipeline, "CACHE", tmp_path / ".dvc" / "tmp" / "site")
    monkeypatch.setattr(pipeline, "write_pipeline", lambda _: None)
    monkeypatch.setitem(os.environ, "PATH", os.environ["PATH"])
    monkeypatch.setitem(os.environ, "SHELL", "/bin/false")
    (tmp_path / ".dvc").mkdir()
    (tmp_path / "dvc.yaml").write_text(TOY)
    found = SimpleNamespace(root=tmp_path, dvc=pipeline.Pipeline("quick"))
    found.change = lambda **values: (tmp_path / "profile").write_text(json.dumps(values))
    found.change(one=1, two=2)
    assert found.dvc.make() == 0
    return found


def test_only_studies_whose_plan_changed_are_out_of_date(toy):
    assert toy.dvc.outdated() == []
    toy.change(one=5, two=2)
    assert toy.dvc.make("plan") == 0
    assert toy.dvc.outdated() == ["study@one"]
    toy.dvc.keep("study@one")
    assert toy.dvc.outdated() == []
    (toy.root / "two").unlink()
    assert toy.dvc.outdated() == ["study@two"]


def test_a_command_that_fails_has_said_why(toy):
    (toy.root / "dvc.yaml").write_text(TOY.replace("cp profile plan.json", "exit 2"))
    assert toy.dvc.make() == 1


ONE_WAY = {"threads": 1, "instruction_set": "avx2"}


@pytest.mark.parametrize(
    ("made", "asked", "outdated", "refused"),
    [
        (ONE_WAY, {}, ["two"], ""),
        (ONE_WAY, {"threads": 2}, [], "asks for threads=2"),
        (ONE_WAY, {"instruction_set": "native"}, [], "asks for threads=1 and the native instruction set"),
        (ONE_WAY | {"threads": 2}, {"threads": 2}, ["two"], ""),
        (ONE_WAY | {"threads": 2}, {}, [], ""),
        (ONE_WAY | {"threads": 2}, {}, ["two"], "one: its tables were made with threads=2"),
        (ONE_WAY | {"instruction_set": "native avx512"}, {}, ["two"], "made with threads=1 and the native"),
        (ONE_WAY | {"threads": 2}, {}, ["one", "two"], ""),
    ],
)
def test_results_of_other_threads_or_instructions_are_never_mixed_or_taken_for_those_asked_for(
    monkeypatch, made, asked, outdated, refused
):
    executed = []
    monkeypatch.setattr(reproduce.planning, "load_profile", lambda _: {"one": [], "two": []})
    monkeypatch.setattr(reproduce.tables, "read", lambda *_: pd.DataFrame([made, made]))
    monkeypatch.setattr(reproduce.study, "main", lambda request: executed.extend(request.studies) or 0)
    dvc = SimpleNamespace(keep=lambda *_: None, stages=lambda studies: studies)
    stages = ["claims", *(f"study@{name}" for name in outdated)]
    with pytest.raises(UserError, match=refused) if refused else nullcontext():
        assert reproduce._studies(dvc, Request("quick", **asked), stages) == 0
    assert executed == ([] if refused else outdated)


CORRUPT = "rwlock is corrupt; if no other DVC command is running here, remove it"


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        *(
            ("dvc.lock", content, "dvc.lock.*remove it, then run the same command again")
            for content in (b"", bytes(range(256)), b"[1]")
        ),
        ("dvc.yaml", b"stages: [", "dvc.yaml.*restore it from git"),
        ("profile", None, "profile"),
        *((".dvc/tmp/rwlock", content, CORRUPT) for content in (b'{"write": {"', b"\xff\xfe", b"[1]")),
        (
            ".dvc/tmp/rwlock",
            b'{"write": {"PLAN": {"pid": 1, "cmd": "dvc repro"}}}',
            r"busy.*\(PID 1\).*remove",
        ),
    ],
)
def test_what_dvc_refuses_is_one_sentence_that_says_what_to_do(toy, name, content, sentence):
    toy.change(one=3, two=4)
    path = toy.root / name
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content.replace(b"PLAN", str(toy.root / "plan.json").encode()))
    with pytest.raises(UserError, match=sentence) as refused:
        toy.dvc.make()
    assert "\n" not in str(refused.value)


def test_a_cache_of_dvc_that_is_damaged_is_named_and_made_again_once_it_is_removed(toy):
    toy.change(one=3, two=4)
    for database in list(pipeline.CACHE.rglob("cache.db")):
        database.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(UserError, match=f"remove {pipeline.CACHE}, then run the same command again"):
        toy.dvc.make()
    shutil.rmtree(pipeline.CACHE)
    assert toy.dvc.make() == 0


def test_what_a_killed_process_left_in_the_lock_is_in_nobodys_way(toy):
    toy.change(one=3, two=4)
    dead = {"pid": 2**22 + 1, "cmd": "dvc repro"}
    pipeline.RWLOCK.write_text(json.dumps({"write": {str(toy.root / "plan.json"): dead}}))
    assert toy.dvc.make() == 0


def test_a_second_call_names_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr(reproduce, "REPOSITORY", tmp_path)
    with (
        reproduce._alone("quick"),
        pytest.raises(UserError, match=f"running here .process {os.getpid()}."),
        reproduce._alone("quick"),
    ):
        pass
    with reproduce._alone("quick"), reproduce._alone("small"):
        pass


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    """A copy of the repository, whose Python writes down what make passes on."""
    root = repository_copy(tmp_path_factory.mktemp("copy"))
    (root / ".venv" / "bin").mkdir(parents=True)
    python = root / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "$*" > words\nenv -0 > passed\n')
    python.chmod(0o755)
    (root / ".venv" / ".ready").touch()
    return root


HOSTILE = (
    "$(shell touch executed)",
    "`touch executed`",
    "a'; touch executed; '",
    "${x}*",
    '"$HOME" b\\',
    "-n",
    "*",
)


@pytest.mark.parametrize("target", ["reproduce", "dry-run", "verify", "omniboard"])
@pytest.mark.parametrize("word", HOSTILE)
def test_make_passes_its_variables_on_as_they_are(stub, target, word, monkeypatch):
    monkeypatch.delenv("CONDA_DEFAULT_ENV", raising=False)
    names = ("PROFILE", "ONLY", "FORCE", "SLOTS", "SLURM", "SAMPLE", "PORT", "TIME_LIMIT")
    command = ["make", "--no-print-directory", target, *(f"{name}={word}" for name in names)]
    subprocess.run(command, cwd=stub, check=True, capture_output=True)
    passed = dict(one.partition("=")[::2] for one in (stub / "passed").read_text().split("\0"))
    assert {name: passed[f"PAL_{name}"] for name in names} == dict.fromkeys(names, word)
    assert (stub / "words").read_text().startswith("-m experiments ")
    assert not (stub / "executed").exists()


@pytest.mark.parametrize(
    ("variable", "word", "sentence"),
    [
        ("FORCE", "perhaps", "'perhaps' is not a valid boolean"),
        ("PROFILE", "smal", "'smal'.*did you mean 'small'"),
        ("ONLY", "${x}*", "no run has"),
        ("SLOTS", "0", "slots.*0 is not in the range"),
    ],
)
def test_what_make_passes_on_is_refused_in_one_sentence(variable, word, sentence, monkeypatch, capsys):
    monkeypatch.setenv("PAL_ONLY", "digits-mlp")
    monkeypatch.setenv(f"PAL_{variable}", word)
    assert cli.main(["reproduce", "--force"] if variable == "ONLY" else ["reproduce"]) == 2
    error = capsys.readouterr().err
    assert re.search(sentence, error.splitlines()[-1])
