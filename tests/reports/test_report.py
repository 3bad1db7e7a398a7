"""The report: pages that open from disk, and sentences where something is missing."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from multiprocessing import get_context

import matplotlib as mpl
import nbformat
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from rich.console import Console
from sample_tables import table

from experiments.common import endings
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.reports import execution, markdown, pages, terminal, words
from experiments.reports.notebook import Session, figures_folder
from experiments.results import tables
from experiments.results.claims import judge
from experiments.results.claims.registry import all_claims
from experiments.results.claims.statistics import OVER

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
WORDS = "the loss is {value} [lower|higher] than that of {part}"
VERDICT = {
    "id": "loss-constant",
    "claim": "Losses are <low>.",
    "whose": "paper",
    "source": "abstract [certain]",
    "test": "log10 loss",
    "study": "benchmark",
    "unit": "pairs of trainings",
    "post_hoc": "",
    "figure": "benchmark/",
    "scope": "digits",
    "part": "sgd",
    "mean": 0.91,
    "low": 0.8,
    "high": 0.99,
    "n": 12,
    "problems": 2,
    "rule": "above",
    "bound": 0.5,
    "smallest": 0.05,
    "detectable": 0.04,
    "p": 0.001,
    "words": WORDS,
    "scale": "",
    "measure_unit": "log10 loss",
    "verdict": "supported",
    "reason": "",
}
NUMBERS = ("mean", "low", "high", "p", "n")
MISSING = VERDICT | {
    "id": "two",
    "claim": "Nobody knows.",
    "verdict": "not measured",
    "reason": "nothing was run",
}
MISSING |= dict.fromkeys(NUMBERS)


@pytest.fixture
def results(tmp_path):
    """A root with verdicts, estimates for two problems, and the provenance of two studies."""
    claims = judge.with_q(pd.DataFrame([VERDICT, MISSING]).reindex(columns=judge.CLAIM_COLUMNS))
    names = [OVER, "digits-cnn", "digits-mlp"]
    estimates = pd.concat([claims[:1].assign(problem=name, slack=1.0, obstacle="") for name in names])
    path = tables.verdicts("quick", tmp_path)
    path.with_suffix("").mkdir(parents=True)
    tables.replace(claims, path)
    tables.replace(estimates.reindex(columns=judge.ESTIMATE_COLUMNS), path.with_suffix("") / "problems.csv")
    tables.replace(pd.DataFrame(columns=judge.VALUE_COLUMNS), path.with_suffix("") / "values.csv")
    for study in ("benchmark", "lines"):
        (path.parent / study).mkdir(parents=True)
        for name, known in {"provenance": {"commit": "abc123"}, "times": {}}.items():
            tables.replace(table(f"{study}/{name}", 1, **known), path.parent / study / f"{name}.csv")
    picture = figures_folder("quick", "benchmark", tmp_path) / "shape.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"")
    return tmp_path


def test_the_front_page_has_verdicts_figures_tables_and_provenance(results):
    markdown.write("quick", results)
    text = pages.index("quick", results).read_text()
    for wanted in (
        "Losses are &lt;low&gt;.",
        "supported",
        "not measured",
        "0.91 lower",
        "0.8 to 0.99",
        "abc123",
    ):
        assert wanted in text
    for link in re.findall(r'(?:src|href)="(\.\./[^"]+)"', text):
        if not link.endswith(".pdf"):
            assert (results / "reports" / "quick" / link).exists(), link


def test_processes_can_be_spawned_after_a_notebook_was_executed(results):
    execution.execute("claims", "quick", results)
    process = get_context("spawn").Process(target=abs, args=(-1,))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_a_notebook_becomes_a_page_that_needs_no_network(results):
    page = execution.execute("claims", "quick", results)
    text = page.read_text()
    assert "loss-constant" in text
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
    with pytest.raises(UserError, match=r"notebooks/claims\.ipynb: .*claims.csv does not exist"):
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
    assert judge.metrics(pd.DataFrame([VERDICT, MISSING])) == {
        "verdicts": {"supported": 1, "not measured": 1},
        "measured": {"loss-constant": 0.91},
    }


def test_the_markdown_report_has_every_claim_with_its_verdict_and_links_that_lead_somewhere(results):
    text = markdown.write("quick", results).read_text()
    assert "| [loss-constant](#loss-constant-supported) | **supported** | ✓ | ✓ |" in text
    assert (
        "The loss is 0.91 lower than that of SGD (95% interval 0.8 to 0.99; n = 12 pairs of trainings on 2 problems)."
        in text
    )
    assert (
        "Smallest effect of interest: 0.05 log10 loss; this design could have seen 0.04 (80 % power)." in text
    )
    assert "### two: not measured" in text
    assert "Nothing was run." in text
    assert "2 claims: 1 supported, 1 not measured." in text
    assert "1 claims were tested" in text
    assert "../../figures/quick/benchmark/shape.png" in text
    assert "[values of the trainings](../../results/quick/claims/values.csv)" in text


def test_links_within_the_page_lead_to_a_heading(results):
    markdown.write("quick", results)
    page = pages.index("quick", results).read_text()
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'<h[23] id="([^"]+)"', page))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        (
            {"mean": -0.5, "low": -0.6, "high": -0.4},
            "The loss is 0.5 higher than that of SGD (95% interval 0.4 to 0.6; ",
        ),
        (
            {"scale": "10", "words": "{value} times", "mean": 1, "low": 0, "high": 2},
            "10 times (95% interval 1 to 100; ",
        ),
        ({"part": "loss, sls"}, "that of SLS ("),
        (
            {"low": float("nan"), "high": float("nan"), "n": 1, "problems": 0},
            "that of SGD (n = 1 pairs of trainings).",
        ),
        ({"rule": "within"}, "that of SGD (95% interval"),
    ],
)
def test_a_verdict_is_said_in_a_sentence(changes, wanted):
    assert wanted in words.sentence(VERDICT | changes)
    assert "{" not in words.sentence(VERDICT | changes) + words.rule(VERDICT | changes)


@pytest.mark.parametrize(
    ("side", "wanted"),
    [
        ("above", "above 0, contradicted if it is below 0.05, "),
        ("below", "below 0, contradicted if it is above −0.05, "),
    ],
)
def test_the_rule_of_a_claim_that_there_is_an_effect_names_the_effect_that_contradicts_if_excluded(
    side, wanted
):
    assert wanted in words.rule(VERDICT | {"rule": side, "bound": 0.0, "smallest": 0.05})


@settings(max_examples=20)
@given(
    names=st.lists(st.text("abcdefghij-16", min_size=1, max_size=40), min_size=1, max_size=18, unique=True),
    verdict=st.sampled_from([name for name in words.SYMBOLS if name != "not measured"]),
)
def test_a_terminal_of_80_columns_breaks_no_word(names, verdict):
    claims = pd.DataFrame([VERDICT | {"verdict": verdict}])
    estimates = pd.concat([claims.assign(problem=name) for name in [OVER, *names]])
    shown = Console(width=80, file=io.StringIO())
    for part in terminal.parts(claims, estimates):
        shown.print(part)
    lines = shown.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    for word in ("loss-constant", verdict, *names, "95%", "interval", "0.99;", "trainings"):
        assert word in text


def test_notebooks_are_executed_where_processes_cannot_be_forked(results):
    words = f"""
