"""notebooks/<name>.ipynb -> figures/<profile>/<name>/ and reports/<profile>/<name>.html.

IPython executes them without kernels: starting one per notebook took longer than executing it.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
from IPython.core.displayhook import CapturingDisplayHook
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from joblib import cpu_count
from nbconvert import HTMLExporter
from traitlets.config import Config

from experiments.common import endings
from experiments.common.errors import UserError, nearest
from experiments.common.paths import REPOSITORY, write_whole
from experiments.reports.pages import document, page
from experiments.results import tables

FOLDER = REPOSITORY / "notebooks"

START = "spawn" if sys.platform == "darwin" else "fork"
"""How processes are started: a fork is faster, but macOS's own libraries do not survive it."""


def notebook_names() -> list[str]:
    """All notebooks."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def has_results(name: str, profile: str) -> bool:
    """Whether there are tables of the study of that name or, for the notebook `claims`, verdicts."""
    return (tables.folder(profile, name) / "provenance.csv").is_file() or (
        name == "claims" and tables.verdicts(profile).is_file()
    )


def execute_all(profile: str) -> None:
    """Execute the notebooks of all studies that have results; raises UserError as `execute_some`."""
    execute_some([name for name in notebook_names() if has_results(name, profile)], profile)


def execute_some(names: Sequence[str], profile: str, root: Path = REPOSITORY) -> None:
    """Execute notebooks in processes of their own, one per core at a time.

    Raises:
        UserError: If there is no such notebook, a cell fails, or a process is killed.
    """
    import_module("experiments.reports.notebook")  # what all notebooks import, before the fork
    cores = cpu_count(only_physical_cores=True)
    with ProcessPoolExecutor(cores, get_context(START), endings.end_silently) as pool:
        under_way = {name: pool.submit(execute, name, profile, root) for name in names}
        wait(under_way.values())
    lost = [name for name, one in under_way.items() if isinstance(one.exception(), BrokenProcessPool)]
    if lost:
        raise UserError(
            f"a process was killed (out of memory?) while it executed notebooks: {', '.join(lost)}"
        )
    for one in under_way.values():
        one.result()


def execute(name: str, profile: str, root: Path = REPOSITORY) -> Path:
    """Execute notebooks/<name>.ipynb for a profile and write its page of the report; the notebook saves its figures.

    Raises:
        UserError: If there is no such notebook, or a cell fails.
    """
    mpl.rcdefaults()  # whatever a person has set for figures of their own
    if name not in notebook_names():
        raise UserError(f"there is no notebook {name!r} in notebooks/; {nearest(name, notebook_names())}")
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    shell = _shell()
    shell.reset(new_session=False)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if "parameters" in cell.metadata.get("tags", ()):
                cell.source = f"profile, root = {profile!r}, {str(root)!r}"
            cell.outputs = _outputs(shell, cell.source, name)
    return write_whole(page(profile, name, root), _html(name, notebook))


def _shell() -> InteractiveShell:
    """IPython's shell, which must not stay __main__: processes that start later would look for their code there."""
    main = sys.modules["__main__"]
    shell = InteractiveShell.instance(config=Config({"HistoryManager": {"enabled": False}}))
    sys.modules["__main__"] = main
    return shell


def _outputs(shell: InteractiveShell, source: str, name: str) -> Sequence[Any]:
    """What a cell displays, including its last value; raises UserError if it fails."""
    with capture_output() as captured:
        shell.display_trap.hook = CapturingDisplayHook(shell=shell, outputs=captured._outputs)
        result = shell.run_cell(source)
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        raise UserError(f"notebooks/{name}.ipynb: {type(error).__name__}: {error}")
    return [
        nbformat.v4.new_output("display_data", output["data"], metadata=output["metadata"])
        for output in captured._outputs
    ]


def _html(name: str, executed: Any) -> str:
    """One self-contained page of text and outputs, which loads nothing from elsewhere."""
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(executed)
    return document(name, f'<p><a href="index.html">The report</a></p>\n{body}')
