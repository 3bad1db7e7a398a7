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
        re.sub(HEADING, _anchored, re.sub(VERDICT, _badge, text)),
        "<h2>Pages and tables</h2>",
        _links(profile, root),
        "<h2>Provenance</h2>",
        *(_provenance(profile, path.parent.name, root) for path in sorted(made.glob("*/provenance.csv"))),
    ]
    return write_whole(page(profile, "index", root), document(f"PAL: {profile}", "\n".join(parts)))


VERDICT = r"<strong>(supported|contradicted|undecided|out of reach|not measured)</strong>"
HEADING = r"<h([23])>(.*?)</h\1>"


def _badge(found: re.Match[str]) -> str:
    return f'<span class="{found[1].replace(" ", "-")}">{found[1]}</span>'


def _anchored(found: re.Match[str]) -> str:
    """A heading with the anchor that Markdown gives it."""
    name = re.sub(r"[^\w -]", "", html.unescape(re.sub("<.*?>", "", found[2]))).lower().replace(" ", "-")
    return f'<h{found[1]} id="{name}">{found[2]}</h{found[1]}>'


def _links(profile: str, root: Path) -> str:
    pages = sorted(path.name for path in page(profile, "index", root).parent.glob("*.html"))
    made = sorted((root / "results" / profile).rglob("*.csv"))
    items = [f'<a href="{name}">{name.removesuffix(".html")}</a>' for name in pages if name != "index.html"]
    items += [f'<a href="../../{(at := path.relative_to(root))}">{at}</a>' for path in made]
    return f"<p>{' · '.join(items)}</p>"


def _provenance(profile: str, study: str, root: Path) -> str:
    known = tables.read(profile, study, "provenance", root)
    table = known.to_html(index=False, border=0, na_rep="")
    return f"<details><summary>{study}</summary>{table}</details>"


STYLE = """
:root { color-scheme: light dark; --text: #222; --page: #fff; --line: #ddd; --quiet: #555; --link: #0b57a4;
        --supported: #1a7f37; --contradicted: #c62828; --undecided: #8a5a00; --reach: #4b5e8a; --none: #666; }
@media (prefers-color-scheme: dark) {
  :root { --text: #ddd; --page: #16181c; --line: #3a3d44; --quiet: #aaa; --link: #8ab8f5; } }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: var(--text); background: var(--page);
       font: 16px/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
a { color: var(--link); }
table { border-collapse: collapse; width: max-content; max-width: 100%; font-size: .9rem; display: block;
        overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .35rem .5rem; border-bottom: 1px solid var(--line);
         overflow-wrap: normal; }
img { max-width: 100%; background: #fff; border-radius: .3rem; }
figure { margin: 1.5rem 0; } figcaption, small { color: var(--quiet); }
details { margin: .5rem 0; } code { overflow-wrap: anywhere; }
.supported, .contradicted, .undecided, .out-of-reach, .not-measured { color: #fff; border-radius: .3rem;
       padding: .1rem .4rem; white-space: nowrap; font-size: .85rem; font-weight: normal; }
.supported { background: var(--supported); } .contradicted { background: var(--contradicted); }
.undecided { background: var(--undecided); } .out-of-reach { background: var(--reach); }
.not-measured { background: var(--none); }
.anchor-link { display: none; }
.jp-OutputArea-output { overflow-x: auto; }
@media (max-width: 500px) { body { margin: 1rem auto; padding: 0 .6rem; } h1 { font-size: 1.4rem; }
  th, td { padding: .3rem; } table { font-size: .8rem; } }
@media print { body { max-width: none; font-size: 10pt; } table { display: table; width: 100%; }
  h2, h3 { break-after: avoid; } tr, img { break-inside: avoid; } img { max-height: 22cm; } details { display: none; }
  .supported, .contradicted, .undecided, .out-of-reach, .not-measured { color: #000; background: none;
  border: 1px solid #000; } }
"""


def document(title: str, body: str) -> str:
    """An HTML document."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
