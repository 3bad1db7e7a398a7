"""The guide's recipes for frameworks and for several processes take the steps of the formula."""

import copy
import os
import socket
from pathlib import Path

import guide
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from guide import assert_same_weights, block, on, run, step_by_hand, trained
from torch.nn.functional import cross_entropy

pytestmark = [
    pytest.mark.skipif(not guide.PATH.is_file(), reason="the guide is part of the repository, not of the wheel"),
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


@pytest.fixture
def space(monkeypatch, tmp_path) -> dict:
    """What the first blocks of the guide define, in float64, so that steps can be compared to many digits."""
    monkeypatch.chdir(tmp_path)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield guide.beginning()
    torch.set_default_dtype(before)


def lightning_blocks(*changes: tuple[str, str]) -> list[str]:
    """Automatic and manual optimization, and accumulation."""
    return [block("Lightning", 0, *changes), block("Lightning", 1), block("Lightning", 2)]


def test_lightning(space):
    pytest.importorskip("lightning")
    expected = trained(space, 64, 3)
    for name, code in zip(LIGHTNING, lightning_blocks(), strict=True):
        module = run(code, space)[name]
        assert_same_weights(module.net, expected)
        assert module.trainer.global_step == 12
        logged = module.trainer.callback_metrics["loss"]
        last = space["inputs"][-64:], space["targets"][-64:]
        assert 0 < logged - on(*last)(module.net) < 0.1  # the loss before the last step, which was taken on this batch


def test_fabric(space):
    pytest.importorskip("lightning")
    run(block("Lightning", 0).split("\n\ndef fit")[0], space)
    run(block("Lightning", 3), space)
    assert_same_weights(space["fabric_net"], trained(space, 64, 2))


def test_accelerate(space):
    pytest.importorskip("accelerate")
    data = torch.utils.data.TensorDataset(space["inputs"], space["targets"])
    space["loader"] = torch.utils.data.DataLoader(data, batch_size=64)
    run(block("Hugging Face", 0), space)
    assert_same_weights(space["net"], trained(space, 256, 3))


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
    run(block("Hugging Face", 1, *changes), {"CountsItems": CountsItems} | space)
    net, optimizer = space["net"], space["trainer"].optimizer
    seen, said = [], []
    net.register_forward_pre_hook(lambda _, args, kwargs: seen.append((kwargs["x"], kwargs["labels"])), with_kwargs=True)

    def before(*_):
        micro_batches = seen[-4:]
        assert [len(x) for x, _ in micro_batches] == [16] * 4
        whole = [torch.cat(parts) for parts in zip(*micro_batches, strict=True)]
        said.append(step_by_hand(copy.deepcopy(net.layers), on(*whole)))

    def after(*_):
        line = optimizer.line
        ours = [float(number) for number in (line.loss0, line.loss_mu, line.slope, line.step)]
        assert ours == pytest.approx(said[-1], rel=1e-9)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    space["trainer"].train()
    assert len(said) == 12
    losses = [entry["loss"] for entry in space["trainer"].state.log_history if "loss" in entry]
    assert losses == pytest.approx([loss0 for loss0, *_ in said], abs=1e-4)


def space_with(space: dict) -> dict:
    space["CountsItems"] = CountsItems
    return space


def process(rank: int, port: int, folder: str, codes: list[str], names: list[str]) -> None:
    """One of two processes: run blocks of the guide, and save the networks that they leave under these names."""
    environment = {"RANK": rank, "LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in environment.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), GLOO_SOCKET_IFNAME="lo")
    os.chdir(folder)
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    space = guide.beginning()
    for code, name in zip(codes, names, strict=True):
        run(code, space)
        weights = getattr(space[name], "net", space[name]).state_dict()
        full = [value.full_tensor() if hasattr(value, "full_tensor") else value for value in weights.values()]
        torch.save(full, f"{name}-{rank}.pt")
    dist.destroy_process_group()


def assert_two_processes_agree(folder: Path, codes: list[str], names: list[str], expected: torch.nn.Module) -> None:
    """Run blocks in two processes; both must end with the weights of one process with the whole batch."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(process, (port, str(folder), codes, names), nprocs=2)
    for name in names:
        first, second = (torch.load(folder / f"{name}-{rank}.pt") for rank in range(2))
        assert all(map(torch.equal, first, second)), name
        for ours, right in zip(first, expected.parameters(), strict=True):
            torch.testing.assert_close(ours, right.detach(), rtol=1e-9, atol=1e-9)


def test_lightning_on_two_processes(space, tmp_path):
    pytest.importorskip("lightning")
    codes = lightning_blocks(("devices=1", 'devices=2, strategy="ddp"'))
    assert_two_processes_agree(tmp_path, codes, list(LIGHTNING), trained(space, 128, 3))


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
def test_distributed_data_parallel(space, tmp_path):
    codes = [block("Several processes", 0)]
    assert_two_processes_agree(tmp_path, codes, ["net"], trained(space, 256, 5))


@pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")
def test_fully_sharded(space, tmp_path):
    codes = [block("Several processes", 0), block("Several processes", 1)]
    assert_two_processes_agree(tmp_path, codes, ["net", "sharded"], trained(space, 256, 5))
