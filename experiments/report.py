"""Executed notebooks and the front page: reports/<profile>/."""

import html
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments import files, markdown, tables
from experiments.errors import UserError, nearest
from experiments.source import REPOSITORY

TIMEOUT = 600
"""Seconds that one cell of a notebook may take."""


def page(profile: str, name: str, root: Path = REPOSITORY) -> Path:
    """A page of the report."""
    return root / "reports" / profile / f"{name}.html"


def table(data: pd.DataFrame) -> Any:
    """A table for people: four digits, no row numbers."""
    return data.style.format(precision=4, na_rep="", escape="html").hide(axis="index").set_uuid("table")


def notebook(name: str, profile: str, root: Path = REPOSITORY) -> Path:
    """Execute notebooks/<name>.ipynb for a profile; its page of the report, figures by the notebook itself.

    Raises:
        UserError: If there is no such notebook, or a cell fails.
    """
    known = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    if name not in known:
        raise UserError(f"there is no notebook {name!r} in notebooks/; {nearest(name, known)}")
    executed = _execute(REPOSITORY / "notebooks" / f"{name}.ipynb", profile, root)
    return files.write_whole(page(profile, name, root), _html(name, executed))


def _execute(source: Path, profile: str, root: Path) -> Any:
    """The notebook with its outputs; the cell tagged `parameters` is where the profile goes in."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    # Without this every kernel warns about frozen modules.
    os.environ["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    notebook = nbformat.read(source, as_version=4)
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", ()):
            cell.source = f"profile, root = {profile!r}, {str(root)!r}"
    client = NotebookClient(
        notebook, timeout=TIMEOUT, kernel_name="python3", resources={"metadata": {"path": str(REPOSITORY)}}
    )
    try:
        client.execute(stderr=subprocess.DEVNULL)  # a kernel's own chatter; what a cell does wrong is raised
    except CellExecutionError as error:
        raise UserError(f"notebooks/{source.name}: {error.ename}: {error.evalue}") from None
    return notebook


def _html(name: str, executed: Any) -> str:
    """One self-contained page of text and outputs; nothing in it is fetched from anywhere."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True
    )
    body, _ = exporter.from_notebook_node(executed)
    return _document(name, f'<p><a href="index.html">The report</a></p>\n{body}')


def index(profile: str, root: Path = REPOSITORY) -> Path:
    """The front page: verdicts, figures, pages, and what all of it stands on."""
    verdicts = pd.read_csv(tables.verdicts(profile, root))
    parts = [
        f"<h1>PAL: the replication, profile <em>{html.escape(profile)}</em></h1>",
        f"<p>{html.escape(markdown.summary(verdicts))}</p>",
        _claims(verdicts),
        "<h2>Read on</h2>",
        _links(profile, root),
        "<h2>Figures</h2>",
        *_pictures(profile, root),
        "<h2>What this stands on</h2>",
        *(_provenance(path) for path in sorted((root / "results" / profile).glob("*/provenance.csv"))),
    ]
    return files.write_whole(page(profile, "index", root), _document(f"PAL: {profile}", "\n".join(parts)))


def _claims(verdicts: pd.DataFrame) -> str:
    rows = [_claim(row) for row in verdicts.to_dict("records")]
    head = (
        "<tr><th>claim</th><th>test, declared beforehand</th><th>measured</th><th>n</th><th>verdict</th></tr>"
    )
    return f"<table>{head}{''.join(rows)}</table>"


def _claim(row: dict[Any, Any]) -> str:
    measured = ""
    if row["verdict"] != "not measured":
        measured = f"<b>{row['measured']:.3g}</b><br><small>{markdown.interval(row)}</small>"
    badge = f'<span class="{row["verdict"].replace(" ", "-")}">{row["verdict"]}</span>'
    claim, source, test, scope = (
        html.escape(str(row[name])) for name in ("claim", "source", "test", "scope")
    )
    return (
        f"<tr><td>{claim}<br><small>{source}</small></td><td><small>{test}</small><br><small>{scope}</small></td>"
        f"<td>{measured}</td><td>{row['n']}</td><td>{badge}</td></tr>"
    )


def _links(profile: str, root: Path) -> str:
    pages = sorted(path.name for path in page(profile, "index", root).parent.glob("*.html"))
    made = sorted((root / "results" / profile).rglob("*.csv"))
    items = [f'<a href="{name}">{name.removesuffix(".html")}</a>' for name in pages if name != "index.html"]
    items += [f'<a href="../../{(at := path.relative_to(root))}">{at}</a>' for path in made]
    return f"<p>{' · '.join(items)}</p>"


def _pictures(profile: str, root: Path) -> Sequence[str]:
    pictures = sorted((root / "figures" / profile).rglob("*.png"))
    return [
        f'<figure><img src="../../{at}" alt="{at.stem}"><figcaption>{at.stem} '
        f'(<a href="../../{at.with_suffix(".pdf")}">PDF</a>)</figcaption></figure>'
        for at in (path.relative_to(root) for path in pictures)
    ]


def _provenance(path: Path) -> str:
    known = pd.read_csv(path, dtype={"commit": str})
    return f"<h3>{path.parent.name}</h3>{known.to_html(index=False, border=0, na_rep='')}"


STYLE = """
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff;
       font: 16px/1.5 system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; display: block; overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .45rem .6rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; } figure { margin: 1.5rem 0; } figcaption, small { color: #555; }
.supported, .contradicted, .undecided, .not-measured { color: #fff; border-radius: .3rem; padding: .1rem .5rem;
       white-space: nowrap; font-size: .85rem; }
.supported { background: #1a7f37; } .contradicted { background: #c62828; }
.undecided { background: #9a6700; } .not-measured { background: #666; }
.anchor-link { display: none; }
.jp-OutputArea-output { overflow-x: auto; }
"""


def _document(title: str, body: str) -> str:
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
