"""Processes that share a batch take the steps of one with the whole batch, or PAL says in one sentence that it cannot.

One pair of processes runs all checks, each in both; what they return must be the same in both.
"""

import contextlib
import copy
import datetime
import importlib.util
import logging
import os
import pickle
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing
from by_hand import by_hand, perceptron
from torch import nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from pal import PAL
from pal.baselines import SLS
from pal.closure import BatchLoss
from pal.parabola import Case

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")

SETTINGS = [{"mu": 0.3}, {"beta": 0.4, "weight_decay": 0.01}]

CHECKS: dict[str, Callable[[int], Any]] = {}
LIGHTNING: dict[str, Callable[[int], Any]] = {}


def check(function):
    CHECKS[function.__name__] = function
    return function


def lightning_check(function):
    LIGHTNING[function.__name__] = function
    return function


def batch():
    generator = torch.Generator().manual_seed(1)
    return tuple(torch.randn(16, width, generator=generator).double() for width in (3, 1))


def close(seen, wanted, tolerance=1e-9):
    assert abs(float(seen) - float(wanted)) <= tolerance * max(1.0, abs(float(wanted))), (
        f"{float(seen)}, right {float(wanted)}"
    )


def held_to_the_whole_batch(optimizer, net, advance, steps=4, mu=0.1, tolerance=1e-9):
    """Steps of this process, each held to a step by hand on the batch of all processes; gives the weights."""
    x, y = batch()
    for _ in range(steps):
        right = by_hand(net, lambda net: (net(x) - y).square().mean(), mu)
        advance()
        line = optimizer.line
        for name in ("loss0", "slope", "loss_mu"):
            close(getattr(line, name), getattr(right, name), tolerance)
        close(line.step, right.step, 1e-5)
    return [param.detach().clone() for param in net.parameters()]


def mine(rank):
    x, y = batch()
    return x[rank::2], y[rank::2]


# -- DistributedDataParallel ----------------------------------------------------------------------------------


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


@check
def trajectories(rank):
    rows, results = slice(8 * rank, 8 * rank + 8), []
    for settings in SETTINGS:
        model = network()
        results.append(trajectory(DistributedDataParallel(model), model, rows, settings))
    return results


@check
def messages(rank):
    """What a step sends, after the first steps, which look at the closure."""
    model, sent = network(), []
    counted = DistributedDataParallel(model)
    counted.register_comm_hook(None, lambda _, bucket: sent.append(1) or average(bucket))
    reduce = dist.all_reduce
    dist.all_reduce = lambda tensor, *args, **kwargs: (
        sent.append(tensor.numel()) or reduce(tensor, *args, **kwargs)
    )
    optimizer = PAL(model.parameters(), check=False)
    for x, y in batches():
        optimizer.step(lambda x=x, y=y: functional.cross_entropy(counted(x), y))
    dist.all_reduce = reduce
    return sent


def average(bucket):
    work = dist.distributed_c10d._get_default_group().allreduce([bucket.buffer().div_(2)])
    return work.get_future().then(lambda future: future.value()[0])


class Inside(nn.Module):
    """Evaluates the batch inside of forward, as Lightning does under DDP; gives what the batch loss found."""

    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, x):
        batch_loss = BatchLoss()
        batch_loss.measure(lambda: self.net(x).sum(), lambda _: None)
        return batch_loss.process_group


@check
def group_found_inside_of_a_wrapper(rank):
    found = DistributedDataParallel(Inside())(torch.zeros(1, 4).double())
    assert found is dist.distributed_c10d._get_default_group()


@check
def plain_closures(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())
    return held_to_the_whole_batch(
        optimizer, net, lambda: optimizer.step(lambda: (model(x) - y).square().mean())
    )


@check
def closures_in_torchs_form(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())

    def closure():
        optimizer.zero_grad()
        loss = (model(x) - y).square().mean()
        loss.backward()
        return loss

    return held_to_the_whole_batch(optimizer, net, lambda: optimizer.step(closure))