from pathlib import Path
from experiments.reports import execution
execution.START = "spawn"
execution.execute_some(["claims"], "quick", Path({str(results)!r}))
"""
    subprocess.run([sys.executable, "-c", words], cwd=REPOSITORY, check=True)
    assert "loss-constant" in pages.page("quick", "claims", results).read_text()


def test_notebooks_run_from_any_folder(results, tmp_path):
    book = nbformat.read(REPOSITORY / "notebooks" / "claims.ipynb", as_version=4)
    words = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    words = words.replace("root = None", f"root = {str(results)!r}")
    command = [sys.executable, "-c", words]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True).returncode == 0
    assert (figures_folder("quick", "claims", results) / "verdicts.pdf").stat().st_size > 1000


def test_beside_a_figure_stands_what_it_was_made_of(tmp_path):
    place = tables.folder("quick", "lines", tmp_path)
    for name, rows in {
        "lines": {"at": [0, 1]},
        "times": {"key": ["b2", "a1"], "seconds": [1.0, 2.0]},
        "provenance": {"commit": ["abc123", None], "runs": [1, 1]},
    }.items():
        tables.replace(table(f"lines/{name}", **rows), place / f"{name}.csv")
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
        assert text.endswith("|\n<!-- end of verdicts -->\nz\n")
        assert "bygone" not in text


def test_the_readme_says_what_the_committed_results_say():
    _, _, rest = (REPOSITORY / "README.md").read_text().partition("<!-- verdicts of small -->\n")
    shown, _, _ = rest.partition("<!-- end of verdicts -->")
    known = tables.verdicts("small").is_file()
    assert shown == (markdown.for_readme(tables.verdicts_of("small")[0]) + "\n" if known else "")


def test_the_readme_counts_the_papers_claims_and_shows_the_main_ones():
    main = VERDICT | {"id": "loss-scheduled", "reason": "contradicted on 2 of 3 problems"}
    beyond = VERDICT | {"id": "two", "claim": "Beyond.", "whose": "ours"}
    minor = VERDICT | {"id": "three", "claim": "Minor."}
    text = markdown.for_readme(pd.DataFrame([main, beyond, minor]))
    assert "2 claims: 2 supported." in text
    assert "Losses are" in text
    assert "). Contradicted on 2 of 3 problems. |" in text
    assert "Beyond." not in text
    assert "Minor." not in text


def test_the_main_claims_are_claims_of_the_paper():
    papers = {claim.id for claim in all_claims() if claim.whose == "paper"}
    assert papers.issuperset(markdown.HEADLINES)


def test_a_verdict_that_chance_explains_is_named():
    rows = [VERDICT | {"id": f"c{place}", "p": p} for place, p in enumerate([0.001, 0.04, 0.9, 0.9])]
    rows[2]["verdict"] = rows[3]["verdict"] = "undecided"
    text = words.multiplicity(judge.with_q(pd.DataFrame(rows)))
    assert "4 claims were tested" in text
    assert "Of the 2 verdicts, 1 remain" in text
    assert "these do not: `c1`" in text
