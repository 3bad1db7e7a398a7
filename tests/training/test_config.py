"""A run as a record with every field resolved: what is filled in, what is refused, and what its key depends on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from small_runs import short

from experiments.common.errors import UserError
from experiments.optimizers import OPTIMIZERS
from experiments.problems import PROBLEMS
from experiments.training import seeds
from experiments.training.config import RunConfig, Strict, resolve


def test_what_is_not_given_is_taken_from_problem_and_optimizer():
    problem, config = PROBLEMS["digits-cnn"], resolve("single", problem="digits-cnn", optimizer="sgd")
    assert (config.steps, config.batch_size, config.l2) == (problem.steps, problem.batch_size, problem.l2)
    assert config.settings == OPTIMIZERS["sgd"].settings
    assert config.method == "sgd"
    assert config.evaluate_every == -(-problem.data.sizes[0] // problem.batch_size)


def test_an_epoch_without_held_out_data_has_all_training_examples():
    config = resolve("single", problem="sls-mnist-mlp-1000", optimizer="sgd")
    assert config.resolved_problem.examples[0] == 60_000
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
        ({"inner": {"hight": 1}}, ["inner: ", "'hight'", "'height'"]),
        ({"inner": {"height": 1, "hight": 1}}, ["inner: ", "'hight'", "'height'"]),
        ({"inner": {"height": 1}, "many": {"a": {"heigth": 2}}}, ["many.a: ", "'heigth'", "'height'"]),
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
