"""PAL: what a step does to the weights, whatever the parameters and settings."""

import copy
import math
import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from pal import PAL
from pal.parabola import Case
from pal.reference import reference_step


def network(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).to(dtype)


def batches(steps, dtype=torch.float64):
    generator = torch.Generator().manual_seed(7)
    for _ in range(steps):
        yield torch.randn(16, 4, generator=generator).to(dtype), torch.randint(3, (16,), generator=generator)


def train(model, optimizer, steps=5, dtype=torch.float64):
    """Train; give the weights and the losses."""
    losses = [
        optimizer.step(lambda x=x, y=y: functional.cross_entropy(model(x), y)).item()
        for x, y in batches(steps, dtype)
    ]
    return torch.cat([param.detach().flatten() for param in model.parameters()]), losses


def reference(steps=5, **settings):
    """The trajectory of the slow reference on the same network and batches."""
    model = network()
    names = [name for name, _ in model.named_parameters()]
    shapes = [param.shape for param in model.parameters()]
    theta = torch.cat([param.detach().flatten() for param in model.parameters()])
    buffer, losses, l2 = torch.zeros_like(theta), [], settings.pop("weight_decay", 0.0)
    for x, y in batches(steps):

        def loss(flat, x=x, y=y):
            parts = flat.split([shape.numel() for shape in shapes])
            weights = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
            return (
                functional.cross_entropy(torch.func.functional_call(model, weights, x), y)
                + l2 / 2 * flat @ flat
            )

        result = reference_step(loss, theta, buffer, **settings)
        theta, buffer = result.theta, result.buffer
        losses.append(result.loss0)
    return theta, losses


SETTINGS = [
    {},
    {"beta": 0.4},
    {"mu": 1.0, "alpha": 1.7, "s_max": 0.3},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "beta": 0.6},
]


@pytest.mark.parametrize("foreach", [None, True, False])
@pytest.mark.parametrize("settings", SETTINGS)
def test_follows_the_reference(settings, foreach):
    model = network()
    theta, losses = train(model, PAL(model.parameters(), **settings, foreach=foreach))
    expected, expected_losses = reference(**settings)
    torch.testing.assert_close(theta, expected, rtol=1e-9, atol=1e-11)
    assert losses == pytest.approx(expected_losses, rel=1e-10)


@pytest.mark.parametrize("settings", SETTINGS)
def test_float32_follows_the_reference_to_its_rounding(settings):
    model = network(dtype=torch.float32)
    theta, _ = train(model, PAL(model.parameters(), **settings), steps=3, dtype=torch.float32)
    double = network()
    double.load_state_dict(network(dtype=torch.float32).state_dict())
    expected, _ = train(double, PAL(double.parameters(), **settings), steps=3)
    torch.testing.assert_close(theta.double(), expected, rtol=2e-2, atol=2e-3)


symmetric = st.integers(0, 10_000)


def quadratic(seed, size=6):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(size, dtype=torch.float64)
    start = torch.randn(size, generator=generator, dtype=torch.float64)
    return hessian, start


@given(seed=symmetric, mu=st.floats(0.05, 5.0))
def test_on_quadratics_pal_is_gradient_descent_with_exact_line_search(seed, mu):
    hessian, start = quadratic(seed)
    x = start.clone().requires_grad_()
    optimizer = PAL([x], mu=mu, s_max=math.inf)
    exact = start.clone()
    for _ in range(5):
        optimizer.step(lambda: x @ hessian @ x / 2)
        gradient = hessian @ exact
        exact = exact - gradient * (gradient @ gradient) / (gradient @ hessian @ gradient)
        torch.testing.assert_close(x.detach(), exact, rtol=1e-6, atol=1e-8)


@given(seed=symmetric, mu=st.floats(0.05, 5.0), scale=st.floats(0.1, 10.0))
def test_step_does_not_depend_on_the_scale_of_the_loss(seed, mu, scale):
    hessian, start = quadratic(seed)
    ends = []
    for factor in (1.0, scale):
        x = start.clone().requires_grad_()
        PAL([x], mu=mu).step(lambda x=x, factor=factor: factor * (x @ hessian @ x))
        ends.append(x.detach())
    torch.testing.assert_close(*ends, rtol=1e-7, atol=1e-9)


@given(seed=symmetric, cut=st.integers(1, 5), beta=st.sampled_from([0.0, 0.4]))
def test_how_weights_are_cut_into_groups_does_not_matter(seed, cut, beta):
    hessian, start = quadratic(seed)
    whole = start.clone().requires_grad_()
    parts = [start[:cut].clone().requires_grad_(), start[cut:].clone().requires_grad_()]
    one, two = PAL([whole], beta=beta), PAL([{"params": [part]} for part in parts], beta=beta)
    for _ in range(3):
        one.step(lambda: whole @ hessian @ whole)
        two.step(lambda: torch.cat(parts) @ hessian @ torch.cat(parts))
    torch.testing.assert_close(torch.cat(parts).detach(), whole.detach(), rtol=1e-9, atol=1e-12)