@check
def accumulation_without_synchronisation(rank):
    """DDP averages in the last micro-batch only."""
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())

    def advance():
        for part, around in ((slice(0, 4), model.no_sync), (slice(4, 8), contextlib.nullcontext)):
            with around():
                optimizer.backward(lambda part=part: (model(x[part]) - y[part]).square().mean() / 2)
        optimizer.step()

    return held_to_the_whole_batch(optimizer, net, advance)


@check
def accumulation_with_synchronisation(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())

    def advance():
        for part in (slice(0, 4), slice(4, 8)):
            optimizer.backward(lambda part=part: (model(x[part]) - y[part]).square().mean() / 2)
        optimizer.step()

    return held_to_the_whole_batch(optimizer, net, advance)


@check
def gradients_averaged_by_hand(rank):
    (x, y), net = mine(rank), perceptron()
    optimizer = PAL(net.parameters(), process_group=dist.group.WORLD)

    def averaged(loss):
        loss.backward()
        for param in net.parameters():
            dist.all_reduce(param.grad)
            param.grad /= 2

    def advance():
        optimizer.backward(lambda: (net(x) - y).square().mean(), averaged)
        optimizer.step()

    return held_to_the_whole_batch(optimizer, net, advance)


@check
def a_copy_shares_its_batch(rank):
    (x, y), steps = mine(rank), []
    model = perceptron()
    optimizer = PAL(model.parameters(), process_group=dist.group.WORLD)
    for _ in range(3):

        def averaged(loss, model=model):
            loss.backward()
            for param in model.parameters():
                dist.all_reduce(param.grad)
                param.grad /= 2

        optimizer.backward(lambda model=model: (model(x) - y).square().mean(), averaged)
        optimizer.step()
        steps.append(optimizer.line.step.item())
        model, optimizer = copy.deepcopy((model, optimizer))
    with pytest.raises(TypeError, match="process_group cannot be pickled"):
        pickle.dumps(optimizer)
    return steps


@check
def a_wrapped_model_copied_with_its_optimizer(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())
    optimizer.step(lambda: (model(x) - y).square().mean())
    net, optimizer = copy.deepcopy((net, optimizer))
    again = DistributedDataParallel(net)
    return held_to_the_whole_batch(
        optimizer, net, lambda: optimizer.step(lambda: (again(x) - y).square().mean())
    )


@check
def a_group_that_joins_late(rank):
    """The model is wrapped after steps without a wrapper, on the whole batch."""
    (x, y), net, (whole_x, whole_y) = mine(rank), perceptron(), batch()
    optimizer = PAL(net.parameters())
    for _ in range(3):
        optimizer.step(lambda: (net(whole_x) - whole_y).square().mean())
    model = DistributedDataParallel(net)
    return held_to_the_whole_batch(
        optimizer, net, lambda: optimizer.step(lambda: (model(x) - y).square().mean())
    )


@check
def statistics_shared_by_sync_batch_norm_in_evaluation(rank):
    (x, y), net = mine(rank), perceptron(nn.BatchNorm1d(4)).eval()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())
    return held_to_the_whole_batch(
        optimizer, net, lambda: optimizer.step(lambda: (model(x) - y).square().mean())
    )


@check
def an_error_in_both_processes(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer, calls = PAL(model.parameters(), beta=0.4, check=False), []

    def closure():
        calls.append(1)
        loss = (model(x) - y).square().mean()
        if len(calls) == 4:
            raise MemoryError
        return loss

    optimizer.step(closure)
    before = [param.detach().clone() for param in net.parameters()]
    with pytest.raises(MemoryError):
        optimizer.step(closure)
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=True))
    optimizer.step(closure)
    return [param.detach().clone() for param in net.parameters()]


@check
def the_check_speaks_in_both(rank):
    (x, y), net = mine(rank), perceptron()
    model = DistributedDataParallel(net)
    optimizer = PAL(model.parameters())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for _ in range(4):
            optimizer.backward(lambda: (model(x) - y).square().mean())
            for param in net.parameters():
                param.grad /= 10
            optimizer.step()
    assert len(said) == 1
    return str(said[0].message)


