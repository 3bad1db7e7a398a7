"""Tables, verdicts, figures and report of what is finished, whatever is missing; and how they are taken away."""

import io
import zipfile

import pandas as pd
import pytest
from matplotlib.text import Text

from experiments import planning
from experiments.common.paths import REPOSITORY
from experiments.reports import drawings, execution, markdown, pages
from experiments.results import columns, export, missing, tables
from experiments.results.claims import judge
from experiments.runs import run_directory
from experiments.runs.finished import FinishedRun
from experiments.runs.key import run_key
from experiments.studies.base import get_study


def finished(config):
    """A run of a few steps."""
    short = config.model_copy(update={"steps": 24, "evaluate_every": 8})
    return FinishedRun(run_key(short), short, run_directory.execute(short, get_study(short.study).run))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The report of a profile of which one run of each study is finished, and one has failed."""
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PAL_RUNS", str(root / "runs"))
        for study in planning.load_profile("quick"):
            first, *left = planning.plan("quick", study).runs
            tables.write(study, "quick", [finished(first)], root)
            by_key = {run_key(config): config for config in left}
            missing.write("quick", study, by_key, {next(iter(by_key)): "it broke"}, root)
    judge.write("quick", root)
    for study in planning.load_profile("quick"):
        execution.execute(study, "quick", root)
    execution.execute("claims", "quick", root)
    markdown.write("quick", root)
    pages.index("quick", root)
    return root


def test_every_study_has_tables_and_figures_of_one_run(root):
    for study in planning.load_profile("quick"):
        assert len(tables.read("quick", study, "times", root)) == 1
        assert list((root / "figures" / "quick" / study).glob("*.png"))


def test_every_column_of_every_table_is_explained(root, monkeypatch):
    monkeypatch.setenv("PAL_RUNS", str(root / "runs"))
    results = export.load("quick", root)
    unknown = results.columns[results.columns["meaning"] == ""]
    assert unknown.empty, unknown[["table", "column"]].to_string()
    studies = {name.partition("/")[0] for name in results.tables}
    assert studies == {*planning.load_profile("quick"), "claims"}
    for path in (REPOSITORY / "results").glob("*/*.csv"):
        for column in pd.read_csv(path, nrows=0).columns:
            assert columns.explain(path.stem, column), (path, column)


def test_no_explanation_is_hidden_by_an_earlier_one_or_given_twice():
    rows = pd.read_csv(columns.FILE, keep_default_na=False)
    assert not rows.duplicated(["table", "column"]).any()
    assert (rows["meaning"] != "").all()


def test_one_file_has_all_runs_tables_and_explanations(root, monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_RUNS", str(root / "runs"))
    monkeypatch.chdir(tmp_path)
    files = [tmp_path / name for name in ("a.zip", "b.zip")]
    results, _ = (export.write("quick", file, root) for file in files)
    assert files[0].read_bytes() == files[1].read_bytes()
    with zipfile.ZipFile(files[0]) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    runs, explained = (pd.read_csv(io.BytesIO(content[name])) for name in ("runs.csv", "columns.csv"))
    assert len(runs) == len(planning.load_profile("quick"))  # one of each study
    assert set(runs["status"]) == {"completed"}
    assert {"settings.mu", "seconds", "test_accuracy", "provenance.commit"} <= set(runs)
    for name, table in results.tables.items():
        assert content[f"{name}.csv"].decode() == tables.text(table)
        assert set(explained.loc[explained["table"] == name, "column"]) == set(table)
    assert b"1 of them failed" in content["README.txt"]


def test_runs_that_are_not_here_have_what_the_tables_say(root, monkeypatch, tmp_path):
    monkeypatch.setenv("PAL_RUNS", str(tmp_path))
    runs = export.load("quick", root).runs
    assert set(runs["status"]) == {"absent"}
    assert runs["seconds"].gt(0).all()


def test_every_figure_of_the_report_is_drawn_in_the_width_of_a_column(root):
    place = root / "figures" / "quick"
    paths = [str(path.relative_to(place).with_suffix("")) for path in sorted(place.rglob("*.png"))]
    assert paths
    for path in paths:
        figure = drawings.find(path, "quick", root=root)(width=3.3, font_size=8, title=False)
        assert figure.get_figwidth() == 3.3
        figure.draw_without_rendering()
        inside = figure.get_tightbbox()
        assert inside.x0 >= -0.05, path
        assert inside.x1 <= 3.35, path
        sizes = {text.get_fontsize() for text in figure.findobj(Text) if text.get_text()}
        assert all(size in (8.0, pytest.approx(0.833 * 8)) for size in sizes), path  # "small" of matplotlib


def test_what_is_missing_is_named_in_tables_verdicts_and_report(root):
    left = missing.read("quick", "benchmark", root)
    count = len(planning.plan("quick", "benchmark", lambda _: planning.outcomes([])).runs) - 1
    assert left["state"].value_counts().to_dict() == {"not finished": count - 1, "failed": 1}
    assert left.loc[left["state"] == "failed", "reason"].tolist() == ["it broke"]
    report = (root / "reports" / "quick" / "REPORT.md").read_text()
    assert "This report is incomplete" in report
    assert f"`benchmark`: {count} runs are missing, 1 of them failed" in report
    scopes = judge.judged("quick", root)[0]["scope"]
    assert scopes.str.contains("runs are missing").all()


def test_whole_tables_stay_until_they_can_be_replaced_by_whole_ones(root):
    plan = planning.plan("quick", "lines").runs
    assert not missing.would_lose("quick", "lines", plan, root)
    missing.write("quick", "lines", {}, {}, root)
    assert missing.read("quick", "lines", root).empty
    assert missing.would_lose("quick", "lines", plan, root)
    assert not missing.would_lose("quick", "lines", plan[1:], root)
