"""Profiles: every mistake in one is one sentence; YAML means what people mean."""

import pytest
import yaml

from experiments import profiles, reading
from experiments.errors import UserError

LINES = {
    "problems": ["digits-mlp"],
    "steps": 3,
    "seeds": [0, 1],
    "measure": {"first": 1, "every": 2, "points": 9},
}


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a profile `mine` and return its plan of the study `lines`."""
    monkeypatch.setattr(profiles, "FOLDER", tmp_path / "profiles")
    profiles.FOLDER.mkdir()

    def write(text):
        (profiles.FOLDER / "mine.yaml").write_text(text if isinstance(text, str) else yaml.safe_dump(text))
        return profiles.plan("mine", "lines")

    return write


def test_a_plan_has_every_run_resolved(write):
    configs = write({"lines": LINES})
    assert [config.seed for config in configs] == [0, 1]
    assert all(config.study == "lines" and config.steps == 3 for config in configs)


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
        ({"lines": LINES | {"measure": {"first": 1, "every": 2}}}, ["measure.points", "missing"]),
        ({"lines": None}, ["section lines", "None", "problems"]),
        ({"single": {"runs": []}}, ["'mine'", "'lines'", "single"]),
        ("lines: [", ["mine.yaml", "YAML"]),
        ("lines:\n  steps: 1\nlines:\n  steps: 2\n", ["mine.yaml", "'lines'", "twice"]),
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


BENCHMARK = {
    "problems": ["digits-mlp"],
    "steps": 3,
    "seeds": [0, 1],
    "optimizers": {
        "sgd-step": {"optimizer": "sgd", "schedule": "step", "grid": {"lr": [0.1, 0.01]}},
        "adam": {"grid": {"lr": [0.001]}},
    },
}


def test_a_confirmation_runs_one_setting_of_some_competitors_on_further_problems(write):
    further = {"problems": ["digits-cnn"], "steps": 2, "seeds": [5], "settings": {"sgd-step": {"lr": 0.1}}}
    write({"lines": LINES, "benchmark": BENCHMARK | {"confirmation": further}})
    *grid, last = profiles.plan("mine", "benchmark")
    assert len(grid) == 6
    assert (last.problem, last.steps, last.seed) == ("digits-cnn", 2, 5)
    assert (last.entry, last.optimizer, last.schedule) == ("sgd-step", "sgd", "step")
    assert last.settings["lr"] == 0.1


def test_a_confirmation_of_an_unknown_competitor_is_one_sentence(write):
    further = {"problems": ["digits-cnn"], "seeds": [5], "settings": {"adan": {}}}
    write({"lines": LINES, "benchmark": BENCHMARK | {"confirmation": further}})
    with pytest.raises(UserError, match=r"confirmation.*'adan'.*did you mean 'adam'"):
        profiles.plan("mine", "benchmark")


def test_an_unknown_profile_is_answered_with_the_nearest(write):
    write({"lines": LINES})
    with pytest.raises(UserError, match=r"'mines'.*did you mean 'mine'"):
        profiles.load("mines")


def test_the_profiles_that_come_with_the_project_are_whole():
    for name in profiles.names():
        for study in profiles.load(name):
            assert profiles.plan(name, study)


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
    found = reading.parse(text, "here")
    assert found == value
    assert type(found) is type(value)
