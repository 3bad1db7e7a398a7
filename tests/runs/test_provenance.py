"""What is said of the code that made a run."""

import subprocess

import pytest

from experiments.runs import provenance


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one file of code and one result, both committed."""
    monkeypatch.setattr(provenance, "REPOSITORY", tmp_path)
    for name in ("pal/code.py", "results/small/table.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("first")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "--quiet"], ["add", "."], [*author, "commit", "--quiet", "--message=all"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "dirty"), [(None, False), ("results/small/table.csv", False), ("pal/code.py", True)]
)
def test_results_of_a_run_before_do_not_make_the_code_dirty(repository, changed, dirty):
    if changed:
        (repository / changed).write_text("second")
    provenance._software.cache_clear()
    found = provenance._software()
    provenance._software.cache_clear()
    assert found["dirty"] is dirty
    assert len(found["commit"]) == 40
