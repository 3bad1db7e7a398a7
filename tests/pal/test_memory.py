"""What PAL keeps beyond the weights and their gradients."""

import gc
import weakref

import pytest
import torch
from torch import nn

from pal import PAL


def kept_bytes(optimizer: PAL) -> int:
    """Bytes of every tensor reachable from the optimizer that is no parameter and no gradient."""
    own = {
        param.untyped_storage().data_ptr() for group in optimizer.param_groups for param in group["params"]
    }
    own |= {
        param.grad.untyped_storage().data_ptr()
        for group in optimizer.param_groups
        for param in group["params"]
    }
    seen, storages, queue = (
        set(),
        {},
        [
            vars(optimizer._runtime),
            vars(optimizer._runtime.batch),
            vars(optimizer._runtime.direction),
            optimizer.state,
        ],
    )
    while queue:
        thing = queue.pop()
        if id(thing) in seen or isinstance(thing, type | nn.Module) or callable(thing):
            continue
        seen.add(id(thing))
        if isinstance(thing, torch.Tensor):
            storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
            continue
        queue += gc.get_referents(thing)
    return sum(size for place, size in storages.items() if place not in own)


@pytest.mark.parametrize(("beta", "copies"), [(0.0, 1), (0.4, 2)])
@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.01}, {"weight_decay": 0.01, "decoupled_weight_decay": True}]
)
def test_at_most_one_copy_of_the_weights_and_one_more_for_beta(beta, copies, settings):
    model = nn.Sequential(nn.Linear(300, 300), nn.BatchNorm1d(300), nn.Linear(300, 10))
    optimizer = PAL(model.parameters(), beta=beta, **settings)
    for _ in range(3):
        optimizer.step(lambda: model(torch.ones(4, 300)).square().mean())
    size = sum(param.numel() * param.itemsize for param in model.parameters())
    generator = 8192  # state of the CPU's random generator
    assert copies * size <= kept_bytes(optimizer) <= copies * size + generator


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_a_step_makes_no_other_copy(beta):
    weights = torch.randn(200, 1000, requires_grad=True)
    optimizer = PAL([weights], beta=beta, weight_decay=0.01)
    for _ in range(2):
        optimizer.step(lambda: weights.square().mean())
    optimizer.backward(lambda: weights.square().mean())
    batch = optimizer._runtime.batch._batches[0]
    batch.terms = [term._replace(closure=lambda: torch.ones(())) for term in batch.terms]  # without memory
    with torch.profiler.profile(profile_memory=True) as profile:
        optimizer.step()
    largest = max((abs(event.self_cpu_memory_usage) for event in profile.key_averages()), default=0)
    assert largest < weights.numel() * 4 / 10


@pytest.mark.parametrize("beta", [0.0, 0.4])
def test_gradients_of_the_last_step_are_gone_when_the_next_loss_is_evaluated(beta):
    model = nn.Linear(30, 10)
    optimizer = PAL(model.parameters(), beta=beta)
    optimizer.step(lambda: model(torch.ones(4, 30)).square().mean())
    old, found = weakref.ref(model.weight.grad), []

    def closure():
        found.append(old())
        return model(torch.ones(4, 30)).square().mean()

    optimizer.step(closure)
    assert found[0] is None
