"""Tables that were cut, merged, edited or overwritten: one sentence with place and next step, whoever reads them."""

import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_tables import table

from experiments.cli import compare
from experiments.cli import table as table_command
from experiments.common.errors import UserError
from experiments.reports import drawings, execution, markdown, pages, terminal, words
from experiments.results import columns, export, missing, tables
from experiments.results.claims import judge
from experiments.results.claims.power import declared_out_of_reach, read_pilots
from experiments.results.tables import benchmark, schema

SHARED = ("times", "provenance", "traces", "missing")
NAMES = [f"lines/{name}" if name in SHARED else name for name in schema.COLUMNS]


def path_of(root, name):
    """The file of a table."""
    return root / "results" / "quick" / f"{name}.csv"


def text_of(name):
    return tables.text(table(name))


def cells(text):
    """The cells of a table whose values have no commas."""
    return [line.split(",") for line in text.splitlines()]


def joined(rows):
    return "".join(",".join(row) + "\n" for row in rows)


def without_column(text, draw):
    place = draw(st.integers(0, len(cells(text)[0]) - 1))
    return joined([[cell for at, cell in enumerate(row) if at != place] for row in cells(text)])


def renamed_column(text, draw):
    header, *rows = cells(text)
    header[draw(st.integers(0, len(header) - 1))] = draw(
        st.sampled_from(["", "x", "SEED", "\N{GREEK SMALL LETTER MU}"])
    )
    return joined([header, *rows])


def column_twice(text, draw):
    place = draw(st.integers(0, len(cells(text)[0]) - 1))
    return joined([[*row, row[place]] for row in cells(text)])


def cut(text, draw):
    return text[: draw(st.integers(0, len(text) - 1).filter(lambda end: text[end - 1 : end] != "\n"))]


def longer_row(text, draw):
    rows = cells(text)
    rows[draw(st.integers(1, len(rows) - 1))].append("7")
    return joined(rows)


def foreign_line(text, draw):
    lines = text.splitlines(keepends=True)
    line = draw(
        st.sampled_from(["<<<<<<< HEAD\n", "=======\n", ">>>>>>> other\n", lines[0], '"\n', "no row\n"])
    )
    return "".join([*lines[:1], line, *lines[1:]])


def foreign_bytes(text, draw):
    place = draw(st.integers(0, len(text)))
    wrong = draw(st.sampled_from([b"\0", b"\xff", b"\xe9\xe8", b"\x89PNG\r\n\x1a\n\0"]))
    return text[:place].encode() + wrong + text[place:].encode()


def other_encoding(text, draw):
    return text.encode(draw(st.sampled_from(["utf-16", "utf-32", "utf-16-le"])))


DAMAGES = [
    without_column,
    renamed_column,
    column_twice,
    cut,
    longer_row,
    foreign_line,
    foreign_bytes,
    other_encoding,
]


