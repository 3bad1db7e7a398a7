"""Problems: names, seeds, losses and scores."""

import copy
import math
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch.nn import functional

from experiments import data, models
from experiments.common.errors import UserError, nearest
from experiments.data import DATASETS, Split, Splits, cifar
from experiments.data.dataset import checksum
from experiments.data.integrity import splits_sha256
from experiments.data.store import Store
from experiments.problems import PROBLEMS, listing
from experiments.problems.objectives import OBJECTIVES, Objective

DIGITS = PROBLEMS["digits-cnn"]


def weights(model):
    return torch.cat([parameter.flatten() for parameter in model.parameters()])


def test_same_seed_same_weights_whatever_came_before():
    torch.manual_seed(1)
    first = weights(DIGITS.build(5))
    state = torch.get_rng_state()
    assert torch.equal(first, weights(DIGITS.build(5)))
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(first, weights(DIGITS.build(6)))


def test_same_seeds_same_batches_and_splits():
    def batches():
        problem = replace(DIGITS, augment=True)
        loader = problem.loader(problem.load().train, 3, 4)
        return [loader.batch(step) for step in range(12)]

    for (inputs, targets), (again_inputs, again_targets) in zip(batches(), batches(), strict=True):
        assert torch.equal(inputs, again_inputs)
        assert torch.equal(targets, again_targets)
    assert splits_sha256(data.get("digits").load()) == checksum("digits")


def test_data_hash_sees_a_single_value():
    splits = data.get("digits").load()
    inputs = splits.train.inputs.clone()
    inputs[700, 0, 3, 3] += 1
    changed = Splits(Split(inputs, splits.train.targets), splits.validation, splits.test)
    assert splits_sha256(changed) != checksum("digits")


def test_train_size_takes_the_first_examples():
    subset = replace(DIGITS, train_size=100).load()
    assert subset.sizes == (100, 270, 270)
    assert torch.equal(subset.train.inputs, DIGITS.load().train.inputs[:100])
    assert subset.train.inputs.data_ptr() == DIGITS.load().train.inputs.data_ptr()


@pytest.mark.parametrize("train_size", [0, -1, 1258])
def test_train_size_must_be_possible(train_size):
    with pytest.raises(UserError, match=rf"train_size is {train_size}; allowed are 1 to 1257"):
        replace(DIGITS, train_size=train_size).load()


def test_loss_is_without_l2_and_differentiable():
    model = DIGITS.build(0).eval()
    inputs, targets = DIGITS.loader(DIGITS.load().train, 1, 2).batch(0)
    loss = DIGITS.loss(model, inputs, targets)
    torch.testing.assert_close(loss, functional.cross_entropy(model(inputs), targets))
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize("training", [True, False])
def test_evaluate_leaves_the_model_as_it_was(training):
    model = DIGITS.build(0).train(training)
    before = copy.deepcopy(model.state_dict())
    random_state = torch.get_rng_state()
    score = DIGITS.evaluate(model, DIGITS.load().validation)
    assert model.training is training
    assert torch.equal(random_state, torch.get_rng_state())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert DIGITS.evaluate(model, DIGITS.load().validation) == score


def test_evaluate_is_the_mean_over_all_examples():
    problem = PROBLEMS["digits-mlp"]
    model = problem.build(0)
    split = problem.load().train  # 1,257 examples: two batches of different size
    logits = model(problem.data.transform.plain(split.inputs))
    score = problem.evaluate(model, split)
    assert score.loss == pytest.approx(functional.cross_entropy(logits, split.targets).item(), rel=1e-6)
    assert score.accuracy == pytest.approx((logits.argmax(1) == split.targets).double().mean().item())


def test_double_precision_follows_the_model():
    model = DIGITS.build(0).double()
    inputs, targets = DIGITS.loader(DIGITS.load().train, 1, 2).batch(0)
    assert DIGITS.loss(model, inputs, targets).dtype == torch.float64
    assert math.isfinite(DIGITS.evaluate(model, DIGITS.load().test).loss)


