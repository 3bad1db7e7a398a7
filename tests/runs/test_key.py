"""What two runs must have in common to be the same run."""

from dataclasses import replace

import pytest
from small_runs import short

from experiments.common import code_digest
from experiments.models import NETWORKS
from experiments.optimizers import OPTIMIZERS
from experiments.runs.key import REGISTRIES, run_key


def test_the_key_is_the_same_for_the_same_run():
    first, again = short(settings={"mu": 1}), short(settings={"mu": 1.0, "alpha": 1.0})
    assert run_key(first) == run_key(again)
    assert len(run_key(first)) == 16
    assert int(run_key(first), 16) >= 0


CHANGES = {"seed": 1, "steps": 25, "settings": {"mu": 0.2}, "optimizer": "sgd", "problem": "digits-mlp"}
CHANGES |= {"batch_size": 64, "l2": 0.0, "train_size": 255, "evaluate_every": 6, "method": "other"}
CHANGES |= {"dtype": "bfloat16", "deterministic": False, "measure": {"every": 1}}


@pytest.mark.parametrize("name", CHANGES)
def test_every_field_changes_the_key(name):
    assert run_key(short(**{name: CHANGES[name]})) != run_key(short())


@pytest.mark.parametrize("module", REGISTRIES)
def test_a_registry_may_grow_without_changing_a_run(module):
    assert module in code_digest.files("experiments.studies.benchmark")
    assert module not in code_digest.files("experiments.studies.benchmark", without=REGISTRIES)


@pytest.mark.parametrize(
    ("registry", "name", "target"),
    [(NETWORKS, "digits-cnn", "moved:digits_cnn"), (OPTIMIZERS, "pal", "moved:PAL")],
)
def test_a_key_does_not_say_where_code_stands(monkeypatch, registry, name, target):
    config = short()
    monkeypatch.setattr(code_digest, "digest", lambda *_, without=(): "the same code")
    before = run_key(config)
    monkeypatch.setitem(registry, name, replace(registry[name], target=target))
    assert run_key(config) == before


def test_changing_a_constant_changes_the_key(monkeypatch):
    """The digest of code is another one if any number in it is (tests/common); here: it is part of the key."""
    config = short()
    before = run_key(config)
    monkeypatch.setattr(code_digest, "digest", lambda *_, without=(): "other code")
    assert run_key(config) != before
