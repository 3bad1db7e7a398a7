"""docs/extend.md, followed word by word in a copy of the repository."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from copies import repository_copy

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Reader:
    """Somebody who does what the page says, in order."""

    def __init__(self, root: Path) -> None:
        self.root, self.outputs = root, []
        self.environment = dict(os.environ, OMP_NUM_THREADS="1", PAL_SLOTS="1", PYTHONPATH=str(root))

    def follow(self) -> None:
        page, place = (self.root / "docs" / "extend.md").read_text(), 0
        for block in BLOCK.finditer(page):
            self.act(page[place : block.start()].strip().rpartition("\n\n")[2], *block.groups())
            place = block.end()

    def act(self, words: str, kind: str, text: str) -> None:
        words = " ".join(words.split())
        if kind == "bash":
            for line in text.splitlines():
                self.run([sys.executable, *line.split()[1:]])
        elif found := re.search(r"Create `([^`]+)`:$", words):
            self.write(found[1], text)
        elif words.endswith("and draw:"):
            self.draw(text)
        else:
            self.change(words, text)

    def change(self, words: str, text: str) -> None:
        named = re.search(r"In `([^`]+)`", words)
        self.file = named[1] if named else self.file
        old = (self.root / self.file).read_text()
        if "at the end" in words:
            new = old + text
        else:
            how, line = re.search(r"(below|instead of) `([^`]+)`", words).groups()
            (whole,) = [one for one in old.splitlines() if one.strip() == line]
            new = old.replace(f"{whole}\n", text if how == "instead of" else f"{whole}\n{text}", 1)
        assert new != old
        self.write(self.file, new)

    def draw(self, text: str) -> None:
        """Copy the notebook, keep the cells that the page names, and add one."""
        book = json.loads((self.root / "notebooks" / "lines.ipynb").read_text())
        parameters, imports = [cell for cell in book["cells"] if cell["cell_type"] == "code"][:2]
        kept = "".join(imports["source"]).splitlines()[:-2]
        book["cells"] = [
            parameters,
            imports | {"source": "\n".join(kept)},
            imports | {"id": "drawing", "source": text},
        ]
        self.write("notebooks/batches.ipynb", json.dumps(book))

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def run(self, command: list[str]) -> None:
        done = subprocess.run(
            command, cwd=self.root, env=self.environment, capture_output=True, text=True, timeout=240
        )
        assert done.returncode == 0, done.stderr
        self.outputs.append((command, set((self.root / "runs").glob("[0-9a-f]*")), done.stdout))


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    root = repository_copy(tmp_path_factory.mktemp("copy"))
    found = Reader(root)
    found.follow()
    return found


def test_only_what_is_new_runs(reader):
    counts = [len(runs) for command, runs, _ in reader.outputs if "study" in command]
    assert counts == [6, 6 + 2 + 4, 6 + 2 + 4 + 1 + 9]  # the single run comes before the last
    benchmark = [runs for command, runs, _ in reader.outputs if "benchmark" in command]
    assert benchmark[0] < benchmark[1]


def test_a_new_optimizer_is_in_tables_and_figures(reader):
    runs = pd.read_csv(reader.root / "results" / "mine" / "benchmark" / "runs.csv")
    assert set(runs.loc[runs["method"] == "signsgd", "setting"]) == {"lr=0.001", "lr=0.0001"}
    from experiments import figures

    folder = reader.root / "results" / "mine" / "benchmark"
    tables = [pd.read_csv(folder / f"{name}.csv") for name in ("runs", "curves", "best")]
    figure = figures.comparison(*tables, "digits-mlp")
    assert "signsgd" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_new_study_has_a_claim_with_a_verdict_and_a_figure(reader):
    claims = pd.read_csv(reader.root / "results" / "mine" / "claims.csv").set_index("id")
    assert claims.loc["steps-grow", "verdict"] in ("supported", "contradicted", "undecided")
    assert claims.loc["lines-convex", "verdict"] == "not measured"
    figures = reader.root / "figures" / "mine" / "batches"
    assert {file.name for file in figures.iterdir()} == {
        f"step-sizes.{kind}" for kind in ("png", "pdf", "json")
    }
    page = (reader.root / "reports" / "mine" / "index.html").read_text()
    assert "steps-grow" in page or "longer steps with larger batches" in page
    assert "step-sizes" in page
