"""docs/extend.md, followed word by word in a copy of the repository."""

import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import pandas as pd
import pytest
from copies import repository_copy

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

STAND_IN = """
import torch


class Lion(torch.optim.Optimizer):
    \"\"\"Stands for the package where it is not installed: this test adds none to the environment.\"\"\"

    def __init__(self, params, lr=1e-4, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                p.sub_(torch.lerp(p.grad, mean, group["betas"][0]).sign(), alpha=group["lr"])
                mean.lerp_(p.grad, 1 - group["betas"][1])
"""


class Reader:
    """Somebody who does what the page says, in order."""

    def __init__(self, root: Path) -> None:
        self.root, self.outputs, self.file = root, [], ""
        own = root.parent / "mine"
        own.mkdir()
        if find_spec("lion_pytorch") is None:
            (root.parent / "lion_pytorch.py").write_text(STAND_IN)
        paths = f"{root}{os.pathsep}{root.parent}"
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", PAL_SLOTS="1", PYTHONPATH=paths)
        self.before = self.contents()

    def contents(self) -> dict[Path, bytes]:
        """Files of the repository, without what is made."""
        made = ("runs", "results", "figures", "reports", ".dvc", ".cache", "data")
        return {
            path: path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file() and path.relative_to(self.root).parts[0] not in made and path.suffix != ".pyc"
        }

    def follow(self) -> None:
        page, place = (self.root / "docs" / "extend.md").read_text(), 0
        for block in BLOCK.finditer(page):
            self.act(page[place : block.start()].strip().rpartition("\n\n")[2], *block.groups())
            place = block.end()

    def act(self, words: str, kind: str, text: str) -> None:
        words = " ".join(words.split())
        if kind == "bash":
            for line in text.splitlines():
                self.run(line)
        elif found := re.search(r"Create `([^`]+)`:$", words):
            self.write(found[1], text)
        else:
            self.change(words, text)

    def change(self, words: str, text: str) -> None:
        (name, how, line) = re.findall(
            r"In `([^`]+)`, (at the end|below|instead of)(?: `([^`]+)`)?:$", words
        )[0]
        old = (self.root / name).read_text()
        if how == "at the end":
            new = f"{old}\n\n{text}" if name.endswith(".py") else old + text
        else:
            (whole,) = [one for one in old.splitlines() if one.strip() == line]
            new = old.replace(f"{whole}\n", text if how == "instead of" else f"{whole}\n{text}", 1)
        assert new != old
        self.write(name, new)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def run(self, line: str) -> None:
        command = line.split()
        if command[0] == "make":
            return
        done = subprocess.run(
            [sys.executable, *command[1:]],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        self.outputs.append((line, set((self.root / "runs").glob("[0-9a-f]*"))))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    root = repository_copy(tmp_path_factory.mktemp("outer") / "copy")
    found = Reader(root)
    found.follow()
    return found


def test_only_what_is_new_runs_and_nothing_is_made_again(reader):
    studies = [(line.split()[4], runs) for line, runs in reader.outputs if " study " in line]
    counts = [(name, len(runs)) for name, runs in studies]
    assert counts[:3] == [("benchmark", 6), ("benchmark", 30), ("benchmark", 30 + 5 * 2 * (2 + 2))]
    assert [count - counts[2][1] for _, count in counts[3:]] == [9, 9 + 9]
    for (_, fewer), (_, more) in pairwise(studies):
        assert fewer < more


def test_no_file_of_the_repository_is_edited(reader):
    now = reader.contents()
    added = {str(path.relative_to(reader.root)) for path in set(now) - set(reader.before)}
    assert added == {"profiles/mine.yaml"}
    assert all(now[path] == content for path, content in reader.before.items())


def test_own_things_are_in_tables(reader):
    place = reader.root / "results" / "mine" / "benchmark"
    runs = pd.read_csv(place / "runs.csv")
    assert set(runs["problem"]) == {"digits-mlp", "diabetes", "wine", "wine-tanh", "robust"}
    assert set(runs.loc[runs["method"] == "lion", "setting"]) == {
        "lr=0.01 betas=0.9,0.99",
        "lr=0.001 betas=0.9,0.99",
    }
    assert set(runs.loc[runs["method"] == "following", "setting"].str.split().str[-1]) == {
        "memory=0.9",
        "memory=0.99",
    }
    completed = runs[(runs["problem"] == "robust") & (runs["status"] == "completed")]
    assert completed[["final_val_mae", "test_mae"]].notna().all(axis=None)
    assert len(completed) >= 10
    best = pd.read_csv(place / "best.csv")
    criteria = best.groupby("problem")["criterion"].agg(lambda names: sorted(set(names)))
    assert criteria["robust"] == criteria["diabetes"] == ["training loss", "validation loss"]
    assert criteria["wine"] == ["training loss", "validation accuracy"]


def test_claims_have_verdicts_and_figures_are_drawn(reader):
    claims = pd.read_csv(reader.root / "results" / "mine" / "claims.csv").set_index("id")
    declared = [f"not-worse-{name}-pal-0.4-val-accuracy" for name in ("pal-0.2", "following")]
    for name in ["steps-grow", *declared]:
        assert claims.loc[name, "verdict"] in ("supported", "contradicted", "undecided")
    assert claims.loc["lines-convex", "verdict"] == "not measured"
    figures = reader.root / "figures" / "mine"
    assert {file.name for file in (figures / "batches").iterdir()} == {
        f"step-sizes.{kind}" for kind in ("png", "pdf", "json")
    }
    assert (figures / "ablation" / "variants.png").is_file()
    assert (figures / "benchmark" / "comparison-diabetes.png").is_file()
    page = (reader.root / "reports" / "mine" / "index.html").read_text()
    assert "longer steps with larger batches" in page
    assert "step-sizes" in page


def test_editing_one_thing_runs_only_what_uses_it(reader):
    things = reader.root.parent / "mine" / "things.py"
    text = things.read_text()
    before = set((reader.root / "runs").glob("[0-9a-f]*"))
    things.write_text(text.replace("nn.Tanh()", "nn.ReLU()") + "\n\ndef unused(): ...\n")
    try:
        reader.run("python -m experiments study benchmark --profile mine --only wine*,seed=0,sgd")
    finally:
        things.write_text(text)
    assert len(set((reader.root / "runs").glob("[0-9a-f]*")) - before) == 2
    shutil.rmtree(things.parent)
