"""The report: pages that open from disk, and sentences where something is missing."""

import json
import os
import re
import signal

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments.cli import main as cli
from experiments.common import endings
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.reports import execution, markdown, pages
from experiments.reports.notebook import Session, figures_folder
from experiments.results import tables
from experiments.results.claims import judge
from experiments.results.claims.registry import all_claims

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
VERDICT = {
    "id": "lines-convex",
    "claim": "Losses are <convex>.",
    "source": "abstract",
    "test": "share of lines",
}
VERDICT |= {"threshold": 0.5, "study": "lines", "figure": "lines/", "explanation": "share", "scope": "digits"}
VERDICT |= {"measured": 0.91, "low": 0.8, "high": 0.99, "n": 12, "verdict": "supported"}


@pytest.fixture
def results(tmp_path):
    """A root with verdicts and the provenance of two studies."""
    missing = VERDICT | {"id": "two", "claim": "Nobody knows.", "verdict": "not measured", "n": 0}
    table = pd.DataFrame([VERDICT, missing | {"measured": None, "low": None, "high": None}])
    path = tables.verdicts("quick", tmp_path)
    for study in ("benchmark", "lines"):
        (path.parent / study).mkdir(parents=True)
        (path.parent / study / "provenance.csv").write_text("problem,commit,torch\ndigits,abc123,2.15\n")
        (path.parent / study / "times.csv").write_text("key\nabcd\n")
    table.to_csv(path, index=False)
    picture = figures_folder("quick", "lines", tmp_path) / "shape.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"")
    return tmp_path


def test_the_front_page_has_verdicts_figures_tables_and_provenance(results):
    markdown.write("quick", results)
    text = pages.index("quick", results).read_text()
    for wanted in (
        "Losses are &lt;convex&gt;.",
        "supported",
        "not measured",
        "0.91",
        "0.8 to 0.99",
        "abc123",
    ):
        assert wanted in text
    for link in re.findall(r'(?:src|href)="(\.\./[^"]+)"', text):
        if not link.endswith(".pdf"):
            assert (results / "reports" / "quick" / link).exists(), link


def test_a_notebook_becomes_a_page_that_needs_no_network(results):
    page = execution.execute("claims", "quick", results)
    text = page.read_text()
    assert "Losses are &lt;convex&gt;." in text
    assert "data:image/png;base64," in text
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert (figures_folder("quick", "claims", results) / "verdicts.pdf").stat().st_size > 1000
    assert [path.name for path in page.parent.iterdir()] == ["claims.html"]


def test_a_person_who_has_set_up_matplotlib_gets_the_same_figures(results):
    def drawn():
        execution.execute("claims", "quick", results)
        folder = figures_folder("quick", "claims", results)
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    wanted = drawn()
    with mpl.rc_context(
        {"savefig.dpi": 300, "font.family": "serif", "savefig.transparent": True, "text.usetex": True}
    ):
        assert drawn() == wanted


