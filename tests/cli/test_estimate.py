"""How long runs will take: from finished ones where there are any, else from a few steps."""

import time

import pytest
from small_runs import Memory, short

from experiments.cli import estimate
from experiments.problems.problem import Problem
from experiments.runs import run_directory
from experiments.runs.finished import find_finished
from experiments.runs.key import run_key
from experiments.studies import fullbatch
from experiments.studies.base import get_study
from experiments.training.config import resolve
from experiments.training.trainer import Trainer


def seconds(config):
    return estimate.Clock().seconds(config)


def test_a_finished_run_of_the_same_kind_is_believed(monkeypatch):
    monkeypatch.setattr(estimate.Clock, "seconds", lambda *_: pytest.fail("steps were timed"))
    run_directory.execute(short(), lambda *_: time.sleep(0.5) or {"steps": 10})
    longer = short(seed=1, steps=100)
    found = estimate.estimate([longer], find_finished([short()]))[run_key(longer)]
    assert found == pytest.approx(5.0, rel=0.3)


@pytest.fixture
def slow(monkeypatch):
    """Steps of 0.1 s, measurements of 0.4 s, evaluations of 5 ms an example; the number of each so far."""
    monkeypatch.setattr(estimate, "EXAMPLES", 40)
    counts = {"steps": 0, "measurements": 0, "examples": 0}

    def takes(name, length, number=lambda *_: 1):
        def wait(*arguments):
            counts[name] += number(*arguments)
            time.sleep(length * number(*arguments))

        return wait

    advance, evaluate = Trainer.advance, Problem.evaluate
    step, measurement = takes("steps", 0.1), takes("measurements", 0.4)
    examples = takes("examples", 0.005, lambda _, __, split: len(split))
    monkeypatch.setattr(Trainer, "advance", lambda self: (step(), advance(self))[1])
    monkeypatch.setattr(Problem, "evaluate", lambda *given: (examples(*given), evaluate(*given))[1])
    for name in ("lines.measured_line", "capacity.searched_line"):
        monkeypatch.setattr(
            f"experiments.studies.{name}", lambda *_: measurement() or {"mu": 0.1, "loss0": 1.0}
        )
    return counts


def lines(**changes):
    measure = {"first": 200, "every": 4, "points": 9}
    fields = {"problem": "digits-mlp", "optimizer": "pal", "steps": 1000, "evaluate_every": 1000}
    return resolve("lines", measure=measure, **fields | changes)


def test_steps_measurements_and_evaluations_are_told_apart(slow):
    config = lines(evaluate_every=50)
    _, validation, test = config.resolved_problem.examples
    expected = 1000 * 0.1 + 400 * 0.4 + (20 * validation + test) * 0.005
    assert seconds(config) == pytest.approx(expected, rel=0.25)
    assert slow["steps"] <= 2 * (estimate.STEPS + 1)
    assert slow["examples"] <= 2 * estimate.EXAMPLES


def test_looks_at_the_end_of_a_run_are_timed_at_its_beginning(slow):
    measure = {"last": 150, "every": 50}
    config = resolve("capacity", problem="digits-mlp", optimizer="pal", measure=measure, steps=700)
    seconds(config)
    assert slow["measurements"]


def test_what_runs_have_in_common_is_timed_once(slow):
    clock = estimate.Clock()
    clock.seconds(lines())
    before = dict(slow)
    clock.seconds(lines(seed=1, settings={"mu": 1.0}, steps=50))
    clock.seconds(short(problem="digits-mlp", steps=77, train_size=None))
    assert slow == before
    clock.seconds(short(problem="digits-mlp", optimizer="sgd"))
    assert slow["steps"] > before["steps"]
    assert slow["examples"] == before["examples"]


def test_a_long_first_step_is_not_waited_for_again(slow, monkeypatch):
    monkeypatch.setattr(estimate, "PATIENCE", 0.01)
    seconds(short(problem="digits-mlp"))
    assert slow["steps"] == 1


@pytest.mark.parametrize(
    ("study", "optimizer", "measure"),
    [
        ("lines", "pal", {"first": 3, "every": 4, "points": 9}),
        ("lines", "pal", {"first": 5, "every": 4, "points": 9}),
        ("lines", "pal", {"first": 30, "every": 4, "points": 9}),
        ("adaptation", "pal", {"every": 5}),
        ("capacity", "pal", {"last": 6, "every": 4}),
        ("capacity", "pal", {"last": 22, "every": 4}),
        ("fullbatch", "sgd-plain", {"every": 6, "reach": 0.1, "spacing": 0.1, "mu": 0.1}),
    ],
)
def test_looks_are_counted_as_the_study_takes_them(study, optimizer, measure):
    config = short(study, problem="digits-mlp", optimizer=optimizer, measure=measure, steps=13)
    assert get_study(study).run(config, Memory())["lines"] == estimate.measurements(config)


def test_a_study_that_measures_nothing_has_no_looks():
    assert estimate.measurements(short()) == 0


def test_passes_of_a_full_batch_look_are_counted_as_the_study_makes_them(monkeypatch):
    fields = {"problem": "digits-mlp", "optimizer": "sgd-plain", "settings": {"lr": 1e-4}, "batch_size": 64}
    measure = {"every": 1, "reach": 0.2, "spacing": 0.1, "mu": 0.1}
    config = short("fullbatch", measure=measure, steps=1, **fields)
    monkeypatch.setattr("experiments.studies.fullbatch.WIDENINGS", 0)
    made, loss = [], Problem.loss
    monkeypatch.setattr(Problem, "loss", lambda *given: (made.append(1), loss(*given))[1])
    get_study("fullbatch").run(config, Memory())
    assert fullbatch.passes(config) == pytest.approx(len(made) - 1, rel=0.1)  # one is the step's own
