"""The pipeline and the environment as files: what a fresh clone relies on."""

import errno
import fcntl
import json
import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from zc.lockfile import LockError, LockFile

from experiments import pipeline, planning
from experiments.common import code_digest
from experiments.common.errors import UserError
from experiments.common.profiles import parts
from experiments.optimizers import OPTIMIZERS
from experiments.results import tables

REPOSITORY = Path(__file__).resolve().parents[1]
MADE = ("results/", "figures/", "reports/")


def stages() -> dict:
    return yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def expanded(stage: dict) -> list[dict]:
    """The stages that DVC makes of one entry: `foreach` unrolled, words filled in."""
    body = stage.get("do", stage)
    text = yaml.safe_dump(body).replace("${profile}", "quick")
    return [yaml.safe_load(text.replace("${item}", item)) for item in stage.get("foreach", [""])]


def read(stage: dict) -> set[str]:
    """Every file and folder that a stage depends on."""
    return {*stage.get("deps", ()), *(path for one in stage.get("params", ()) for path in one)}


@pytest.mark.parametrize("name", stages())
def test_every_source_that_a_stage_names_exists(name):
    for stage in expanded(stages()[name]):
        for source in read(stage):
            if not source.startswith(MADE):
                assert (REPOSITORY / source).exists(), f"stage {name} depends on {source}"


@pytest.mark.parametrize("name", stages())
def test_what_a_stage_reads_another_stage_makes(name):
    made = {
        path for stage in stages().values() for one in expanded(stage) for out in one["outs"] for path in out
    }
    for stage in expanded(stages()[name]):
        assert {source for source in read(stage) if source.startswith(MADE)} <= made


def test_the_plan_depends_on_all_code_that_its_numbers_are_made_of():
    named = [REPOSITORY / dep for dep in stages()["plan"]["deps"]]
    studies = [f"experiments.studies.{study}" for study in stages()["study"]["foreach"]]
    made_by = [tables.module_of(study) for study in stages()["study"]["foreach"]]
    for module in code_digest.files(*studies, *made_by, *planning.TABLES_CODE).values():
        assert any(module == dep or dep in module.parents for dep in named), module


def test_study_stages_follow_their_plan_and_their_section_of_the_profile():
    for study, stage in zip(stages()["study"]["foreach"], expanded(stages()["study"]), strict=True):
        assert stage["params"] == [
            {f"{path}": [study]} for path in ("results/quick/plan.json", "profiles/quick.yaml")
        ]


WHOLE = (REPOSITORY / "dvc.yaml").read_text()


def test_copies_of_the_pipeline_are_copies():
    for copy in REPOSITORY.glob("results/*/dvc.yaml"):
        sections = planning.load_profile(copy.parent.name)
        assert copy.read_text() == pipeline.for_studies(WHOLE, list(sections), parts(sections))
    assert pipeline.for_studies(WHOLE, stages()["study"]["foreach"][::-1], {}) == WHOLE


def test_each_part_of_a_study_is_a_stage_before_its_tables():
    found = yaml.safe_load(pipeline.for_studies(WHOLE, ["lines", "horizon"], {"lines": 2, "horizon": 1}))
    part, study = found["stages"]["part"], found["stages"]["study"]["do"]
    assert list(part["foreach"]) == ["lines-1", "lines-2", "horizon-1"]
    assert part["foreach"]["lines-2"] == {"study": "lines", "part": 2}
    (out,) = part["do"]["outs"][0]
    (folder,) = study["deps"]
    assert out.startswith(folder.replace("${item}", "${item.study}"))
    assert parts({"lines": [{}, {}], "horizon": {}}) == {"lines": 2, "horizon": 1}
    assert parts({"lines": [{}], "horizon": {}}) == {}


def test_a_profile_of_some_studies_and_one_of_its_own_has_a_pipeline_of_just_these():
    found = yaml.safe_load(pipeline.for_studies(WHOLE, ["lines", "twin"], {}))
    assert found["stages"]["study"]["foreach"] == ["lines", "twin"]
    claims = [dep for dep in found["stages"]["claims"]["deps"] if dep.startswith("results/")]
    assert claims == ["results/${profile}/lines", "results/${profile}/twin"]
    assert [path for plot in found["plots"] for path in plot] == [
        "${root}/results/${profile}/lines/lines.csv"
    ]
    assert found["stages"]["study"]["do"] == stages()["study"]["do"]
    assert found["stages"]["report"] == stages()["report"]


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"stages: [", b"stages: {}", b"[]"])
def test_a_pipeline_that_is_none_is_named_with_the_next_step(content, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "REPOSITORY", tmp_path)
    if content is not None:
        (tmp_path / "dvc.yaml").write_bytes(content)
    with pytest.raises(UserError, match="dvc.yaml is no pipeline .*; restore it from git"):
        pipeline.write_pipeline("small")


