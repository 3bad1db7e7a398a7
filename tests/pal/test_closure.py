"""The second evaluation of a batch: the same function as the first, and no trace of it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from pal.closure import BatchLoss

NORMS = {
    "BatchNorm1d": (nn.BatchNorm1d(3, track_running_stats=True), (8, 3)),
    "BatchNorm2d": (nn.BatchNorm2d(3), (8, 3, 4, 4)),
    "BatchNorm3d": (nn.BatchNorm3d(3), (8, 3, 2, 2, 2)),
    "cumulative average": (nn.BatchNorm1d(3, momentum=None), (8, 3)),
    "without affine": (nn.BatchNorm1d(3, affine=False), (8, 3)),
    "InstanceNorm1d": (nn.InstanceNorm1d(3, track_running_stats=True), (8, 3, 5)),
    "InstanceNorm2d": (nn.InstanceNorm2d(3, track_running_stats=True), (8, 3, 4, 4)),
    "InstanceNorm3d": (nn.InstanceNorm3d(3, track_running_stats=True), (8, 3, 2, 2, 2)),
    "LazyBatchNorm1d": (nn.LazyBatchNorm1d, (8, 3)),
    "no running statistics": (nn.BatchNorm1d(3, track_running_stats=False), (8, 3)),
    "SyncBatchNorm in evaluation": (nn.SyncBatchNorm(3).eval(), (8, 3)),
    "spectral norm": (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 3)), (8, 3)),
}


@pytest.mark.parametrize("name", NORMS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("steps", [1, 3])
def test_statistics_are_updated_once(name, training, steps):
    layer, shape = NORMS[name]
    ours = nn.Sequential(nn.Identity(), layer() if isinstance(layer, type) else copy.deepcopy(layer))
    ours.train(training and "evaluation" not in name)
    x = torch.randn(shape).requires_grad_()
    with torch.no_grad():
        ours(x)  # lazy layers take their shape
    theirs = copy.deepcopy(ours)
    batch_loss = BatchLoss()
    for _ in range(steps):
        batch_loss.reset()
        measured = batch_loss.measure(lambda: ours(x).square().mean())
        theirs(x)
        again = [batch_loss.reevaluate() for _ in range(3)]
        assert again == [measured] * 3, "an evaluation at the same weights must give the same loss"
    assert {name: value.tolist() for name, value in ours.state_dict().items()} == {
        name: value.tolist() for name, value in theirs.state_dict().items()
    }


def test_everything_is_shown_again_when_the_probe_fails():
    model = nn.Sequential(nn.BatchNorm1d(3), nn.InstanceNorm1d(3, track_running_stats=True))
    x = torch.randn(8, 3, 5)
    batch_loss = BatchLoss()
    calls = []

    def closure():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError
        return model(x).square().mean()

    state = {name: value.clone() for name, value in model.state_dict().items()}
    batch_loss.measure(closure)
    with pytest.raises(KeyError):
        batch_loss.reevaluate()
    assert all(layer.track_running_stats for layer in model)
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


class Recurrent(nn.Module):
    """Carries a hidden state from batch to batch, in place or as a new tensor."""

    def __init__(self, in_place):
        super().__init__()
        self.cell = nn.Linear(3, 3)
        self.in_place = in_place
        self.register_buffer("hidden", torch.zeros(3))

    def forward(self, x):
        hidden = torch.tanh(self.cell(x.mean(0) + self.hidden))
        if self.in_place:
            self.hidden.copy_(hidden.detach())
        else:
            self.hidden = hidden.detach()
        return hidden


@pytest.mark.parametrize("in_place", [True, False])
def test_hidden_states_in_buffers_are_replayed(in_place):
    model = Recurrent(in_place)
    x, batch_loss = torch.randn(4, 3), BatchLoss()
    for _ in range(3):
        batch_loss.reset()
        measured = batch_loss.measure(lambda: model(x).square().mean())
        after = model.hidden.clone()
        assert batch_loss.reevaluate() == measured
        assert torch.equal(model.hidden, after)
    del model.hidden
    model.hidden = torch.zeros(3)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is:FutureWarning")  # the point is to take such models
def test_scripted_batch_norm_is_updated_once():
    model = torch.jit.script(nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)))
    x, batch_loss = torch.randn(8, 3), BatchLoss()
    for step in range(3):
        batch_loss.reset()
        measured = batch_loss.measure(lambda: model(x).square().mean())
        assert batch_loss.reevaluate() == measured
        assert model.state_dict()["1.num_batches_tracked"] == step + 1


def test_a_layer_first_used_later_is_found():
    first, second = (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)) for _ in range(2))
    x, batch_loss = torch.randn(8, 3), BatchLoss()
    for model in (first, second):
        batch_loss.reset()
        batch_loss.watching = True
        batch_loss.measure(lambda model=model: model(x).square().mean())
        batch_loss.reevaluate()
        assert model[1].num_batches_tracked == 1


def test_dropout_draws_the_same_mask_and_the_generator_advances_once():
    x = torch.ones(1000)
    batch_loss, masks = BatchLoss(), []
    weight = torch.ones((), requires_grad=True)

    def closure():
        masks.append(functional.dropout(x, 0.5))
        return (weight * masks[-1]).sum()

    torch.manual_seed(1)
    for _ in range(2):
        batch_loss.reset()
        batch_loss.measure(closure)
        batch_loss.reevaluate()
        batch_loss.reevaluate()
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[1], masks[2])
    assert not torch.equal(masks[2], masks[3])
    torch.manual_seed(1)
    expected = [functional.dropout(x, 0.5) for _ in range(2)]
    assert torch.equal(masks[0], expected[0])
    assert torch.equal(masks[3], expected[1])


def test_terms_add_up_and_replay_their_own_draws():
    weight = torch.ones((), requires_grad=True)
    batch_loss = BatchLoss()
    values = [batch_loss.measure(lambda: weight * torch.rand(())) for _ in range(4)]
    assert weight.grad == sum(values)
    assert batch_loss.reevaluate() == sum(values)
    assert batch_loss.evaluations == 8


@pytest.mark.parametrize(
    ("result", "found"), [(1.0, "float"), ((torch.ones(()), 1), "tuple"), (torch.ones(2), r"shape \(2,\)")]
)
def test_closure_must_return_one_number(result, found):
    with pytest.raises(TypeError, match=f"one element; it returned .*{found}"):
        BatchLoss().measure(lambda: result)


def test_loss_must_have_a_gradient():
    with pytest.raises(RuntimeError, match="no gradient"):
        BatchLoss().measure(lambda: torch.ones(()))


class Compiled:
    """Ways to compile a model, each giving a function of the input."""

    @staticmethod
    def module(model):
        return torch.compile(model, backend="aot_eager")

    @staticmethod
    def in_place(model):
        model.compile(backend="aot_eager")
        return model

    @staticmethod
    def function(model):
        return torch.compile(lambda x: model(x), backend="aot_eager")


@pytest.mark.parametrize("way", [Compiled.module, Compiled.in_place, Compiled.function])
def test_compiled_models_count_once(way):
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.InstanceNorm1d(3, track_running_stats=True))
    run, x, batch_loss = way(model), torch.randn(8, 3, 3), BatchLoss()
    theirs = copy.deepcopy(model)
    run(x)  # compiled before PAL comes
    theirs(x)
    for _ in range(3):
        batch_loss.reset()
        measured = batch_loss.measure(lambda: run(x).square().mean())
        theirs(x)
        assert batch_loss.reevaluate() == pytest.approx(measured.item(), rel=1e-6)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    with torch.no_grad():
        run(x)  # in training without gradients, outside of the search: statistics count
    assert model[1].num_batches_tracked == 5
