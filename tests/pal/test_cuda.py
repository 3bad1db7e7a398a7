"""On a GPU: nothing read during a step, captured steps, the same masks, the same numbers as on the CPU."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from pal import PAL
from pal.parabola import Case

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

SETTINGS = [
    {},
    {"beta": 0.4},
    {"weight_decay": 0.01},
    {"beta": 0.4, "weight_decay": 0.01},
    {"foreach": False},
]


def network(dropout=0.0, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Linear(8, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, 3)]
    return nn.Sequential(*layers).to(dtype)


def batch(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(64, 8, generator=generator).to(dtype), torch.randint(3, (64,), generator=generator)


def loss_of(model, device="cuda", dtype=torch.float32):
    x, y = (part.to(device) for part in batch(dtype))
    return lambda: functional.cross_entropy(model(x), y)


@pytest.mark.parametrize("settings", SETTINGS)
def test_follows_the_cpu(settings):
    ours, theirs = network(dtype=torch.float64).cuda(), network(dtype=torch.float64)
    one, two = PAL(ours.parameters(), **settings), PAL(theirs.parameters(), **settings)
    for _ in range(5):
        loss = one.step(loss_of(ours, dtype=torch.float64))
        assert loss.item() == pytest.approx(two.step(loss_of(theirs, "cpu", torch.float64)).item(), rel=1e-9)
    for param, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(param.cpu(), expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("settings", SETTINGS)
def test_nothing_is_read_during_a_step(settings):
    model = network(dropout=0.1).cuda()
    optimizer, loss = PAL(model.parameters(), **settings), loss_of(model)
    optimizer.step(loss)  # the first step checks the closure
    try:
        torch.cuda.set_sync_debug_mode("error")
        for _ in range(3):
            optimizer.step(loss)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert sum(optimizer.cases.values()) == 4


def test_masks_are_the_same_and_the_generator_advances_once():
    weight, masks = torch.ones((), device="cuda", requires_grad=True), []

    def closure():
        masks.append(functional.dropout(torch.ones(1000, device="cuda")))
        return (weight * masks[-1]).sum()

    optimizer = PAL([weight])
    torch.manual_seed(4)
    for _ in range(2):
        optimizer.step(closure)
    assert torch.equal(masks[0], masks[1])
    assert torch.equal(masks[2], masks[3])
    torch.manual_seed(4)
    for number in (0, 2):
        assert torch.equal(masks[number], functional.dropout(torch.ones(1000, device="cuda")))


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_nan_leaves_every_bit(beta):
    model = network().cuda()
    optimizer, loss = PAL(model.parameters(), beta=beta), loss_of(model)
    optimizer.step(loss)
    before = [param.detach().clone().view(torch.int32) for param in model.parameters()]
    optimizer.step(lambda: loss() * torch.nan)
    for param, bits in zip(model.parameters(), before, strict=True):
        assert torch.equal(param.detach().view(torch.int32), bits)
    assert optimizer.cases[Case.NONFINITE] == 1
    assert optimizer.step(loss).isfinite()


def capture(optimizer, loss, register=False):
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            optimizer.step(loss)
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    if register:
        optimizer.register_graph(graph)
    with torch.cuda.graph(graph):
        value = optimizer.step(loss)
    return graph, value


@pytest.mark.parametrize("settings", SETTINGS[:4])
def test_a_captured_step_is_an_eager_step(settings):
    ours, theirs = network().cuda(), network().cuda()
    one, two = PAL(ours.parameters(), **settings), PAL(theirs.parameters(), **settings)
    loss, expected = loss_of(ours), loss_of(theirs)
    graph, value = capture(one, loss)
    for _ in range(3):
        two.step(expected)
    for _ in range(5):
        graph.replay()
        torch.testing.assert_close(value, two.step(expected), rtol=1e-3, atol=1e-4)
        assert sum(one.cases.values()) == sum(two.cases.values())


def test_a_captured_step_draws_the_same_masks_twice_and_new_ones_at_each_replay():
    weight, masks = torch.ones((), device="cuda", requires_grad=True), []

    def closure():
        masks.append(functional.dropout(torch.ones(1000, device="cuda")))
        return (weight * masks[-1]).sum()

    graph, _ = capture(PAL([weight]), closure, register=True)
    seen = []
    for _ in range(3):
        torch.rand(5, device="cuda")  # draws outside of the graph do not matter
        graph.replay()
        assert torch.equal(masks[-2], masks[-1])
        seen.append(masks[-1].clone())
    assert not torch.equal(seen[0], seen[1])


def test_replays_by_paired_generators_draw_what_eager_steps_draw():
    ours, theirs = network(dropout=0.5).cuda(), network(dropout=0.5).cuda()
    one, two = PAL(ours.parameters()), PAL(theirs.parameters())
    loss, expected = loss_of(ours), loss_of(theirs)
    for optimizer, closure in ((one, loss), (two, expected)):
        torch.manual_seed(3)
        for _ in range(3):
            optimizer.step(closure)
    graph = torch.cuda.CUDAGraph()
    generators = one.register_graph(graph)
    with torch.cuda.graph(graph):
        value = one.step(loss)
    for _ in range(3):
        moment = torch.cuda.get_rng_state()
        generators.replay(graph)
        after = torch.cuda.get_rng_state()
        torch.cuda.set_rng_state(moment)
        torch.testing.assert_close(value, two.step(expected), rtol=1e-3, atol=1e-4)
        assert torch.equal(torch.cuda.get_rng_state(), after)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
def test_capturing_random_draws_unprepared_is_refused():
    model = network(dropout=0.1).cuda()
    optimizer, loss = PAL(model.parameters()), loss_of(model)
    optimizer.step(loss)
    with pytest.raises(RuntimeError, match="register_graph"), torch.cuda.graph(torch.cuda.CUDAGraph()):
        optimizer.step(loss)


def test_mu_is_driven_between_replays_by_a_tensor():
    weight = torch.full((4,), 100.0, device="cuda", requires_grad=True)
    rate = torch.tensor(1.0, device="cuda")
    optimizer = PAL([weight], s_max=1.0, lr=rate)
    graph, _ = capture(optimizer, lambda: weight.square().sum())
    for factor in (1.0, 0.1):
        rate.fill_(factor)
        before = weight.detach().clone()
        graph.replay()
        assert (weight - before).norm().item() == pytest.approx(factor, rel=1e-4)


def test_checkpoints_move_between_devices():
    ours, theirs = network().cuda(), network()
    optimizer = PAL(ours.parameters(), beta=0.4)
    optimizer.step(loss_of(ours))
    again = PAL(theirs.parameters())
    theirs.load_state_dict(ours.state_dict())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    again.step(loss_of(theirs, "cpu"))
    assert sum(again.cases.values()) == 2