def test_dvc_waits_for_no_lock_where_there_are_none_and_heeds_those_that_there_are(tmp_path, monkeypatch):
    pipeline.use_our_locks()
    held = LockFile(tmp_path / "lock")
    with pytest.raises(LockError):
        LockFile(tmp_path / "lock")
    held.close()
    LockFile(tmp_path / "lock").close()

    def refuse(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    several = [LockFile(tmp_path / "lock") for _ in range(2)]
    for one in several:
        one.close()


def test_another_optimizer_makes_no_study_stale_and_another_step_every_one(monkeypatch):
    before = {study: planning.digest("quick", study) for study in stages()["study"]["foreach"]}
    assert len(set(before.values())) == len(before)
    monkeypatch.setitem(OPTIMIZERS, "another", OPTIMIZERS["sgd"])
    assert {study: planning.digest("quick", study) for study in before} == before
    changed = replace(OPTIMIZERS["pal"], captured=None)
    monkeypatch.setitem(OPTIMIZERS, "pal", changed)
    assert planning.digest("quick", "lines") != before["lines"]


def test_outputs_of_the_quick_profile_are_ignored_by_git():
    outs = [
        path for stage in stages().values() for one in expanded(stage) for out in one["outs"] for path in out
    ]
    done = subprocess.run(["git", "check-ignore", *outs], cwd=REPOSITORY, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == sorted(outs)


def test_the_lock_has_hashes_and_no_addresses():
    lock = (REPOSITORY / "requirements.lock").read_text()
    assert not re.search(r"https?://", lock)
    pins = re.findall(r"^[a-z0-9][\w.-]*==", lock, flags=re.MULTILINE)
    assert len(pins) > 50
    assert lock.count("--hash=sha256:") >= len(pins)


def test_the_lock_pins_everything_the_project_asks_for():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = project["project"]["dependencies"] + [
        requirement for group in groups.values() for requirement in group if isinstance(requirement, str)
    ]
    locked = set(
        re.findall(r"^([a-z0-9][\w.-]*)==", (REPOSITORY / "requirements.lock").read_text(), re.MULTILINE)
    )
    for requirement in wanted:
        assert re.match(r"[A-Za-z0-9_.-]+", requirement)[0].lower() in locked


def test_help_lists_every_target_a_person_needs():
    done = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=REPOSITORY, capture_output=True, text=True
    )
    for target in ("reproduce", "test", "check", "bench"):
        assert f"make {target} " in done.stdout


def test_the_picture_in_the_readme_has_every_stage():
    picture = (REPOSITORY / "README.md").read_text().partition("```mermaid")[2].partition("```")[0]
    assert set(stages()) <= set(re.findall(r"\w+", picture))


POINTS = """
const element = {}, document = { querySelector: () => element };
SCRIPT
vegaEmbed("#plot", JSON.parse(require("fs").readFileSync(0, "utf8")));
console.log(element.innerHTML);
"""


def page_of_points(rows):
    """What the page draws of rows with columns loss, accuracy and rev."""
    page = (REPOSITORY / ".dvc" / "page.html").read_text()
    template = (REPOSITORY / ".dvc" / "plots" / "points.json").read_text()
    spec = json.loads(template.replace("<DVC_METRIC_X>", "loss").replace("<DVC_METRIC_Y>", "accuracy"))
    spec["data"]["values"] = rows
    code = POINTS.replace("SCRIPT", page.partition("<script>")[2].partition("</script>")[0])
    command = ["node", "--eval", code]
    return subprocess.run(command, input=json.dumps(spec), capture_output=True, text=True, check=True).stdout


def test_plots_need_no_internet():
    page = (REPOSITORY / ".dvc" / "page.html").read_text()
    assert "src=" not in page
    assert "{plot_divs}" in page


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
def test_plots_name_the_points_of_each_revision():
    rows = [
        {
            "method": "pal <1>",
            "loss": "0.5",
            "accuracy": "0.9",
            "rev": "workspace",
            "filename": "small/best.csv",
        },
        {"method": "sgd", "loss": "0.25", "accuracy": "0.8", "rev": "main"},
        {"method": "none", "loss": "", "accuracy": "0.8", "rev": "main"},
    ]
    drawn = page_of_points(rows)
    assert re.findall(r"<title>method: (.*)", drawn) == ["pal &lt;1&gt;", "sgd"]
    assert ">pal &lt;1&gt;</text>" in drawn
    assert "<p>small/best.csv</p>" in drawn
    assert "NaN" not in drawn


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js")
@pytest.mark.parametrize("revisions", [["workspace"], ["workspace", "main"]])
@pytest.mark.parametrize("kinds", [2, 12])
def test_plots_write_each_name_once_however_many_points_have_it(revisions, kinds):
    names = [f"name{kind}" for kind in range(kinds)]
    rows = [
        {"problem": name, "loss": step, "accuracy": 0.5, "rev": rev}
        for step in range(40)
        for rev in revisions
        for name in names
    ]
    drawn = re.sub("<title>.*?</title>", "", page_of_points(rows), flags=re.DOTALL)
    assert drawn.count("<circle") == len(rows)
    for name in names:
        assert len(re.findall(rf"\b{name}<", drawn)) == len(revisions)