@settings(max_examples=100)
@given(st.data())
def test_whatever_damages_a_table_is_named_with_its_place_and_the_next_step(tmp_path_factory, data):
    name, damage = data.draw(st.sampled_from(NAMES)), data.draw(st.sampled_from(DAMAGES))
    content = damage(text_of(name), data.draw)
    path = path_of(tmp_path_factory.getbasetemp(), name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(
        UserError, match=f"^{path} is damaged: .*(line|column|empty).*; restore it .* makes it again$"
    ):
        tables.load(path, "quick")


WRONG = {
    "integer": ("many", "1.5", "inf"),
    "number": ("0,5", "True"),
    "yes/no": ("2",),
    "JSON": ("{",),
}
"""Cells that are not of a type."""


@pytest.mark.parametrize("name", NAMES)
def test_words_in_place_of_numbers_are_named_with_line_and_column(tmp_path, name):
    for column in table(name):
        kind, right = columns.explain(name, column)["type"], table(name)[column][0]
        for word in WRONG.get(kind, ("nothing else",) if column in schema.CHOICES else ()):
            path = tables.replace(table(name, **{column: [right, word]}), path_of(tmp_path, name))
            with pytest.raises(UserError, match=f"line 3, column '{column}': '{re.escape(word)}' is n"):
                tables.load(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_table_is_read_whatever_else_it_has(tmp_path, name):
    path = path_of(tmp_path, name)
    whole = table(name).assign(mine="abc", yours=[1.5, None])
    tables.replace(whole, path)
    path.write_bytes(
        b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n")
    )  # as an editor on Windows writes it
    pd.testing.assert_frame_equal(tables.load(path), whole, check_dtype=False)


def test_a_table_of_ones_own_study_may_hold_anything(tmp_path):
    path = tables.folder("quick", "mine", tmp_path) / "runs.csv"
    whole = pd.DataFrame({"case": ["hard", None], "criterion": ["taste", "smell"], "n": [0.5, None]})
    tables.replace(whole, path)
    pd.testing.assert_frame_equal(tables.load(path), whole)


def test_a_claim_that_stands_there_twice_or_without_its_sentence_is_named(tmp_path):
    claims = tables.verdicts("quick", tmp_path)
    for wrong, sentence in (
        ({"id": "one"}, "'id': 'one' is there twice"),
        ({"words": None}, "'words': it is empty"),
    ):
        tables.replace(table("claims", **wrong), claims)
        with pytest.raises(UserError, match=sentence):
            tables.load(claims)
    tables.replace(table("claims", words=None, verdict="not measured"), claims)
    assert len(tables.load(claims)) == 2


def test_choices_and_columns_are_those_of_the_code():
    assert schema.CHOICES["verdict"] == tuple(words.SYMBOLS)
    assert schema.CHOICES["criterion"] == tuple(benchmark.CRITERIA)
    written = {"claims": [*judge.CLAIM_COLUMNS, "q"], "claims/problems": judge.ESTIMATE_COLUMNS}
    written |= {"claims/values": judge.VALUE_COLUMNS, "missing": missing.COLUMNS}
    for name, names in written.items():
        assert set(schema.COLUMNS[name].split()) == set(names), name


def compared(root, _):
    folder = root / "results" / "quick"
    compare.claims(folder, folder)
    compare.best(folder, folder, "benchmark")
    compare.rankings(folder, folder)


def printed(root, patch):
    patch.setattr(table_command, "REPOSITORY", root)
    table_command.main("benchmark/best", "quick", [], [])


READERS = {
    "claims": (lambda root, _: judge.write("quick", root), ["power", "lines/provenance"]),
    "claims --show": (lambda root, _: terminal.verdicts("quick", root), ["claims", "claims/problems"]),
    "report": (
        lambda root, _: markdown.write("quick", root),
        ["claims", "lines/provenance", "lines/missing"],
    ),
    "front page": (lambda root, _: pages.index("quick", root), ["lines/provenance"]),
    "notebook": (lambda root, _: execution.execute("claims", "quick", root), ["claims/problems"]),
    "figure": (lambda root, _: drawings.find("lines/line-shape", "quick", root=root), ["lines/lines"]),
    "table": (printed, ["benchmark/best"]),
    "compare": (compared, ["claims", "benchmark/best", "benchmark/runs", "benchmark/ranking"]),
    "export": (
        lambda root, _: export.load("quick", root),
        ["lines/times", "lines/points", "claims/values", "pilots"],
    ),
    "power": (lambda root, _: read_pilots("quick", root), ["pilots"]),
    "declared": (lambda root, _: declared_out_of_reach("quick", root), ["power"]),
    "missing": (lambda root, _: missing.words("quick", "lines", root), ["lines/missing"]),
}
"""What each command reads, and some of the tables that it needs."""


@pytest.mark.parametrize(("reader", "name"), [(one, name) for one in READERS for name in READERS[one][1]])
def test_every_command_names_the_table_that_is_damaged(reader, name, tmp_path, monkeypatch):
    for one in NAMES:
        tables.replace(table(one), path_of(tmp_path, one))
    (tmp_path / "reports" / "quick").mkdir(parents=True)
    (tmp_path / "reports" / "quick" / "REPORT.md").touch()
    path = path_of(tmp_path, name)
    for wrong in (
        path.read_bytes()[:-4],
        path.read_bytes().replace(b"problem", b"problems").replace(b"id,", b"ID,"),
    ):
        path.write_bytes(wrong)
        with pytest.raises(UserError, match=f"{path} is damaged"):
            READERS[reader][0](tmp_path, monkeypatch)
