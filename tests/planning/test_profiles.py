"""Profiles: every mistake in one is one sentence; YAML means what people mean."""

from dataclasses import replace

import pytest
import yaml

from experiments import planning
from experiments.common import profiles, yaml_files
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.studies.base import get_study
from experiments.studies.registry import STUDIES

LINES = {
    "problems": ["digits-mlp"],
    "steps": 3,
    "seeds": [0, 1],
    "measure": {"first": 1, "even": 2, "points": 9},
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a profile `mine` and return its plan of the study `lines`."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path / "profiles")
    profiles.FOLDER.mkdir()

    def write(text):
        (profiles.FOLDER / "mine.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return planning.plan("mine", "lines").runs

    return write


def test_a_plan_has_every_run_resolved(write):
    configs = write({"lines": LINES})
    assert [config.seed for config in configs] == [0, 1]
    assert all(config.study == "lines" and config.steps == 3 for config in configs)


@pytest.mark.parametrize("name", ["my profile", "a$(touch there)", "a;b", "-a", "a'b"])
def test_a_name_that_a_shell_would_interpret_is_refused(write, monkeypatch, name):
    write({"lines": LINES})
    (profiles.FOLDER / f"{name}.yaml").touch()
    with pytest.raises(UserError, match="the profile .* needs another name: letters, digits"):
        profiles.profile_path(name)
    monkeypatch.setitem(STUDIES, name, "experiments.studies.lines")
    with pytest.raises(UserError, match="the study .* needs another name"):
        write({name: LINES})


@pytest.mark.parametrize("planned", [None, ["digits-mlp"]])
def test_a_study_of_ones_own_must_plan_runs(write, monkeypatch, planned):
    study = replace(get_study("lines"), plan=lambda _: planned)
    monkeypatch.setattr(planning, "get_study", lambda _: study)
    with pytest.raises(UserError, match=r"study 'lines': its plan returned .*; it must be a list of runs"):
        write({"lines": LINES})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ({"lins": LINES}, ["mine.yaml", "'lins'", "did you mean 'lines'"]),
        ({"lines": LINES | {"seed": [0]}}, ["mine.yaml", "section lines", "'seed'", "did you mean 'seeds'"]),
        (
            {"lines": {"seedz" if key == "seeds" else key: LINES[key] for key in LINES}},
            ["'seedz'", "'seeds'"],
        ),
        ({"lines": LINES | {"seeds": []}}, ["seeds is []", "at least 1 item"]),
        ({"lines": LINES | {"seeds": "0"}}, ["seeds is '0'", "list"]),
        ({"lines": LINES | {"steps": -3}}, ["steps is -3"]),
        ({"lines": LINES | {"settings": {"mu": -0.1}}}, ["mu", "-0.1"]),
        ({"lines": LINES | {"settings": {"nu": 0.1}}}, ["'nu'", "'mu'"]),
        ({"lines": LINES | {"problems": ["digits-mpl"]}}, ["'digits-mpl'", "'digits-mlp'"]),
        ({"lines": LINES | {"seeds": [1, 1]}}, ["section lines", "seed=1", "twice"]),
        ({"lines": LINES | {"measure": {"first": 1, "even": 2}}}, ["measure.points", "missing"]),
        ({"lines": None}, ["section lines", "None", "problems"]),
        ({"single": {}}, ["'mine'", "'lines'", "single"]),
        ("lines: [", ["mine.yaml", "YAML"]),
        ("lines:\n  steps: 1\nlines:\n  steps: 2\n", ["mine.yaml", '"lines"', "duplicate"]),
        ("just words", ["mine.yaml", "NAME: VALUE"]),
        ("", ["mine.yaml", "NAME: VALUE"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence(write, text, words):
    with pytest.raises(UserError) as caught:
        write(text)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_list_of_sections_is_one_study_and_a_mistake_names_its_part(write):
    other = LINES | {"problems": ["digits-cnn"], "steps": 5}
    configs = write({"lines": [LINES, other]})
    assert [(config.problem, config.steps) for config in configs] == [("digits-mlp", 3)] * 2 + [
        ("digits-cnn", 5)
    ] * 2
    with pytest.raises(UserError, match=r"section lines, part 2: .*'stepps'; did you mean 'steps'"):
        write({"lines": [LINES, LINES | {"stepps": 1}]})
    with pytest.raises(UserError, match="twice"):
        write({"lines": [LINES, LINES]})
    with pytest.raises(UserError, match=r"section lines: \[\]"):
        write({"lines": []})


def test_the_profiles_that_come_with_the_project_are_whole():
    for name in profiles.profile_names():
        for study in planning.load_profile(name):
            assert planning.plan(name, study).runs


def test_every_profile_has_every_study_of_the_pipeline():
    pipeline = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]["study"]["foreach"]
    for name in ("quick", "small", "paper"):
        assert set(planning.load_profile(name)) == set(pipeline)


def test_the_profile_of_the_paper_gives_every_competitor_as_many_settings_at_the_papers_length():
    for section in planning.load_profile("paper")["benchmark"]:
        numbers = {name: len(one.settings()) for name, one in section.optimizers.items()}
        assert len(set(numbers.values())) == 1, numbers
        assert len(section.seeds) == 3
    lengths = {
        (config.steps, config.batch_size, config.evaluate_every)
        for config in planning.plan("paper", "exactness").runs
    }
    assert lengths == {(150_000, 128, 352)}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("-2E+4", -2e4),
        ("5.e-1", 0.5),
        ("1e3x", "1e3x"),
        ("true", True),
        ("none", "none"),
        ("3", 3),
    ],
)
def test_values_are_what_people_mean(text, value):
    found = yaml_files.parse(text, "here")
    assert found == value
    assert type(found) is type(value)
