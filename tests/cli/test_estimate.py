"""How long runs will take: from finished ones where there are any, else from a few steps."""

import time

import pytest
import torch
from small_runs import Memory, short

from experiments.cli import estimate
from experiments.problems.problem import Problem
from experiments.runs import run_directory
from experiments.runs.finished import find_finished
from experiments.runs.key import run_key
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
    """Steps of 0.1 s, evaluations of 5 ms an example; the number of each so far."""
    monkeypatch.setattr(estimate, "EXAMPLES", 40)
    counts = {"steps": 0, "examples": 0}

    def takes(name, length, number=lambda *_: 1):
        def wait(*arguments):
            counts[name] += number(*arguments)
            time.sleep(length * number(*arguments))

        return wait

    advance, evaluate = Trainer.advance, Problem.evaluate
    step, examples = takes("steps", 0.1), takes("examples", 0.005, lambda _, __, split: len(split))
    monkeypatch.setattr(Trainer, "advance", lambda self: (step(), advance(self))[1])
    monkeypatch.setattr(Problem, "evaluate", lambda *given: (examples(*given), evaluate(*given))[1])
    return counts


def test_steps_measurements_and_evaluations_are_told_apart(slow):
    measure = {"first": 200, "even": 200, "points": 9}
    fields = {"problem": "digits-mlp", "optimizer": "pal", "steps": 1000, "evaluate_every": 50}
    config = resolve("lines", measure=measure, **fields)
    train, validation, test = config.resolved_problem.examples
    measured = 360 * get_study("lines").cost(config) * 0.1 / estimate.PASSES_PER_STEP
    expected = 1000 * 0.1 + measured + (21 * validation + 2 * test + train) * 0.005
    assert seconds(config) == pytest.approx(expected, rel=0.25)
    assert slow["steps"] <= estimate.STEPS + 1
    assert slow["examples"] <= 2 * estimate.EXAMPLES


def test_what_runs_have_in_common_is_timed_once(slow):
    clock = estimate.Clock()
    clock.seconds(short(problem="digits-mlp"))
    before = dict(slow)
    clock.seconds(short(problem="digits-mlp", seed=1, settings={"mu": 1.0}, steps=77, train_size=None))
    assert slow == before
    clock.seconds(short(problem="digits-mlp", optimizer="sgd"))
    assert slow["steps"] > before["steps"]
    assert slow["examples"] == before["examples"]


def test_when_time_is_up_the_pace_of_another_optimizer_is_scaled(monkeypatch):
    paces = {("digits-mlp", "sgd"): 1.0, ("digits-mlp", "pal"): 3.0, ("digits-cnn", "sgd"): 10.0}
    monkeypatch.setattr(estimate, "_pace", lambda config: (0.0, paces[config.problem, config.optimizer]))
    monkeypatch.setattr(estimate, "_evaluation", lambda _: 0.0)
    clock = estimate.Clock()
    for problem, optimizer in paces:
        clock.seconds(short(problem=problem, optimizer=optimizer))
    monkeypatch.setattr(clock, "_end", 0.0)
    assert clock.seconds(short(problem="digits-cnn", optimizer="pal", steps=10)) == pytest.approx(300)
    paces["digits-cnn", "exact"] = 50.0  # not timed anywhere so far
    assert clock.seconds(short(problem="digits-cnn", optimizer="exact", steps=10)) == pytest.approx(500)


def test_steps_of_large_networks_are_timed_with_few_examples(monkeypatch):
    seen = []

    def train(config, watch):
        seen.append(config.batch_size)
        watch.moments.extend([1.0, 2.0])

    monkeypatch.setattr(estimate, "train", train)
    monkeypatch.setattr(estimate, "device_of", lambda _: torch.device("cpu"))
    for problem in ("digits-cnn", "cifar10-resnet32", "imagenet-resnet50"):
        estimate._pace(resolve("single", problem=problem, optimizer="sgd", evaluate_every=10))
    small, large, largest = seen
    assert small == 128 > large > largest == estimate.FEWEST


def test_a_long_first_step_is_not_waited_for_again(slow, monkeypatch):
    monkeypatch.setattr(estimate, "PATIENCE", 0.01)
    seconds(short(problem="digits-mlp"))
    assert slow["steps"] == 1


@pytest.mark.parametrize(
    ("study", "optimizer", "measure"),
    [
        ("lines", "pal", {"first": 3, "even": 4, "points": 9}),
        ("lines", "pal", {"first": 0, "even": 40, "points": 9}),
        ("lines", "pal", {"first": 30, "even": 4, "points": 9}),
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


MEASURES = {
    "lines": {"first": 0, "even": 1, "points": 21},
    "adaptation": {"every": 1, "alphas": [0.5, 1.0, 2.0]},
    "capacity": {"last": 1, "every": 1},
    "batchsize": {"every": 1, "sizes": [32, 64], "mu": 0.1},
    "fullbatch": {"every": 1, "reach": 0.2, "spacing": 0.1, "mu": 0.1},
}


@pytest.mark.parametrize("study", MEASURES)
def test_the_cost_of_a_measurement_is_about_that_of_its_forward_passes(study, monkeypatch):
    fields = {"problem": "digits-mlp", "optimizer": "sgd-plain", "settings": {"lr": 1e-4}, "batch_size": 64}
    if study in ("lines", "adaptation", "capacity"):
        fields |= {"optimizer": "pal", "settings": {"mu": 0.1}}
    config = short(study, measure=MEASURES[study], steps=1, **fields)
    monkeypatch.setattr("experiments.studies.fullbatch.WIDENINGS", 0)
    made, loss, grad, size = [], Problem.loss, torch.autograd.grad, [1.0]

    def forward(problem, model, inputs, targets):
        size[0] = len(inputs) / 64
        made.append(size[0])
        return loss(problem, model, inputs, targets)

    def backward(*given, **options):
        made.append(2 * size[0])
        return grad(*given, **options)

    monkeypatch.setattr(Problem, "loss", forward)
    monkeypatch.setattr(torch.autograd, "grad", backward)
    get_study(study).run(config, Memory())
    assert get_study(study).cost(config) == pytest.approx(sum(made), rel=0.5)
