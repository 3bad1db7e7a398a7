"""One training run: what it computes, what it notes, and that nothing from outside changes its bits."""

import math
import time

import numpy as np
import pytest
import torch
from small_runs import Interrupted, Memory, same_arrays, short

from experiments.training.loop import train
from experiments.training.seeds import split
from experiments.training.trainer import Trainer, l2_term


def trained(config, **options):
    """Result and record of a whole run."""
    record = Memory()
    return train(config, record, **options), record


def test_the_l2_term_is_half_the_sum_of_squares_with_the_weights_as_gradient():
    params = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)]
    params[1].requires_grad_()
    loss = 2.0 * l2_term(params, 1e-4)
    expected = 2.0 * 1e-4 * sum(0.5 * (param**2).sum() for param in params)
    assert torch.allclose(loss, expected)
    for found, wanted in zip(
        torch.autograd.grad(loss, params), torch.autograd.grad(expected, params), strict=True
    ):
        assert torch.allclose(found, wanted)


def test_the_l2_term_counts_every_parameter_and_only_where_it_is_asked_for():
    with_term, without = (
        Trainer(short(problem="digits-mlp", l2=0.5)),
        Trainer(short(problem="digits-mlp", l2=0.0)),
    )
    norm = sum(param.square().sum() for param in with_term.model.parameters())
    assert torch.allclose(with_term.loss_fn() - without.loss_fn(), 0.25 * norm)


def test_all_optimizers_start_at_the_same_weights_and_see_the_same_batches():
    first, other = Trainer(short(optimizer="pal", seed=3)), Trainer(short(optimizer="adam", seed=3))
    different = Trainer(short(optimizer="pal", seed=4))
    for mine, yours in zip(first.model.parameters(), other.model.parameters(), strict=True):
        assert torch.equal(mine, yours)
    assert torch.equal(first.loader.batch(7)[0], other.loader.batch(7)[0])
    assert not torch.equal(first.loader.batch(7)[0], different.loader.batch(7)[0])
    assert split(3) != split(4)


def test_the_trace_says_what_each_step_did():
    record = trained(short(settings={"mu": 0.1}))[1]
    trace = record.arrays
    assert all(len(trace[name]) == 24 for name in ("train_loss", "step", "learning_rate", "case"))
    assert np.isfinite(trace["train_loss"]).all()
    assert (trace["step"] >= 0).all()
    assert set(trace["case"]) <= {0.0, 1.0, 2.0}
    assert trace["evaluations/evaluation_step"].tolist() == [5, 10, 15, 20, 24]
    means = [trace["train_loss"][a:b].mean() for a, b in ((0, 5), (5, 10), (10, 15), (15, 20), (20, 24))]
    assert np.allclose(trace["evaluations/train_loss"], means)
    logged = {step: value for name, value, step in record.metrics if name == "train_loss"}
    assert list(logged.values()) == trace["evaluations/train_loss"].tolist()


