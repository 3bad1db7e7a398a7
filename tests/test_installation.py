"""What is installed: the project in its environment, and the distribution that others would install."""

import email
import math
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from copies import repository_copy

import pal

REPOSITORY = Path(__file__).resolve().parents[1]
README = (REPOSITORY / "README.md").read_text()


def python(words: str, folder: Path) -> list[str]:
    """Lines that a program prints in some folder."""
    return subprocess.check_output([sys.executable, "-c", words], cwd=folder, text=True).splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built in a copy of the repository by the locked setuptools."""
    root = repository_copy(tmp_path_factory.mktemp("copy"))
    python("from setuptools import build_meta; build_meta.build_wheel('dist')", root)
    (file,) = (root / "dist").glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        yield archive


@pytest.fixture(scope="module")
def published(wheel):
    """The metadata of the wheel; their text is the page of the package index."""
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    return email.message_from_bytes(wheel.read(name))


def test_the_code_of_the_checkout_is_imported_from_anywhere(tmp_path):
    words = "import pal, experiments; print(pal.__file__, experiments.__file__, sep='\\n')"
    ours = [REPOSITORY / name / "__init__.py" for name in ("pal", "experiments")]
    assert [Path(name).resolve() for name in python(words, tmp_path)] == ours


def test_version_is_that_of_the_distribution(published):
    assert pal.__version__ == metadata.version("pal-optimizer") == published["Version"]


def test_the_version_is_the_same_wherever_it_stands(tmp_path):
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    changes = (REPOSITORY / "CHANGELOG.md").read_text()
    command = [sys.executable, "-m", "experiments", "--version"]
    assert subprocess.check_output(command, cwd=tmp_path, text=True).strip() == version == citation["version"]
    assert f"## {version} - {citation['date-released']}" in changes


def test_the_wheel_holds_the_library_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {"pal", f"pal_optimizer-{pal.__version__}.dist-info"}
    code = {name for name in wheel.namelist() if name.endswith(".py")}
    assert code == {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "pal").rglob("*.py")}
    assert "pal/py.typed" in wheel.namelist()


def test_the_wheel_needs_torch_alone(published):
    (requirement,) = published.get_all("Requires-Dist")
    assert re.fullmatch(r"torch>=[\d.]+", requirement)


def test_the_readme_names_the_lowest_torch_and_every_python(published):
    lowest = published["Requires-Dist"].removeprefix("torch>=")
    assert f"torch alone ({lowest} or later)" in README
    assert f"/torch-%E2%89%A5%20{lowest}-" in README
    pythons = re.findall(r"Python :: (3\.\d+)", " ".join(published.get_all("Classifier")))
    assert f"/python-{'%20%7C%20'.join(pythons)}-" in README
    assert f"Python {pythons[0]} to {pythons[-1]}" in README


def test_the_example_of_the_readme_trains():
    (example,) = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    torch.manual_seed(0)
    space: dict[str, Any] = {}
    exec(compile(example, "README.md", "exec"), space)
    assert space["loss"] < math.log(3)  # what guessing among three classes costs


def test_links_on_the_page_of_the_index_lead_somewhere(published):
    page = published.get_payload()
    targets = re.findall(r"\]\(([^)\s]+)\)", page) + re.findall(r"(?:src|href)=\"([^\"]+)\"", page)
    assert targets
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


@pytest.mark.large
def test_environment_moves_with_its_checkout_and_outlives_its_python(tmp_path, monkeypatch):
    monkeypatch.delenv("CONDA_DEFAULT_ENV", raising=False)
    root = repository_copy(tmp_path / "before")
    lock = (root / "requirements.lock").read_text()
    (root / "requirements.lock").write_text(
        re.search(r"^setuptools==.*(?:\n {4}--hash.*)+\n", lock, re.MULTILINE)[0]
    )
    words = "from importlib.util import find_spec; print(find_spec('pal').origin, find_spec('experiments').origin)"

    def make() -> str:
        return subprocess.check_output(["make", "--no-print-directory", ".venv/.ready"], cwd=root, text=True)

    def found() -> list[str]:
        interpreter = root / ".venv" / "bin" / "python"
        return subprocess.check_output([interpreter, "-c", words], cwd=tmp_path, text=True).split()

    def ours() -> list[str]:
        return [str(root / name / "__init__.py") for name in ("pal", "experiments")]

    assert "Installing" in make()
    assert found() == ours()
    root = root.rename(tmp_path / "after")
    assert "Installing" not in make()
    assert found() == ours()
    (root / ".venv" / "bin" / "python").unlink()
    (root / ".venv" / "bin" / "python").symlink_to(tmp_path / "gone")
    assert "Installing" in make()
    assert found() == ours()