def test_every_case_is_reached_and_counted():
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = PAL([x], mu=0.5, beta=0.9)
    losses = [
        lambda: x.square().sum(),  # convex
        lambda: -x.square().sum(),  # concave: a gradient away from zero
        lambda: -0.1 * x.sum(),  # m still points the other way: ascending
        lambda: x.sum() * math.nan,
    ]
    x.data.fill_(1.0)
    seen = []
    for loss in losses:
        optimizer.step(loss)
        seen.append(Case(int(optimizer.line.case)))
        x.data.fill_(-1.0)
    assert set(seen) == set(Case)
    assert optimizer.cases == {case: seen.count(case) for case in Case}


def test_weight_decay_may_differ_between_groups():
    ours, theirs = network(), network()
    groups = [
        {"params": list(ours[0].parameters()), "weight_decay": 0.2},
        {"params": list(ours[2].parameters())},
    ]
    optimizer, plain = PAL(groups), PAL(theirs.parameters())
    for x, y in batches(4):
        loss = optimizer.step(lambda x=x, y=y: functional.cross_entropy(ours(x), y))
        expected = plain.step(
            lambda x=x, y=y: (
                functional.cross_entropy(theirs(x), y)
                + 0.1 * sum(param.square().sum() for param in theirs[0].parameters())
            )
        )
        assert loss == pytest.approx(expected.item(), rel=1e-12)
    for param, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(param, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_decoupled_weight_decay_shrinks_beside_the_line(beta):
    ours, plain = network(), network()
    decayed = PAL(ours.parameters(), beta=beta, weight_decay=0.1, decoupled_weight_decay=True)
    unseen = PAL(plain.parameters(), beta=beta)
    start = [param.detach().clone() for param in ours.parameters()]
    train(ours, decayed, 1)
    train(plain, unseen, 1)
    assert decayed.line.loss0 == unseen.line.loss0
    assert decayed.line.step == unseen.line.step
    step = unseen.line.step.item()
    for param, expected, origin in zip(ours.parameters(), plain.parameters(), start, strict=True):
        torch.testing.assert_close(param, expected - 0.1 * step * origin)


@pytest.mark.parametrize(
    "settings", [{}, {"beta": 0.4}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "beta": 0.4}]
)
def test_maximize_goes_down_on_minus_the_loss(settings):
    ours, theirs = network(), network()
    up, down = PAL(ours.parameters(), **settings, maximize=True), PAL(theirs.parameters(), **settings)
    for x, y in batches(4):
        gain = up.step(lambda x=x, y=y: -functional.cross_entropy(ours(x), y))
        assert gain == -down.step(lambda x=x, y=y: functional.cross_entropy(theirs(x), y))
    for param, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(param, expected)


def test_schedulers_drive_mu_and_s_max():
    x = torch.tensor([100.0], dtype=torch.float64, requires_grad=True)
    optimizer = PAL([x], mu=0.5, s_max=1.0)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
    for expected in (1.0, 0.1, 0.01):
        optimizer.step(lambda: x.square().sum())
        assert optimizer.line.step.item() == pytest.approx(expected)
        assert optimizer.line.clipped
        scheduler.step()
    optimizer.param_groups[0]["lr"] = torch.tensor(0.5)  # a tensor, as for captured graphs
    optimizer.step(lambda: -x.square().sum())
    assert optimizer.line.step.item() == pytest.approx(0.25)  # the probe at half of mu
    here = x.item()
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step(lambda: x.square().sum())
    assert (x.item(), optimizer.line.step.item()) == (here, 0.0)


@pytest.mark.parametrize("beta", [0.0, 0.4])
@pytest.mark.parametrize("through_a_file", [True, False])
def test_resume_is_bitwise(beta, through_a_file, tmp_path):
    model = network(dtype=torch.float32)
    optimizer = PAL(model.parameters(), beta=beta, weight_decay=1e-3)
    train(model, optimizer, dtype=torch.float32)
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    if through_a_file:
        torch.save(state, tmp_path / "state.pt")
        state = torch.load(tmp_path / "state.pt", weights_only=True)
    state = copy.deepcopy(state)
    straight = train(model, optimizer, dtype=torch.float32)
    resumed = network(seed=1, dtype=torch.float32)
    again = PAL(resumed.parameters(), mu=7.0)
    resumed.load_state_dict(state["model"])
    again.load_state_dict(state["optimizer"])
    assert again.param_groups[0]["mu"] == 0.1
    after = train(resumed, again, dtype=torch.float32)
    assert torch.equal(straight[0], after[0])
    assert straight[1] == after[1]
    assert again.cases == optimizer.cases