def killed(name, *_):
    """Stands for the execution of a notebook for which there is not enough memory."""
    if name == "claims":
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture
def signals():
    """Handles signals as a command does."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number in before:
        signal.signal(number, endings._end)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_notebook_whose_process_is_killed_is_named_and_the_others_end_silently(monkeypatch, signals, capfd):
    monkeypatch.setattr(execution, "execute", killed)
    monkeypatch.setattr(execution, "cpu_count", lambda **_: 4)
    execution.execute_some(["lines"], "quick")
    with pytest.raises(UserError, match="killed .out of memory.* claims"):
        execution.execute_some(["claims"], "quick")
    assert capfd.readouterr().err == ""


def test_a_cell_that_fails_is_one_sentence_and_leaves_no_page(tmp_path):
    with pytest.raises(UserError, match=r"notebooks/claims\.ipynb: .*claims.csv is not there"):
        execution.execute("claims", "quick", tmp_path)
    assert not (tmp_path / "reports").exists()


def test_an_unknown_notebook_is_named_with_the_nearest():
    with pytest.raises(UserError, match=r"no notebook 'line' .*did you mean 'lines'"):
        execution.execute("line", "quick")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin_and_stripped(path):
    notebook = nbformat.reads(path.read_text(), as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    assert sum("parameters" in cell.metadata.get("tags", []) for cell in code) == 1
    assert max(len(cell.source.splitlines()) for cell in code) <= 16
    assert notebook.cells[0].cell_type == "markdown"
    assert json.loads(path.read_text())["nbformat_minor"] >= 5


def test_metrics_are_what_was_measured_and_how_many_claims_have_which_verdict():
    missing = VERDICT | {"id": "two", "verdict": "not measured", "measured": None}
    assert judge.metrics(pd.DataFrame([VERDICT, missing])) == {
        "verdicts": {"supported": 1, "not measured": 1},
        "measured": {"lines-convex": 0.91},
    }


def test_the_markdown_report_has_every_claim_with_its_verdict_and_links_that_lead_somewhere(results):
    text = markdown.write("quick", results).read_text()
    assert "| Losses are <convex>. | 0.91 (0.8 to 0.99) | above 0.5 | 12 | **supported** |" in text
    assert "### two: not measured" in text
    assert "2 claims: 1 supported, 1 not measured." in text
    assert "../../figures/quick/lines/shape.png" in text


def test_beside_a_figure_stands_what_it_was_made_of(tmp_path):
    place = tables.folder("quick", "lines", tmp_path)
    for name, rows in {
        "lines": {"at": [0, 1]},
        "times": {"key": ["b2", "a1"], "seconds": [1.0, 2.0]},
        "provenance": {"commit": ["abc123", None], "runs": [1, 1]},
    }.items():
        tables.replace(pd.DataFrame(rows), place / f"{name}.csv")
    notes = Session("shapes", "quick", tmp_path)
    notes.table("lines", "lines")
    notes.show(Figure(), "empty")
    folder = figures_folder("quick", "shapes", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["empty.json", "empty.pdf", "empty.png"]
    assert json.loads((folder / "empty.json").read_text()) == {
        "profile": "quick",
        "tables": ["results/quick/lines/lines.csv"],
        "commits": ["abc123"],
        "runs": {"lines": ["a1", "b2"]},
    }


def test_the_readme_takes_the_verdicts_of_the_profile_it_names(results):
    readme = results / "README.md"
    readme.write_text("a\n<!-- verdicts of quick -->\nbygone\n<!-- end of verdicts -->\nz\n")
    for _ in range(2):
        markdown.into_readme("quick", results)
        markdown.into_readme("small", results)
        text = readme.read_text()
        assert text.startswith("a\n<!-- verdicts of quick -->\n2 claims: ")
        assert text.endswith("| **supported** |\n<!-- end of verdicts -->\nz\n")
        assert "bygone" not in text


def test_the_readme_says_what_the_committed_results_say():
    verdicts = pd.read_csv(tables.verdicts("small"))
    readme = (REPOSITORY / "README.md").read_text()
    assert markdown.for_readme(verdicts) in readme


def test_the_readme_counts_the_papers_claims_and_shows_the_main_ones():
    beyond = VERDICT | {"id": "two", "claim": "Beyond.", "study": "capacity"}
    minor = VERDICT | {"id": "three", "claim": "Minor."}
    text = markdown.for_readme(pd.DataFrame([VERDICT, beyond, minor]))
    assert "2 claims: 2 supported." in text
    assert "Losses are" in text
    assert "Beyond." not in text
    assert "Minor." not in text


def test_the_main_claims_are_claims_of_the_paper():
    papers = {claim.id for claim in all_claims() if claim.study not in markdown.BEYOND}
    assert papers.issuperset(markdown.HEADLINES)


def test_the_verdicts_are_shown_on_a_terminal_where_there_are_any(capsys):
    assert cli.main(["claims", "--profile", "small", "--show"]) == 0
    assert re.search(r"PAL's steps .* (supported|contradicted|undecided)", capsys.readouterr().out)
    assert cli.main(["claims", "--profile", "paper", "--show"]) == 2
    assert "`make reproduce PROFILE=paper` makes it" in capsys.readouterr().err