def test_score_of_real_values_has_no_accuracy():
    problem = PROBLEMS["sls-factorisation-linear"]
    splits = problem.load()
    model = problem.build(0)
    loss, accuracy, _ = problem.evaluate(model, splits.validation)
    predicted = splits.validation.inputs.float() @ model.weight.T
    assert loss == pytest.approx(((predicted - splits.validation.targets) ** 2).mean().item(), rel=1e-5)
    assert accuracy is None


@given(st.lists(st.tuples(st.floats(-50, 50), st.booleans()), min_size=1, max_size=20))
def test_logistic_loss(pairs):
    outputs = torch.tensor([[output] for output, _ in pairs], dtype=torch.float64)
    targets = torch.tensor([int(target) for _, target in pairs])
    signs = np.where([target for _, target in pairs], 1, -1)
    expected = np.logaddexp(0, -signs * outputs.squeeze(1).numpy()).mean()
    objective = OBJECTIVES["binary"]
    assert objective.loss(outputs, targets).item() == pytest.approx(expected, rel=1e-9)
    right = [(output > 0) == target for output, target in pairs]
    assert objective.accuracy(outputs, targets).item() == pytest.approx(np.mean(right))


@given(st.integers(2, 9), st.integers(1, 3))
def test_targets_that_would_be_broadcast_to_all_pairs_are_refused(examples, values):
    loss = Objective(lambda outputs, targets: (outputs - targets).square().mean())
    flat, column = torch.arange(examples * values).float(), torch.arange(examples * values).float()[:, None]
    for outputs, targets in ((column, flat), (flat, column)):
        with pytest.raises(UserError, match="the loss would be that of all pairs"):
            loss.checked_loss(outputs, targets)
    for same in (flat, column, flat.reshape(examples, values)):
        assert loss.checked_loss(same, same + 2.0) == 4.0


def test_character_loss_is_the_mean_over_characters():
    outputs, targets = torch.randn(3, 7, 5), torch.randint(0, 5, (3, 7))
    rows_of = zip(outputs.flatten(0, 1), targets.flatten(), strict=True)
    losses = [torch.logsumexp(logits, 0) - logits[target] for logits, target in rows_of]
    torch.testing.assert_close(OBJECTIVES["characters"].loss(outputs, targets), torch.stack(losses).mean())


def test_every_problem_is_whole():
    for name in list(PROBLEMS):
        problem = PROBLEMS[name]
        assert problem.name == name
        assert problem.dataset in DATASETS
        assert problem.network in models.NETWORKS
        assert problem.steps > 0
        assert problem.milestones == (0.5, 0.75)
        assert problem.source


def test_the_papers_problems():
    for dataset in ("cifar10", "cifar100"):
        for network in ("resnet32", "densenet40", "mobilenetv2", "efficientnetb0"):
            problem = PROBLEMS[f"{dataset}-{network}"]
            choices = (problem.batch_size, problem.l2, problem.steps, problem.augment, problem.shuffle)
            assert choices == (128, 1e-4, 150_000, True, True)
            published = PROBLEMS[f"{dataset}-{network}-published"]
            assert published.shuffle is (dataset == "cifar100")
    assert PROBLEMS["cifar100-densenet40-published"].network == "densenet40-bottleneck"
    assert PROBLEMS["sls-cifar10-resnet34"].steps == 200 * 391
    assert PROBLEMS["sls-mushrooms-linear"].l2 == 0


def test_table_has_a_row_for_every_problem(monkeypatch):
    monkeypatch.setattr(listing, "cost", lambda *_: (1, 1))
    console = Console(width=170)
    with console.capture() as printed:
        console.print(listing.table())
    rows = dict(re.findall(r"^ ([\w-]+) .*\n ([\d,]+ / [\d,]+ / [\d,]+) of ", printed.get(), re.MULTILINE))
    assert list(rows) == list(PROBLEMS)
    assert rows["cifar10-resnet32"] == "45,000 / 5,000 / 10,000"
    assert rows["sls-cifar10-resnet34"] == "50,000 / 10,000 / 10,000"
    assert rows["sls-mushrooms-linear"] == "6,499 / 1,625 / 1,625"
    assert rows["cifar10-resnet8-5k"] == "5,000 / 5,000 / 10,000"


