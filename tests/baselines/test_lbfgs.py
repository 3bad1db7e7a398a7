"""torch's LBFGS behind PAL's closure: the same steps, on one function each."""

import copy

import torch
from torch import nn
from torch.nn import functional

from pal.baselines import LBFGS

SETTINGS = {"max_iter": 6, "line_search_fn": "strong_wolfe"}


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(64, 8, generator=generator), torch.randint(3, (64,), generator=generator)


def network(*inside: nn.Module) -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 20), *inside, nn.Tanh(), nn.Linear(20, 3))


def test_takes_the_steps_of_torch_bit_by_bit():
    ours, theirs = network(), network()
    mine, yours = LBFGS(ours.parameters(), **SETTINGS), torch.optim.LBFGS(theirs.parameters(), **SETTINGS)
    x, y = batch()

    def closure():
        yours.zero_grad()
        loss = functional.cross_entropy(theirs(x), y)
        loss.backward()
        return loss

    for _ in range(4):
        assert mine.step(lambda: functional.cross_entropy(ours(x), y)) == yours.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_all_evaluations_of_a_step_see_the_same_masks_and_count_the_batch_once():
    model = network(nn.BatchNorm1d(20), nn.Dropout(0.3))
    optimizer = LBFGS(model.parameters(), **SETTINGS)
    x, y = batch()
    masks = []
    model[2].register_forward_hook(lambda _, __, output: masks.append(output == 0))
    twin = copy.deepcopy(model)
    twin(x)
    optimizer.step(lambda: functional.cross_entropy(model(x), y))
    first, evaluations = masks[1], len(masks)
    assert evaluations > 3
    assert all(torch.equal(mask, first) for mask in masks[1:])
    assert model[1].num_batches_tracked == 1
    assert torch.equal(model[1].running_mean, twin[1].running_mean)
    optimizer.step(lambda: functional.cross_entropy(model(x), y))
    assert not torch.equal(masks[evaluations], first)
    assert model[1].num_batches_tracked == 2
