"""What people need of an optimizer, one row per property."""

import copy
import importlib.resources
import math
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

import pal
from pal import PAL
from pal.parabola import Case

ROWS: dict[str, Callable[[], None]] = {}


def row(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def keep(check: Callable[[], None]) -> Callable[[], None]:
        ROWS[name] = check
        return check

    return keep


def network(dtype=torch.float32) -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(144, 3),
    ]
    return nn.Sequential(*layers).to(dtype)


def batch(dtype=torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 2, 8, 8, generator=generator).to(dtype), torch.randint(
        3, (32,), generator=generator
    )


def fit(model: nn.Module, optimizer: PAL, steps: int = 20, dtype=torch.float32, forward=None) -> list[float]:
    """Losses of a few steps on one batch; the weights must stay finite."""
    x, y = batch(dtype)
    run = forward or model
    torch.manual_seed(2)
    losses = [
        optimizer.step(lambda: functional.cross_entropy(run(x).float(), y)).item() for _ in range(steps)
    ]
    assert all(param.isfinite().all() for param in model.parameters())
    return losses


def falls(losses: list[float]) -> bool:
    return losses[-1] < 0.5 * losses[0]


@row("one import, one closure that only computes the loss")
def closure_form() -> None:
    model = network()
    assert falls(fit(model, pal.PAL(model.parameters())))


@row("loops that own the forward pass: backward, then step")
def two_calls() -> None:
    ours, theirs = network(), network()
    one, two = PAL(ours.parameters()), PAL(theirs.parameters())
    expected = fit(ours, one, 5)
    x, y = batch()
    torch.manual_seed(2)
    for loss in expected:
        assert two.backward(lambda: functional.cross_entropy(theirs(x), y)).item() == loss
        assert two.step().item() == loss


@row("the same dropout masks at the probe")
def dropout() -> None:
    model = nn.Sequential(nn.Linear(4, 50), nn.Dropout(0.5))
    masks = []
    model[1].register_forward_hook(lambda _, __, output: masks.append(output == 0))
    PAL(model.parameters()).step(lambda: model(torch.ones(1, 4)).square().sum())
    assert torch.equal(*masks)


@row("norm statistics counted once")
def statistics() -> None:
    model = network()
    x, _ = batch()
    twin = copy.deepcopy(model)
    twin(x)
    fit(model, PAL(model.parameters()), 1)
    assert model[1].num_batches_tracked == 1
    assert torch.equal(model[1].running_var, twin[1].running_var)


@row("several parameter groups, one line")
def groups() -> None:
    whole, parts = network(), network()
    cut = [{"params": layer.parameters()} for layer in parts if list(layer.parameters())]
    torch.testing.assert_close(
        fit(parts, PAL(cut)), fit(whole, PAL(whole.parameters())), rtol=2e-2, atol=2e-2
    )


@row("weight decay of each group its own")
def decays() -> None:
    model = network()
    optimizer = PAL(
        [{"params": model[0].parameters(), "weight_decay": 1.0}, {"params": model[5].parameters()}]
    )
    x, y = batch()
    torch.manual_seed(2)
    plain = functional.cross_entropy(model(x), y).item()
    penalty = sum(param.square().sum().item() for param in model[0].parameters()) / 2
    assert fit(model, optimizer, 1)[0] == pytest.approx(plain + penalty)


@row("frozen parameters")
def frozen() -> None:
    model = network()
    model[0].weight.requires_grad_(False)
    before = model[0].weight.clone()
    assert falls(fit(model, PAL(model.parameters())))
    assert torch.equal(model[0].weight, before)


@row("an empty group, empty and single-number tensors")
def empty() -> None:
    number, nothing = torch.tensor(2.0, requires_grad=True), torch.empty(0, requires_grad=True)
    optimizer = PAL([{"params": []}, {"params": [number, nothing]}], beta=0.4)
    optimizer.step(lambda: number.square() + nothing.sum())
    assert abs(number.item()) < 1e-3


@row("missing gradients")
def missing() -> None:
    model, unused = network(), nn.Linear(3, 3)
    before = unused.weight.clone()
    assert falls(fit(model, PAL([*unused.parameters(), *model.parameters()], beta=0.4)))
    assert torch.equal(unused.weight, before)


@row("tied weights move once")
def tied() -> None:
    weight = torch.full((2, 2), 0.5, requires_grad=True)
    PAL([weight]).step(lambda: (weight + weight.t()).square().sum())
    assert weight.norm() < 1e-3


@row("weights and gradients with strides of any kind")
def strides() -> None:
    storage = torch.linspace(0.1, 1.2, 12).view(3, 4)
    for view in (storage.t(), storage[:, ::2], storage[1:, 1:]):
        ours, theirs = view.detach().requires_grad_(), view.clone().contiguous().requires_grad_()
        for weights in (ours, theirs):
            PAL([weights], s_max=0.3).step(lambda weights=weights: (weights - 3).square().sum())
        torch.testing.assert_close(ours, theirs)


@row("channels_last")
def channels_last() -> None:
    model = network().to(memory_format=torch.channels_last)
    assert falls(fit(model, PAL(model.parameters(), beta=0.4)))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


@row("float64")
def float64() -> None:
    model = network(torch.float64)
    assert falls(fit(model, PAL(model.parameters()), dtype=torch.float64))


