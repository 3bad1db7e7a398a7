"""Every code block of docs/optimizer.md runs, and trains."""

import re
from pathlib import Path

import pytest
import torch

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "optimizer.md"

pytestmark = [
    pytest.mark.skipif(not GUIDE.is_file(), reason="the guide is part of the repository, not of the wheel"),
    # Lightning's advice on loader workers and batches to log, and what it still uses of torch.
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:.*pytree.*is deprecated"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),
    # torch tells that there is no accelerator to pin memory for.
    pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true but no accelerator"),
]


def blocks(*titles: str) -> str:
    """The code of some sections."""
    text = GUIDE.read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    chosen = [section for section in sections if section.startswith(titles)]
    assert len(chosen) == len(titles)
    return "\n".join(
        code for section in chosen for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    )


def run(*titles: str, tmp_path, monkeypatch) -> dict:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    space: dict = {"__name__": "guide"}
    exec(compile(blocks(*titles), str(GUIDE), "exec"), space)
    return space


def accuracy(space: dict, logits: torch.Tensor) -> float:
    return (logits.argmax(1) == space["targets"]).float().mean().item()


def test_plain_loop_and_mixed_precision(tmp_path, monkeypatch, capsys):
    space = run("A plain loop", "Mixed precision", tmp_path=tmp_path, monkeypatch=monkeypatch)
    assert re.match(r"loss \d\.\d{3}, step \d", capsys.readouterr().out)
    assert accuracy(space, space["model"].eval()(space["inputs"])) > 0.8
    assert space["model"][1].num_batches_tracked == 20 + 4 + 3


def test_lightning(tmp_path, monkeypatch):
    pytest.importorskip("lightning")
    space = run("A plain loop", "Lightning", tmp_path=tmp_path, monkeypatch=monkeypatch)
    classifier = space["classifier"]
    assert space["trainer"].global_step == 12
    assert classifier.net[1].num_batches_tracked == 12
    assert accuracy(space, classifier.net.eval()(space["inputs"])) > 0.8


def test_hugging_face_trainer(tmp_path, monkeypatch):
    pytest.importorskip("transformers")
    space = run("A plain loop", "Hugging Face Trainer", tmp_path=tmp_path, monkeypatch=monkeypatch)
    losses = [entry["loss"] for entry in space["hf_trainer"].state.log_history if "loss" in entry]
    assert len(losses) == 12
    assert losses[-1] < 0.7 * losses[0]
