"""The front page: reports/<profile>/index.html."""

import html
import re
from pathlib import Path
from typing import Any

import mistune

from experiments.common.paths import REPOSITORY, write_whole
from experiments.results import tables


def page(profile: str, name: str, root: Path = REPOSITORY) -> Path:
    """The file of a page of the report."""
    return root / "reports" / profile / f"{name}.html"


def index(profile: str, root: Path = REPOSITORY) -> Path:
    """Write REPORT.md as the front page, with links to all pages and tables, and provenance."""
    made = root / "results" / profile
    render: Any = mistune.create_markdown(escape=True, plugins=["table"])
    text = render(page(profile, "index", root).with_name("REPORT.md").read_text())
    parts = [
        re.sub(VERDICT, _badge, text),
        "<h2>Pages and tables</h2>",
        _links(profile, root),
        "<h2>Provenance</h2>",
        *(_provenance(profile, path.parent.name, root) for path in sorted(made.glob("*/provenance.csv"))),
    ]
    return write_whole(page(profile, "index", root), document(f"PAL: {profile}", "\n".join(parts)))


VERDICT = r"<strong>(supported|contradicted|undecided|not measured)</strong>"


def _badge(found: re.Match[str]) -> str:
    return f'<span class="{found[1].replace(" ", "-")}">{found[1]}</span>'


def _links(profile: str, root: Path) -> str:
    pages = sorted(path.name for path in page(profile, "index", root).parent.glob("*.html"))
    made = sorted((root / "results" / profile).rglob("*.csv"))
    items = [f'<a href="{name}">{name.removesuffix(".html")}</a>' for name in pages if name != "index.html"]
    items += [f'<a href="../../{(at := path.relative_to(root))}">{at}</a>' for path in made]
    return f"<p>{' · '.join(items)}</p>"


def _provenance(profile: str, study: str, root: Path) -> str:
    known = tables.read(profile, study, "provenance", root)
    return f"<h3>{study}</h3>{known.to_html(index=False, border=0, na_rep='')}"


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


def document(title: str, body: str) -> str:
    """An HTML document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
