"""What is said of the code that made a run."""

import os
import subprocess

import pytest
from copies import git

from experiments.common import git as git_module
from experiments.runs import provenance


def commit(folder, **files):
    """A repository in which some files are committed."""
    folder.mkdir(exist_ok=True)
    git(folder, "init", "--quiet")
    for name, text in files.items():
        write(folder / name.replace("__", "/"), text)
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--allow-empty", "--message=all")
    return git(folder, "rev-parse", "HEAD")


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A folder with code, inside of a repository that is not its own."""
    commit(tmp_path, notes="other")
    folder = tmp_path / "checkout"
    write(folder / "pal" / "code.py", "first")
    for module in (git_module, provenance):
        monkeypatch.setattr(module, "REPOSITORY", folder)
    return folder


@pytest.fixture(autouse=True)
def asked_anew():
    """git is asked once in a process; here, in each test."""
    forget()
    yield
    forget()


def forget():
    provenance._software.cache_clear()
    provenance.changes.cache_clear()


def recorded():
    found = provenance._software()
    return found["commit"], found["dirty"]


@pytest.mark.parametrize(
    ("changed", "dirty"),
    [
        (None, False),
        ("results/small/table.csv", False),
        ("profiles/mine.yaml", False),
        ("dvc.lock", False),
        ("pal/code.py", True),
        ("experiments/studies/forgotten.py", True),
    ],
)
def test_code_that_the_commit_does_not_have_makes_it_dirty_and_results_do_not(checkout, changed, dirty):
    ours = commit(
        checkout, **{"pal__code.py": "first", "dvc.lock": "first", "results__small__table.csv": "first"}
    )
    if changed:
        write(checkout / changed, "second")
    assert recorded() == (ours, dirty)


def test_a_users_ignore_rules_hide_no_code(checkout, tmp_path, monkeypatch):
    ours = commit(checkout, **{"pal__code.py": "first"})
    write(tmp_path / "home" / ".config" / "git" / "ignore", "*.py")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    write(checkout / "pal" / "new.py", "second")
    assert recorded() == (ours, True)


def test_the_commit_of_a_repository_around_the_checkout_is_not_its_own(checkout):
    assert recorded() == (None, None)


def test_the_commit_of_a_repository_that_the_environment_names_is_not_its_own(
    checkout, tmp_path, monkeypatch
):
    ours = commit(checkout, **{"pal__code.py": "first"})
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path))
    assert recorded() == (ours, False)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_commit_is_known_in_a_repository_of_somebody_else(checkout):
    ours = commit(checkout, **{"pal__code.py": "first"})
    for path in (checkout, checkout / ".git"):
        os.chown(path, 1000, 1000)
    assert recorded() == (ours, False)


def applied(checkout, folder, text):
    """A clone of what is committed, with a patch applied to it."""
    git(folder, "clone", "--quiet", str(checkout), "clone")
    subprocess.run(["git", "apply"], input=text, cwd=folder / "clone", text=True, check=True)
    return folder / "clone"


@pytest.mark.parametrize(
    "setting",
    ["diff.noprefix=true", "diff.mnemonicPrefix=true", "diff.context=0", "diff.suppressBlankEmpty=true"],
)
def test_what_is_not_committed_can_be_applied_whatever_a_persons_git_shows(checkout, tmp_path, setting):
    lines = "one\n\ntwo\n\nthree\n\n"
    commit(checkout, **{"pal__code.py": lines})
    git(checkout, "config", *setting.split("="))
    write(checkout / "pal" / "code.py", lines.replace("two", "2"))
    write(checkout / "pal" / "new.py", "new\n")
    clone = applied(checkout, tmp_path, provenance.changes())
    assert (clone / "pal" / "code.py").read_text() == lines.replace("two", "2")
    assert (clone / "pal" / "new.py").read_text() == "new\n"


def test_locks_of_editors_and_repositories_among_the_code_fail_no_run(checkout, tmp_path):
    commit(checkout, **{"pal__code.py": "first"})
    (checkout / "pal" / ".#code.py").symlink_to("me@host.1234")
    commit(checkout / "pal" / "other", notes="another repository")
    clone = applied(checkout, tmp_path, provenance.changes())
    assert (clone / "pal" / ".#code.py").readlink().name == "me@host.1234"
    assert not (clone / "pal" / "other").exists()


def test_looking_at_a_repository_changes_nothing_in_it(checkout):
    wanted = commit(checkout, **{"pal__code.py": "first"}), False
    os.utime(checkout / "pal" / "code.py", (1, 1))  # by which git would look anew, and note what it saw
    index = checkout / ".git" / "index"
    before = index.read_bytes()
    assert recorded() == wanted
    assert index.read_bytes() == before