# -- sharded weights and optimizers ---------------------------------------------------------------------------


def sharded(rank, **settings):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    (x, y), (whole_x, whole_y), plain = mine(rank), batch(), perceptron()
    net = copy.deepcopy(plain)
    fully_shard(net, mesh=init_device_mesh("cpu", (2,)))
    try:
        net(x)
    except AttributeError:  # torch 2.6 shards on accelerators only
        return
    one, two = PAL(net.parameters(), **settings), PAL(plain.parameters(), **settings)
    try:
        for _ in range(3):
            ours = one.step(lambda: (net(x) - y).square().mean())
            theirs = two.step(lambda: (plain(whole_x) - whole_y).square().mean())
            close(ours, theirs)
            close(one.line.slope, two.line.slope)
            close(one.line.loss_mu, two.line.loss_mu)
    except RuntimeError as error:
        assert "PAL" in str(error)  # noqa: PT017 - either way is right
    return


@check
def weights_sharded_by_fsdp(rank):
    sharded(rank)


@check
def weights_sharded_by_fsdp_with_momentum_and_decay(rank):
    sharded(rank, beta=0.4, weight_decay=0.1)


@check
def weights_flattened_by_fsdp(rank):
    from torch.distributed.fsdp import FullyShardedDataParallel

    (x, y), _, plain = mine(rank), batch(), perceptron()
    net = FullyShardedDataParallel(plain, device_id=torch.device("cpu"), use_orig_params=True)
    with pytest.raises(RuntimeError, match=r"use fully_shard \(FSDP2\)"):
        PAL(net.parameters()).step(lambda: (net(x) - y).square().mean())


@check
def optimizer_sharded_by_zero(rank):
    from torch.distributed.optim import ZeroRedundancyOptimizer

    (x, y), plain, net = mine(rank), perceptron(), perceptron()
    one, two = DistributedDataParallel(net), DistributedDataParallel(plain)
    theirs = PAL(two.parameters())
    try:
        ours = ZeroRedundancyOptimizer(one.parameters(), PAL)
        for _ in range(4):
            seen = ours.step(lambda: (one(x) - y).square().mean())
            close(seen, theirs.step(lambda: (two(x) - y).square().mean()))
    except RuntimeError as error:
        assert "PAL" in str(error)  # noqa: PT017 - either way is right


# -- refused in one sentence ----------------------------------------------------------------------------------


@check
def baselines_search_for_one_process_only(rank):
    model = DistributedDataParallel(perceptron())
    x, y = mine(rank)
    with pytest.raises(RuntimeError, match="SLS searches the line of one process only"):
        SLS(model.parameters()).step(lambda: (model(x) - y).square().mean())


@check
def uneven_inputs(rank):
    """`with model.join()`: train to the end with the same weights, or one sentence in both processes."""
    net = perceptron()
    model = DistributedDataParallel(net)
    optimizer, x = PAL(model.parameters()), batch()[0]
    try:
        with model.join():
            for _ in range(3 + rank):
                optimizer.step(lambda: (model(x) - 1).square().mean())
    except RuntimeError as error:
        assert str(error).startswith("PAL cannot share")  # noqa: PT017
        return "a sentence"
    return [param.detach().clone() for param in net.parameters()]


# -- Lightning ------------------------------------------------------------------------------------------------


def fit(rank, automatic, step):
    import lightning

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    whole_x, whole_y = batch()
    said = []

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.automatic_optimization, self.net = automatic, perceptron()

        def training_step(self, rows, index):
            if automatic:
                return (self.net(whole_x[rows]) - whole_y[rows]).square().mean()
            right = by_hand(self.net, lambda net: (net(whole_x) - whole_y).square().mean())
            step(self, rows, whole_x, whole_y)
            line = self.optimizers().line
            close(line.loss0, right.loss0)
            close(line.slope, right.slope)
            close(line.loss_mu, right.loss_mu)
            return None

        def on_train_batch_end(self, *_):
            said.append([param.detach().clone() for param in self.net.parameters()])

        def configure_optimizers(self):
            return PAL(self.parameters())

    trainer = lightning.Trainer(
        max_epochs=3, accelerator="cpu", devices=2, strategy="ddp", precision="64-true", logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(torch.arange(16), batch_size=8))
    if automatic:
        plain = perceptron()
        optimizer = PAL(plain.parameters())
        for weights in said:
            optimizer.step(lambda: (plain(whole_x) - whole_y).square().mean())
            for ours, theirs in zip(weights, plain.parameters(), strict=True):
                torch.testing.assert_close(ours, theirs.detach(), rtol=1e-7, atol=1e-9)
    return said