@row("bfloat16 weights, the line in more digits")
def bfloat16() -> None:
    model = network(torch.bfloat16)
    optimizer = PAL(model.parameters(), mu=0.5, beta=0.4)
    assert falls(fit(model, optimizer, 40, torch.bfloat16))
    assert optimizer.line.loss0.dtype == torch.float64


@row("weights of several dtypes")
def mixed() -> None:
    model = network()
    model[5].double()
    assert falls(fit(model, PAL(model.parameters()), forward=lambda x: model[5](model[:5](x).double())))


@row("bfloat16 autocast, in the closure")
def autocast() -> None:
    model = network()

    def forward(x: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    assert falls(fit(model, PAL(model.parameters(), mu=0.3), forward=forward))


@row("float16 gradients through a GradScaler")
def gradscaler() -> None:
    ours, theirs = network(), network()
    scaled, plain = PAL(ours.parameters()), PAL(theirs.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    x, y = batch()
    torch.manual_seed(2)
    losses = []
    for _ in range(5):
        losses.append(
            scaled.backward(
                lambda: functional.cross_entropy(ours(x), y), lambda loss: scaler.scale(loss).backward()
            ).item()
        )
        scaler.unscale_(scaled)
        scaled.step()
        scaler.update()
    assert losses == fit(theirs, plain, 5)


@row("a GradScaler's overflow leaves the weights, and the scale falls")
def overflow() -> None:
    weight = torch.ones(3, requires_grad=True)
    optimizer, scaler = PAL([weight]), torch.amp.GradScaler("cpu", init_scale=2.0**10)
    optimizer.backward(lambda: weight.square().sum(), lambda loss: (scaler.scale(loss) * math.inf).backward())
    scaler.unscale_(optimizer)
    optimizer.step()
    scaler.update()
    assert optimizer.line.case == Case.NONFINITE
    assert weight.tolist() == [1.0, 1.0, 1.0]
    assert scaler.get_scale() == 2.0**9


@row("gradient accumulation")
def accumulation() -> None:
    model = network()
    optimizer = PAL(model.parameters())
    x, y = batch()
    losses = []
    for _ in range(20):
        for rows in range(4):
            part = slice(8 * rows, 8 * rows + 8)
            optimizer.backward(lambda part=part: functional.cross_entropy(model(x[part]), y[part]) / 4)
        losses.append(optimizer.step().item())
    assert falls(losses)
    assert model[1].num_batches_tracked == 80


@row("torch.compile of the model")
def compiled() -> None:
    torch.compiler.reset()
    model = network()
    assert falls(fit(model, PAL(model.parameters()), 10, forward=torch.compile(model, backend="aot_eager")))
    assert model[1].num_batches_tracked == 10


@row("resuming bit by bit")
def resume() -> None:
    model = network()
    optimizer = PAL(model.parameters(), beta=0.4)
    fit(model, optimizer, 3)
    twin = copy.deepcopy(model)
    again = PAL(twin.parameters())
    again.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert fit(model, optimizer, 3) == fit(twin, again, 3)


@row("NaN: weights stay bit by bit, counted, training goes on")
def nan() -> None:
    model = network()
    optimizer = PAL(model.parameters(), beta=0.4)
    fit(model, optimizer, 2)
    before = [param.detach().clone() for param in model.parameters()]
    x, _ = batch()
    optimizer.step(lambda: model(x * math.nan).sum())
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))
    assert optimizer.cases[Case.NONFINITE] == 1
    model[1].reset_running_stats()
    assert falls(fit(model, optimizer))


@row("one kernel for many tensors or one each: foreach")
def foreach() -> None:
    ours, theirs = network(), network()
    many = fit(ours, PAL(ours.parameters(), foreach=True), 3)
    torch.testing.assert_close(
        many, fit(theirs, PAL(theirs.parameters(), foreach=False), 3), rtol=1e-3, atol=1e-3
    )


@row("learning-rate schedulers")
def scheduler() -> None:
    model = network()
    optimizer = PAL(model.parameters())
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 10)
    for _ in range(10):
        fit(model, optimizer, 1)
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


@row("inputs in inference tensors, activations checkpointed")
def checkpointed() -> None:
    model = network()
    with torch.inference_mode():
        x, y = batch()
    run = lambda: torch.utils.checkpoint.checkpoint(model, x.clone(), use_reentrant=False)
    optimizer = PAL(model.parameters())
    losses = [optimizer.step(lambda: functional.cross_entropy(run(), y.clone())).item() for _ in range(20)]
    assert falls(losses)


@row("the record reads out what the step saw")
def record() -> None:
    weight = torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True)
    optimizer = PAL([weight], mu=0.5, s_max=10.0)
    optimizer.step(lambda: weight.square().sum())
    line = optimizer.line
    seen = [line.loss0, line.loss_mu, line.slope, line.curvature, line.step, line.norm, line.learning_rate]
    assert [value.item() for value in seen] == pytest.approx([25.0, 20.25, -10.0, 2.0, 5.0, 10.0, 0.5])
    assert (Case(int(line.case)), bool(line.clipped), line.evaluations) == (Case.PARABOLA, False, 2)


@row("typed")
def typed() -> None:
    assert importlib.resources.files(pal).joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", ROWS)
def test_row(name: str) -> None:
    ROWS[name]()
