"""The front page: reports/<profile>/index.html."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from experiments.common.paths import REPOSITORY, write_whole
from experiments.reports import markdown
from experiments.results import tables


def page(profile: str, name: str, root: Path = REPOSITORY) -> Path:
    """A page of the report."""
    return root / "reports" / profile / f"{name}.html"


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
    return write_whole(page(profile, "index", root), document(f"PAL: {profile}", "\n".join(parts)))


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


def document(title: str, body: str) -> str:
    """A whole page."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
