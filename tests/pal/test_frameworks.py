"""The guide's recipes for frameworks and for several processes take the steps of the formula."""

import importlib.util
import os
import socket
from pathlib import Path

import guide
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from by_hand import by_hand, needs_sharding
from guide import assert_same_weights, block, in_order, on, run, trained
from torch.nn.functional import cross_entropy
from torch.utils.data import DistributedSampler

pytestmark = [
    pytest.mark.skipif(
        not guide.PATH.is_file(), reason="the guide is part of the repository, not of the wheel"
    ),
    # Lightning's advice on loader workers and batches to log, and what it still uses of torch.
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:.*pytree.*is deprecated"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    # torch tells that there is no accelerator to pin memory for.
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator"),
]

LIGHTNING = ("automatic", "manual", "accumulated")
"""The trained modules of the guide's first three blocks on Lightning, in their order."""


def lightning_blocks(*changes: tuple[str, str]) -> list[str]:
    """Automatic and manual optimization, and accumulation."""
    return [block("Lightning", 0, *changes), block("Lightning", 1), block("Lightning", 2)]


def test_lightning(space):
    pytest.importorskip("lightning")
    expected = trained(space, in_order(64, 3))
    for name, code in zip(LIGHTNING, lightning_blocks(), strict=True):
        module = run(code, space)[name]
        assert_same_weights(module.net, expected)
        assert module.trainer.global_step == 12
        logged = module.trainer.callback_metrics["loss"]
        last = space["inputs"][-64:], space["targets"][-64:]
        assert (
            0 < logged - on(*last)(module.net) < 0.1
        )  # the loss before the last step, which was taken on this batch


def test_fabric(space):
    pytest.importorskip("lightning")
    run(block("Lightning", 0).split("\n\ndef fit")[0], space)
    run(block("Lightning", 3), space)
    assert_same_weights(space["fabric_net"], trained(space, in_order(64, 2)))


def test_accelerate(space):
    pytest.importorskip("accelerate")
    data = torch.utils.data.TensorDataset(space["inputs"], space["targets"])
    space["loader"] = torch.utils.data.DataLoader(data, batch_size=64)
    run(block("Hugging Face", 0), space)
    assert_same_weights(space["net"], trained(space, in_order(256, 3)))


class CountsItems(torch.nn.Module):
    """A model like those of transformers: it divides by the number of items in the whole batch, if told."""

    accepts_loss_kwargs = True

    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x, labels, num_items_in_batch):
        logits = self.layers(x)
        return {"loss": cross_entropy(logits, labels, reduction="sum") / num_items_in_batch, "logits": logits}


@pytest.mark.parametrize("counts_items", [False, True])
def test_hugging_face_trainer(space, counts_items):
    """It shuffles, so the micro-batches of each step are written down."""
    pytest.importorskip("transformers")
    space["data"] = torch.utils.data.TensorDataset(space["inputs"], space["targets"])
    changes = [("trainer.train()\n", "")] + [("net = Net()", "net = CountsItems(network())")] * counts_items
    space["CountsItems"] = CountsItems
    run(block("Hugging Face", 1, *changes), space)
    net, optimizer = space["net"], space["trainer"].optimizer
    seen, said = [], []
    net.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((kwargs["x"], kwargs["labels"])), with_kwargs=True
    )

    def before(*_):
        micro_batches = seen[-4:]
        assert [len(x) for x, _ in micro_batches] == [16] * 4
        whole = [torch.cat(parts) for parts in zip(*micro_batches, strict=True)]
        said.append(by_hand(net.layers, on(*whole)))

    def after(*_):
        line = optimizer.line
        ours = [float(number) for number in (line.loss0, line.slope, line.loss_mu, line.step)]
        assert ours == pytest.approx(said[-1][:4], rel=1e-9)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    space["trainer"].train()
    assert len(said) == 12
    losses = [entry["loss"] for entry in space["trainer"].state.log_history if "loss" in entry]
    assert losses == pytest.approx([right.loss0 for right in said], abs=1e-4)


def process(rank: int, port: int, folder: str, codes: dict[str, str]) -> None:
    """One of two processes: run blocks of the guide, and save the network that each leaves under its name."""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in environment.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    os.chdir(folder)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    space = guide.beginning()
    for name, code in codes.items():
        try:
            run(code, space)
        except Exception as error:  # the other blocks have tests of their own
            torch.save(repr(error), f"{name}-{rank}.pt")
            continue
        weights = getattr(space[name], "net", space[name]).state_dict().values()
        whole = [value.full_tensor() if hasattr(value, "full_tensor") else value for value in weights]
        torch.save(whole, f"{name}-{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Path:
    """The folder with what two processes saved, which run all recipes for several of them in turn."""
    if not dist.is_available():
        pytest.skip("torch was built without torch.distributed")
    folder = tmp_path_factory.mktemp("processes")
    codes = {"net": block("Several processes", 0), "sharded": block("Several processes", 1)}
    if importlib.util.find_spec("lightning"):
        codes |= dict(
            zip(LIGHTNING, lightning_blocks(("devices=1", 'devices=2, strategy="ddp"')), strict=True)
        )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = mp.get_context("forkserver")
    server.set_forkserver_preload(
        ["lightning", "torch"]
    )  # imported once for both: most of the time goes there
    mp.start_processes(process, (port, str(folder), codes), nprocs=2, start_method="forkserver")
    return folder


def assert_both_have(folder: Path, name: str, expected: torch.nn.Module) -> None:
    """The two processes ended with the same weights, those of one process with the whole batches."""
    first, second = (torch.load(folder / f"{name}-{rank}.pt") for rank in range(2))
    assert not isinstance(first, str), first
    assert all(map(torch.equal, first, second))
    for ours, right in zip(first, expected.parameters(), strict=True):
        torch.testing.assert_close(ours, right.detach(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["net", pytest.param("sharded", marks=needs_sharding)])
def test_two_processes(two_processes, space, name):
    assert_both_have(two_processes, name, trained(space, in_order(256, 5)))


@pytest.mark.parametrize("name", LIGHTNING)
def test_lightning_on_two_processes(two_processes, space, name):
    """Lightning shuffles the data where it deals them out."""
    pytest.importorskip("lightning")
    batches = []
    for epoch in range(3):
        dealt = [DistributedSampler(range(256), 2, rank) for rank in range(2)]
        for sampler in dealt:
            sampler.set_epoch(epoch)
        first, second = map(list, dealt)
        batches += [first[rows] + second[rows] for rows in (slice(0, 64), slice(64, 128))]
    assert_both_have(two_processes, name, trained(space, batches))
