"""How long runs will take: from finished ones where there are any, else from a few steps."""

import time

import pytest
from small_runs import short

from experiments import estimate, runs, tracking
from experiments.config import resolve
from experiments.studies import single


def test_a_finished_run_of_the_same_kind_is_believed(monkeypatch):
    monkeypatch.setattr(estimate, "time_steps", lambda _: pytest.fail("steps were timed"))
    tracking.execute(short(), lambda *_: time.sleep(0.5) or {"steps": 10})
    longer = short(seed=1, steps=100)
    seconds = estimate.estimate([longer], runs.finished([short()]))[longer.key()]
    assert seconds == pytest.approx(5.0, rel=0.3)


def test_steps_and_evaluations_are_told_apart(monkeypatch):
    def run(config, record):
        time.sleep(0.2)
        for step in range(1, config.steps + 1):
            time.sleep(0.01 if step % config.evaluate_every else 0.11)
            assert record.checkpoint_seconds > 0
        pytest.fail("it ran to its end")

    monkeypatch.setattr(single, "run", run)
    config = short(steps=1000, evaluate_every=100)
    # 0.21 s until the first step is over, 1000 steps, 10 evaluations and a test score
    assert estimate.time_steps(config)(config) == pytest.approx(0.21 + 10 + 11 * 0.1, rel=0.25)


def test_a_run_shorter_than_what_is_timed_is_timed_as_it_is():
    config = short(problem="digits-mlp", steps=2)
    started = time.perf_counter()
    seconds = estimate.time_steps(config)(config)
    assert 0 < seconds < 5 * (time.perf_counter() - started)


def test_what_a_study_measures_counts():
    def lines(points):
        measure = {"first": 20, "every": 20, "points": points}
        config = resolve("lines", problem="digits-cnn", optimizer="pal", measure=measure)
        return estimate.time_steps(config)(config)

    assert lines(401) > 2 * lines(9)