def test_the_cost_of_a_network_is_that_counted_by_hand():
    parameters, flops = listing.cost("resnet32", (3, 32, 32), 10)
    # Two for a multiply-add; stem, three stages of five blocks (ten convolutions), projections, dense.
    stages = (
        2 * 32 * 32 * 9 * 16 * (10 * 16),
        2 * 16 * 16 * 9 * 32 * (16 + 9 * 32),
        2 * 8 * 8 * 9 * 64 * (32 + 9 * 64),
    )
    projections = 2 * 32 * 32 * 16 * 16 + 2 * 16 * 16 * 16 * 32 + 2 * 8 * 8 * 32 * 64
    assert parameters == 466_970
    assert flops == 2 * 32 * 32 * 27 * 16 + sum(stages) + projections + 2 * 64 * 10
    assert listing.cost("lstm", (50,), 83)[1] == 50 * (2 * 2 * 4 * 128 * 256 + 2 * 128 * 83)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: PROBLEMS["cifar10-resnet23"], r"there is no problem 'cifar10-resnet23'; did you mean"),
        (lambda: data.get("cifar11"), r"there is no data set 'cifar11'; did you mean"),
        (lambda: data.get("speech"), r"there is no data set 'speech'; known are digits, "),
    ],
)
def test_unknown_names(call, sentence):
    with pytest.raises(UserError, match=sentence):
        call()


def test_nearest():
    assert nearest("sgdd", ["pal", "sgd"]) == "did you mean 'sgd'?"
    assert nearest("xyz", ["pal", "sgd"]) == "known are pal, sgd"


def test_images_at_16x16_are_means_of_2x2_pixels_with_the_same_targets(monkeypatch):
    random = np.random.default_rng(0)
    arrays = {
        f"{split}_images": random.integers(0, 256, (count, 3, 32, 32), np.uint8) for split, count in SPLITS
    }
    arrays |= {f"{split}_labels": np.arange(count) % 10 for split, count in SPLITS}
    monkeypatch.setattr(Store, "arrays", lambda _: arrays)
    monkeypatch.setattr(cifar, "POOLED_AT_A_TIME", 7)
    splits = cifar.load_pooled(cifar.CIFAR10, validation=5)
    assert splits.sizes == (15, 5, 9)
    whole = torch.from_numpy(arrays["train_images"]).double()
    pooled = functional.avg_pool2d(whole, 2)
    assert torch.equal(splits.train.inputs.double(), pooled[:15])
    assert torch.equal(splits.validation.inputs.double(), pooled[15:])
    assert splits.validation.targets.tolist() == [5, 6, 7, 8, 9]
    transform = data.get("cifar10-16").transform
    normal = transform.plain(splits.train.inputs[:2])
    means = torch.tensor(transform.mean).view(-1, 1, 1)
    expected = (pooled[:2] / 255 - means) / torch.tensor(transform.deviation).view(-1, 1, 1)
    torch.testing.assert_close(normal.double(), expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(splits.train.inputs.double(), pooled[:15])  # nothing is normalised in place


SPLITS = (("train", 20), ("test", 9))


@pytest.mark.parametrize("name", [name for name in PROBLEMS if name.startswith("cifar10-16-")])
def test_networks_at_16x16_map_images_to_ten_classes(name):
    problem = PROBLEMS[name]
    assert problem.data.shape == (3, 16, 16)
    assert problem.build(0).eval()(torch.zeros(2, 3, 16, 16)).shape == (2, 10)
    assert problem.augment is (problem.train_size is None)


@pytest.mark.parametrize(
    ("name", "fast"), [("cifar10-16-resnet8-narrow-2k", True), ("cifar10-16-resnet8-thin-2k", False)]
)
def test_channels_last_is_for_convolutions_of_eight_channels_or_more(name, fast):
    weight = next(PROBLEMS[name].build(0).parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last) == fast
