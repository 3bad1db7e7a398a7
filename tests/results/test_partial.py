"""Tables, verdicts, figures and report of what is finished, whatever is missing."""

import pytest

from experiments import planning
from experiments.reports import execution, markdown, pages
from experiments.results import missing, tables
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
        patch.setenv("PAL_RUNS", str(tmp_path_factory.mktemp("runs")))
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
