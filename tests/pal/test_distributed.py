"""Two processes with half a batch each go the way of one process with the whole batch."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from pal import PAL
from pal.closure import BatchLoss
from pal.parabola import Case

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")

SETTINGS = [{"mu": 0.3}, {"beta": 0.4, "weight_decay": 0.01}]


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Tanh(), nn.Linear(8, 3)).double()


def batches():
    generator = torch.Generator().manual_seed(1)
    for _ in range(6):
        yield torch.randn(16, 4, generator=generator).double(), torch.randint(3, (16,), generator=generator)


def trajectory(forward, model, rows, settings):
    """Losses, steps and the weights at the end; the loss of the fourth batch is infinite in one row."""
    optimizer = PAL(model.parameters(), **settings)
    seen = []
    for number, (x, y) in enumerate(batches()):
        extra = torch.zeros(16).double()
        extra[0] = torch.inf if number == 3 else 0.0

        def closure(x=x[rows], y=y[rows], extra=extra[rows]):
            return (functional.cross_entropy(forward(x), y, reduction="none") + extra).mean()

        loss = optimizer.step(closure)
        seen.append([loss.item(), optimizer.line.step.item(), optimizer.line.loss_mu.item()])
    assert optimizer.cases[Case.NONFINITE] == 1
    return torch.tensor(seen), torch.cat([param.detach().flatten() for param in model.parameters()])


class Inside(nn.Module):
    """Evaluates the batch inside of forward, as Lightning does under DDP; gives what the batch loss found."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        batch_loss = BatchLoss()
        batch_loss.measure(lambda: self.net(x).sum(), lambda _: None)
        return batch_loss.process_group


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    rows = slice(8 * rank, 8 * rank + 8)
    results = []
    for settings in SETTINGS:
        model = network()
        results.append(trajectory(DistributedDataParallel(model), model, rows, settings))
    model = network()
    counted = DistributedDataParallel(model)
    messages = []
    counted.register_comm_hook(None, lambda _, bucket: messages.append(1) or average(bucket))
    reduce = dist.all_reduce
    dist.all_reduce = lambda tensor, *args, **kwargs: (
        messages.append(tensor.numel()) or reduce(tensor, *args, **kwargs)
    )
    results.append(trajectory(counted, model, rows, SETTINGS[0]))
    dist.all_reduce = reduce
    found = DistributedDataParallel(Inside())(torch.zeros(1, 4).double())
    assert found is dist.distributed_c10d._get_default_group()
    torch.save((results, messages), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def average(bucket):
    work = dist.distributed_c10d._get_default_group().allreduce([bucket.buffer().div_(2)])
    return work.get_future().then(lambda future: future.value()[0])


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("processes")
    mp.spawn(process, (str(folder),), nprocs=2)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_two_processes_go_the_way_of_one(runs, number):
    model = network()
    seen, weights = trajectory(model, model, slice(None), SETTINGS[number])
    for results, _ in runs:
        torch.testing.assert_close(results[number][0], seen, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(results[number][1], weights, rtol=1e-9, atol=1e-12)


def test_all_processes_have_the_same_bits(runs):
    for ours, theirs in zip(runs[0][0], runs[1][0], strict=True):
        assert torch.equal(ours[1], theirs[1])


def test_a_step_costs_one_gradient_sync_and_one_message_of_three_numbers(runs):
    assert runs[0][1] == [1, 3] * 6