def test_pickled_optimizers_go_on():
    model = network()
    optimizer = PAL(model.parameters(), beta=0.4)
    train(model, optimizer)
    ours, model2 = pickle.loads(pickle.dumps((optimizer, model)))
    assert torch.equal(train(model2, ours)[0], train(model, optimizer)[0])


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_accumulated_micro_batches_are_one_batch(beta):
    ours, theirs = network(), network()
    pieces, whole = PAL(ours.parameters(), beta=beta), PAL(theirs.parameters(), beta=beta)
    for x, y in batches(4):
        for part in range(4):
            rows = slice(4 * part, 4 * part + 4)
            pieces.backward(lambda x=x[rows], y=y[rows]: functional.cross_entropy(ours(x), y) / 4)
        loss = pieces.step()
        assert loss == pytest.approx(
            whole.step(lambda x=x, y=y: functional.cross_entropy(theirs(x), y)).item()
        )
        assert pieces.line.evaluations == 8
    for param, expected in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(param, expected, rtol=1e-9, atol=1e-11)


def test_zero_grad_forgets_what_backward_began():
    model = network()
    optimizer = PAL(model.parameters())
    optimizer.backward(lambda: model(torch.ones(1, 4, dtype=torch.float64)).sum() * 1e6)
    optimizer.zero_grad()
    twin = network()
    assert torch.equal(train(model, optimizer)[0], train(twin, PAL(twin.parameters()))[0])


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("mu", 0.0, "a finite number > 0"),
        ("mu", -1.0, "a finite number > 0"),
        ("mu", math.inf, "a finite number > 0"),
        ("mu", "small", "a finite number > 0"),
        ("alpha", 0.0, "a finite number > 0"),
        ("alpha", math.nan, "a finite number > 0"),
        ("beta", -0.1, "a number >= 0 and < 1"),
        ("s_max", 0.0, "a number > 0, or infinity"),
        ("s_max", None, "a number > 0, or infinity"),
        ("lr", -1.0, "a finite number >= 0"),
        ("weight_decay", -1e-4, "a finite number >= 0"),
        ("weight_decay", True, "a finite number >= 0"),
    ],
)
def test_settings_out_of_range_are_named(name, value, allowed):
    with pytest.raises(ValueError, match=f"^{name} must be {allowed}, got {value!r}$"):
        PAL([torch.ones(1, requires_grad=True)], **{name: value})


def test_groups_must_agree_on_the_line():
    first, second = (torch.ones(1, requires_grad=True) for _ in range(2))
    with pytest.raises(ValueError, match=r"mu must be the same in all parameter groups.*\[0.1, 0.2\]"):
        PAL([{"params": [first]}, {"params": [second], "mu": 0.2}])
    optimizer = PAL([first])
    with pytest.raises(ValueError, match="s_max must be the same"):
        optimizer.add_param_group({"params": [second], "s_max": 1.0})
    assert len(optimizer.param_groups) == 1
    optimizer.add_param_group({"params": [second]})
    optimizer.param_groups[1]["beta"] = 0.3
    with pytest.raises(ValueError, match="beta must be the same"):
        optimizer.step(lambda: first + second)


def test_step_needs_a_closure_or_backward():
    with pytest.raises(RuntimeError, match=r"step\(closure\), or backward\(closure\) before step\(\)"):
        PAL([torch.ones(1, requires_grad=True)]).step()


def test_no_gradient_at_all_is_an_error():
    x, other = (torch.ones(1, requires_grad=True) for _ in range(2))
    with pytest.raises(RuntimeError, match="no parameter given to PAL has a gradient"):
        PAL([x]).step(lambda: other.sum())


def test_sparse_gradients_are_refused():
    embedding = nn.Embedding(5, 3, sparse=True)
    with pytest.raises(RuntimeError, match="sparse=False"):
        PAL(embedding.parameters()).step(lambda: embedding(torch.tensor([1])).sum())


def test_the_record_is_empty_before_the_first_step():
    assert PAL([torch.ones(1, requires_grad=True)]).line is None


def test_autocast_around_the_step_sees_the_moved_weights():
    ours, theirs = network(dtype=torch.float32), network(dtype=torch.float32)
    inside, outside = PAL(ours.parameters()), PAL(theirs.parameters())
    for x, y in batches(3, torch.float32):
        with torch.autocast("cpu", torch.bfloat16):
            inside.step(lambda x=x, y=y: functional.cross_entropy(ours(x), y))

        def closure(x=x, y=y):
            with torch.autocast("cpu", torch.bfloat16):
                return functional.cross_entropy(theirs(x), y)

        outside.step(closure)
        assert inside.line.loss_mu == outside.line.loss_mu


def test_parameters_that_come_and_go_keep_their_buffer():
    first, second = (torch.ones(1, dtype=torch.float64, requires_grad=True) for _ in range(2))
    optimizer = PAL([first, second], beta=0.5)
    optimizer.step(lambda: (3 * first + 4 * second).sum())
    frozen = second.detach().clone()
    optimizer.step(lambda: (3 * first).sum())
    assert torch.equal(second, frozen), "no gradient, no move"
    assert optimizer.state[first]["direction"].item() == 4.5
    optimizer.step(lambda: (3 * first + 4 * second).sum())
    assert optimizer.state[second]["direction"].item() == 6.0
    assert optimizer.state[first]["direction"].item() == 5.25
