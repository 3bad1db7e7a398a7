"""The pipeline and the environment as files: what a fresh clone relies on."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]


def stages() -> dict:
    return yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]


def expanded(stage: dict, profile: str = "quick") -> list[dict]:
    """The stages that DVC makes of one entry: `foreach` unrolled, words filled in."""
    body = stage.get("do", stage)
    text = yaml.safe_dump(body).replace("${profile}", profile)
    items = stage.get("foreach", [""])
    pairs = items.items() if isinstance(items, dict) else [(item, item) for item in items]
    return [yaml.safe_load(_with_item(text.replace("${key}", key), item)) for key, item in pairs]


def _with_item(text: str, item: str | list[str]) -> str:
    if isinstance(item, str):
        return text.replace("${item}", item)
    for place, part in enumerate(item):
        text = text.replace(f"${{item[{place}]}}", part)
    return text


@pytest.mark.parametrize("name", stages())
def test_every_source_that_a_stage_names_exists(name):
    for stage in expanded(stages()[name]):
        sources = [dep for dep in stage["deps"] if not dep.startswith(("results/", "figures/", "reports/"))]
        assert sources
        for code_digest in sources:
            assert (REPOSITORY / code_digest).exists(), (
                f"stage {name} depends on {code_digest}, which does not exist"
            )


@pytest.mark.parametrize("name", stages())
def test_what_a_stage_reads_another_stage_makes(name):
    made = {
        path for stage in stages().values() for one in expanded(stage) for out in one["outs"] for path in out
    }
    for stage in expanded(stages()[name]):
        for dep in stage["deps"]:
            if dep.startswith(("results/", "figures/", "reports/")):
                assert dep in made


def test_a_study_stage_depends_on_all_code_its_runs_depend_on():
    from experiments.common import code_digest

    for study, stage in zip(stages()["study"]["foreach"], expanded(stages()["study"]), strict=True):
        named = [REPOSITORY / dep for dep in stage["deps"]]
        for module in code_digest.files(f"experiments.studies.{study}").values():
            covered = any(module == dep or dep in module.parents for dep in named)
            assert covered, f"runs of {study} depend on {module.relative_to(REPOSITORY)}, the stage does not"


def test_study_stages_follow_their_section_of_the_profile():
    for study, stage in zip(stages()["study"]["foreach"], expanded(stages()["study"]), strict=True):
        assert stage["params"] == [{"profiles/quick.yaml": [study]}]


def test_copies_of_the_pipeline_are_copies():
    for copy in REPOSITORY.glob("results/*/dvc.yaml"):
        assert copy.read_bytes() == (REPOSITORY / "dvc.yaml").read_bytes()


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
