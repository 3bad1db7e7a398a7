"""A run as a record with every field resolved: what is filled in, what is refused, and what its key depends on."""

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from small_runs import short

from experiments import models, optimizers, problems, seeds, source
from experiments.config import SPOKEN_FOR, RunConfig, Strict, resolve
from experiments.errors import UserError


def test_what_is_not_given_is_taken_from_problem_and_optimizer():
    problem, config = problems.get("digits-cnn"), resolve("single", problem="digits-cnn", optimizer="sgd")
    assert (config.steps, config.batch_size, config.l2) == (problem.steps, problem.batch_size, problem.l2)
    assert config.settings == optimizers.get("sgd").settings
    assert config.entry == "sgd"
    assert config.evaluate_every == -(-problem.data.sizes[0] // problem.batch_size)


def test_an_epoch_without_held_out_data_has_all_training_examples():
    config = resolve("single", problem="sls-mnist-mlp-1000", optimizer="sgd")
    assert config.task.examples[0] == 60_000
    assert config.evaluate_every == -(-60_000 // config.batch_size)


def test_an_evaluation_each_epoch_follows_the_batch_and_the_examples():
    assert (
        resolve("single", problem="digits-cnn", optimizer="sgd", train_size=100, batch_size=32).evaluate_every
        == 4
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"problem": "digits-cn"}, ["'digits-cn'", "did you mean 'digits-cnn'"]),
        ({"problem": 3}, ["problem", "3", "digits-cnn"]),
        ({"optimizer": None}, ["optimizer", "None", "pal"]),
        ({"optimizer": "sdg"}, ["'sdg'", "did you mean 'sgd'"]),
        ({"settings": {"mü": 1.0}}, ["'mü'", "'mu'"]),
        ({"settings": 3}, ["settings", "3"]),
        ({"settings": {"mu": 0.0}}, ["mu", "0"]),
        ({"settings": {"mu": -1.0}}, ["mu", "-1"]),
        ({"settings": {"mu": float("nan")}}, ["mu", "nan"]),
        ({"settings": {"mu": "much"}}, ["mu", "much"]),
        ({"settings": {"mu": None}}, ["mu", "None"]),
        ({"step": 3}, ["'step'", "did you mean 'steps'"]),
        ({"steps": 0}, ["steps", "0", "greater than or equal to 1"]),
        ({"steps": 2.5}, ["steps", "2.5", "integer"]),
        ({"steps": "many"}, ["steps", "'many'", "integer"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
        ({"batch_size": "all"}, ["batch_size", "'all'"]),
        ({"train_size": -1}, ["train_size", "-1"]),
        ({"l2": float("inf")}, ["l2", "inf", "finite"]),
        ({"l2": -1.0}, ["l2", "-1"]),
        ({"dtype": "float16"}, ["dtype", "'float16'", "'bfloat16'"]),
        ({"seed": True}, ["seed", "True"]),
        ({"deterministic": "no"}, ["deterministic", "'no'"]),
        ({"schedule": "linear"}, ["schedule", "'linear'", "'step'"]),
        ({"schedule": "step"}, ["'pal'", "learning rate", "'step'"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_sentence_with_the_thing_the_value_and_what_is_allowed(changes, words):
    with pytest.raises(UserError) as caught:
        short(**changes)
    sentence = str(caught.value)
    assert "\n" not in sentence
    for word in words:
        assert word in sentence


class Inner(Strict):
    """A section inside a section."""

    height: int


class Outer(Strict):
    """A section with others in it."""

    inner: Inner
    many: dict[str, Inner] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"inner": {}}, ["missing", "inner.height"]),
        ({"inner": {"hight": 1}}, ["'inner.hight'", "'height'"]),
        ({"inner": {"height": 1, "hight": 1}}, ["'inner.hight'", "'height'"]),
        (
            {"inner": {"height": 1}, "many": {"a": {"height": 1, "heigth": 2}}},
            ["'many.a.heigth'", "'height'"],
        ),
        (None, ["None", "inner, many"]),
        ([1], ["[1]", "inner, many"]),
    ],
    ids=str,
)
def test_mistakes_inside_sections_are_named_with_their_place(values, words):
    with pytest.raises(UserError) as caught:
        Outer.read(values, "here")
    assert str(caught.value).startswith("here: ")
    for word in words:
        assert word in str(caught.value)


def test_the_key_is_the_same_for_the_same_run():
    first, again = short(settings={"mu": 1}), short(settings={"mu": 1.0, "alpha": 1.0})
    assert first.key() == again.key()
    assert len(first.key()) == 16
    assert int(first.key(), 16) >= 0


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"steps": 25},
        {"settings": {"mu": 0.2}},
        {"optimizer": "sgd"},
        {"problem": "digits-mlp"},
        {"batch_size": 64},
        {"l2": 0.0},
        {"train_size": 255},
        {"evaluate_every": 6},
        {"entry": "other"},
        {"dtype": "bfloat16"},
        {"deterministic": False},
        {"measure": {"every": 1}},
    ],
    ids=str,
)
def test_every_field_changes_the_key(changes):
    assert short(**changes).key() != short().key()


def test_a_config_survives_json():
    config = short(settings={"mu": 0.3})
    assert RunConfig.model_validate_json(config.model_dump_json()) == config


@given(st.integers(0, 2**40))
def test_one_seed_gives_four_streams_that_stay_the_same(seed):
    parts = seeds.split(seed)
    assert parts == seeds.split(seed)
    assert len(set(parts)) == 4
    assert all(0 <= part < 2**63 for part in parts)
    assert not set(parts) & set(seeds.split(seed + 1))


@pytest.mark.parametrize("module", SPOKEN_FOR)
def test_a_register_may_grow_without_changing_a_run(module):
    assert module in source.files("experiments.studies.benchmark")
    assert module not in source.files("experiments.studies.benchmark", without=SPOKEN_FOR)


@pytest.mark.parametrize(
    ("registry", "name", "moved"),
    [
        (models.catalogue.NETWORKS, "digits-cnn", {"module": "moved"}),
        (optimizers.catalogue.OPTIMIZERS, "pal", {"target": "moved:PAL"}),
    ],
)
def test_a_key_does_not_say_where_code_stands(monkeypatch, registry, name, moved):
    config, registered = short(), registry[name]
    monkeypatch.setattr(source, "digest", lambda *_, without=(): "the same code")
    before = config.key()
    change = registered._replace if hasattr(registered, "_replace") else partial(replace, registered)
    monkeypatch.setitem(registry, name, change(**moved))
    assert config.key() == before