@lightning_check
def lightning_by_a_closure(rank):
    def step(module, rows, x, y):
        module.optimizers().step(lambda: (module.net(x[rows]) - y[rows]).square().mean())

    return fit(rank, False, step)


@lightning_check
def lightning_in_two_halves(rank):
    def step(module, rows, x, y):
        optimizer = module.optimizers()
        for part in (rows[:4], rows[4:]):
            optimizer.backward(
                lambda part=part: (module.net(x[part]) - y[part]).square().mean() / 2, module.manual_backward
            )
        optimizer.step()

    return fit(rank, False, step)


@lightning_check
def lightning_in_automatic_optimization(rank):
    return fit(rank, True, None)


# -- running them ---------------------------------------------------------------------------------------------


def has_lightning() -> bool:
    return importlib.util.find_spec("lightning") is not None


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    os.environ.update(
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT="29500",
        NODE_RANK="0",
        LOCAL_RANK=str(rank),
        RANK=str(rank),
        WORLD_SIZE="2",
    )
    wait = datetime.timedelta(seconds=20)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2, timeout=wait
    )
    results: dict[str, Any] = {}
    for name, function in {**CHECKS, **(LIGHTNING if has_lightning() else {})}.items():
        dist.barrier()
        try:
            results[name] = function(rank)
        except Exception:
            results[name] = f"failed: {traceback.format_exc()}"
            torch.save(results, f"{folder}/{rank}.pt")
    torch.save(results, f"{folder}/{rank}.pt")
    os._exit(0)  # frameworks leave groups of their own behind


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.set_forkserver_preload(["lightning", __name__])  # imported once for both
    torch.multiprocessing.start_processes(process, (str(folder),), nprocs=2, start_method="forkserver")
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("name", [*CHECKS, *LIGHTNING])
def test_both_processes(runs, name):
    if name in LIGHTNING and not has_lightning():
        pytest.skip("needs lightning")
    for results in runs:
        assert not str(results[name]).startswith("failed"), results[name]
    assert same(runs[0][name], runs[1][name]), f"{runs[0][name]} and {runs[1][name]}"


def same(ours, theirs) -> bool:
    """The same bits, in tensors and whatever holds them."""
    if isinstance(ours, torch.Tensor):
        return torch.equal(ours.nan_to_num(), theirs.nan_to_num())
    if isinstance(ours, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_two_processes_go_the_way_of_one(runs, number):
    model = network()
    seen, weights = trajectory(model, model, slice(None), SETTINGS[number])
    for results in runs:
        torch.testing.assert_close(results["trajectories"][number][0], seen, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(results["trajectories"][number][1], weights, rtol=1e-9, atol=1e-12)
    assert torch.equal(runs[0]["trajectories"][number][1], runs[1]["trajectories"][number][1])


def test_a_step_costs_one_gradient_sync_and_one_message_of_three_numbers(runs):
    assert runs[0]["messages"][-6:] == [1, 3] * 3, "the first steps look at the closure, which takes more"


def test_the_sentence_of_the_check_is_said_in_both(runs):
    for results in runs:
        assert results["the_check_speaks_in_both"].startswith(
            "the gradient is not that of the closure's loss"
        )


def test_importing_pal_imports_neither_sharding_nor_the_compiler():
    """Both take seconds, and few trainings need them."""
    words = (
        "import sys, pal; sys.exit(bool({'torch.distributed.tensor', 'torch._dynamo'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", words], check=True, capture_output=True)