def test_optimizers_without_a_line_note_their_learning_rate_as_scheduled():
    trace = trained(short(optimizer="sgd", schedule="step", settings={"lr": 0.1}))[1].arrays
    assert np.isnan(trace["step"]).all()
    assert np.allclose(trace["learning_rate"][[0, 11, 12, 17, 18, 23]], [0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_the_result_selects_on_validation_data_and_has_one_test_score():
    result, record = trained(short(optimizer="sgd"))
    accuracies = record.arrays["evaluations/val_accuracy"]
    assert result["status"] == "completed"
    assert result["best_val_accuracy"] == accuracies.max()
    assert result["final_val_accuracy"] == accuracies[-1]
    assert result["min_train_loss"] == record.arrays["evaluations/train_loss"].min()
    assert 0 <= result["test_accuracy"] <= 1
    assert not any("test" in name for name, _, _ in record.metrics)


def test_training_learns():
    result = trained(short(problem="digits-mlp", steps=120, evaluate_every=40, train_size=None))[0]
    assert result["final_val_accuracy"] > 0.9


def test_a_run_that_diverges_ends_and_says_so():
    config = short(optimizer="sgd", problem="digits-mlp", steps=400, settings={"lr": 1e6, "momentum": 0.99})
    result, record = trained(config)
    assert result["status"] == "diverged"
    assert result["steps"] < 400
    assert len(record.arrays["train_loss"]) == result["steps"]
    assert result["final_train_loss"] is None
    assert result["test_accuracy"] is None
    assert all(value is None or isinstance(value, str) or math.isfinite(value) for value in result.values())
    assert all(math.isfinite(value) for _, value, _ in record.metrics)


def test_bfloat16_computes_the_forward_pass_in_bfloat16_and_keeps_float32_weights():
    trainer, plain = Trainer(short(dtype="bfloat16", l2=0.0)), Trainer(short(l2=0.0))
    torch.manual_seed(0)
    coarse = trainer.loss_fn().item()
    torch.manual_seed(0)
    fine = plain.loss_fn().item()
    assert coarse != fine
    assert math.isclose(coarse, fine, rel_tol=0.05)
    assert all(param.dtype == torch.float32 for param in trainer.model.parameters())
    assert trained(short(dtype="bfloat16"))[0]["status"] == "completed"


METHODS = [
    {"optimizer": "pal", "settings": {"beta": 0.4, "alpha": 1.67}},
    {"optimizer": "sgd", "schedule": "step"},
    {"optimizer": "adam", "schedule": "cosine"},
    {"optimizer": "rmsprop"},
    {"optimizer": "pal", "dtype": "bfloat16"},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: "-".join(map(str, method.values())))
@pytest.mark.parametrize("stop", [1, 13])
def test_a_run_that_continues_from_a_checkpoint_has_the_bits_of_one_that_was_never_stopped(method, stop):
    config = short(**method)
    whole_result, whole = trained(config)

    def interrupt(step, trainer):
        if step == stop:
            raise Interrupted

    first = Memory(checkpoint_seconds=0.0)
    with pytest.raises(Interrupted):
        train(config, first, interrupt)
    torch.manual_seed(99)  # another process starts from other random numbers
    second = Memory(first.checkpoint)
    result = train(config, second)
    assert second.heard[0] == stop
    assert result == whole_result
    assert same_arrays(second.arrays, whole.arrays)
    assert second.metrics == whole.metrics


def test_what_ran_before_in_the_same_process_changes_nothing():
    alone = trained(short(seed=1))[1]
    trained(short(optimizer="adam", seed=2, deterministic=False))
    assert same_arrays(trained(short(seed=1))[1].arrays, alone.arrays)


def test_a_study_sees_the_batch_of_the_step_before_it_is_taken():
    seen = []

    def look(step, trainer):
        state = torch.get_rng_state()
        seen.append((step, trainer.step, trainer.loss_fn().item()))
        torch.set_rng_state(state)

    config = short(problem="digits-mlp", steps=6)
    losses = trained(config, on_step=look)[1].arrays["train_loss"]
    assert [entry[:2] for entry in seen] == [(step, step) for step in range(6)]
    assert np.array_equal([loss for _, _, loss in seen], losses)


def test_the_data_loss_is_the_training_loss_without_the_l2_term(monkeypatch):
    terms, advance = [], Trainer.advance

    def noted(trainer):
        terms.append(
            0.005 * sum(float(param.detach().double().square().sum()) for param in trainer.model.parameters())
        )
        advance(trainer)

    monkeypatch.setattr(Trainer, "advance", noted)
    result, record = trained(short(l2=0.01))
    difference = record.arrays["train_loss"] - record.arrays["data_loss"]
    np.testing.assert_allclose(difference, terms, rtol=1e-4)
    assert result["final_data_loss"] == pytest.approx(record.arrays["data_loss"][20:].mean(), rel=1e-5)
    without = trained(short(l2=0.0))[1].arrays
    assert np.array_equal(without["train_loss"], without["data_loss"])


def test_reestimated_statistics_are_means_over_the_training_batches():
    trainer = Trainer(short(problem="digits-cnn", train_size=256))
    for _ in range(3):
        trainer.draw()
        trainer.advance()
    trainer.evaluate()
    raw = trainer.problem.evaluate(trainer.model, trainer.splits.test).accuracy
    scores = trainer.final_scores()
    assert scores["test_accuracy"] == raw
    inputs = torch.cat([trainer.loader.batch(number)[0] for number in range(2)])
    maps = trainer.model[0](inputs)
    norm = trainer.model[1]
    torch.testing.assert_close(norm.running_mean, maps.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    assert (
        scores["test_accuracy_reestimated"]
        == trainer.problem.evaluate(trainer.model, trainer.splits.test).accuracy
    )
    assert norm.momentum == 0.1


def test_without_batch_norm_both_accuracies_are_the_same():
    result = trained(short(problem="digits-mlp"))[0]
    for name in ("final_val_accuracy", "test_accuracy"):
        assert result[f"{name}_reestimated"] == result[name]


def test_the_trace_says_which_steps_were_clipped():
    arrays = trained(short(settings={"mu": 0.1, "s_max": 0.2}))[1].arrays
    assert 0 < arrays["clipped"].sum() < 24
    np.testing.assert_allclose(arrays["step"][arrays["clipped"] == 1], 0.2, rtol=1e-6)
    assert np.isnan(trained(short(optimizer="sgd"))[1].arrays["clipped"]).all()


def test_the_time_of_steps_is_without_evaluations(monkeypatch):
    evaluate, seconds = Trainer.evaluate, 0.05
    monkeypatch.setattr(Trainer, "evaluate", lambda self: (time.sleep(seconds), evaluate(self))[1])
    began = time.perf_counter()
    record = trained(short())[1]
    assert 0 < record.seconds < time.perf_counter() - began - 5 * seconds


def test_a_schedule_may_be_made_for_another_length_than_that_of_the_run():
    trace = trained(short(optimizer="sgd", schedule="step", schedule_steps=12, settings={"lr": 0.1}))[
        1
    ].arrays
    assert np.allclose(trace["learning_rate"][[5, 6, 8, 9, 23]], [0.1, 0.01, 0.01, 0.001, 0.001])
