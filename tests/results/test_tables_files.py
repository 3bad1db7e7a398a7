"""Reading and making tables: what is missing, no table or cannot be made is named."""

from dataclasses import replace

import pytest

from experiments.common.errors import UserError
from experiments.results import tables
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.judge import judge
from experiments.results.claims.registry import all_claims

MERGE = b"a,b\n1,2\n<<<<<<< HEAD\n1,2\n=======\n1,3\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"", "is not a table"),
        (b"a,b\n\xff\xfe\n", "is not a table"),
        (MERGE, "contains conflict markers"),
        (MERGE.replace(b"\n", b"\r\n"), "contains conflict markers"),
        (MERGE.replace(b",", b""), "contains conflict markers"),
    ],
)
def test_what_is_no_table_is_named_with_the_next_step(tmp_path, content, sentence):
    readers = {
        tables.folder("mine", "lines", tmp_path) / "lines.csv": lambda: tables.read(
            "mine", "lines", "lines", tmp_path
        ),
        tables.verdicts("mine", tmp_path): lambda: tables.verdicts_of("mine", tmp_path),
    }
    for path, read in readers.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"(?s){path} {sentence}.*make reproduce PROFILE=mine"):
            read()


def wrong(_):
    return {}.values().nothing


def test_tables_of_ones_own_that_cannot_be_made_are_named(monkeypatch):
    monkeypatch.setitem(tables.TABLES, "mine", wrong)
    with pytest.raises(
        UserError, match="the tables of the study 'mine' cannot be made of its runs: Attribute"
    ):
        tables.make("mine", [])


def test_a_claim_that_cannot_be_measured_is_named(tmp_path):
    claim = replace(all_claims()[0], id="mine", measure=wrong)
    with pytest.raises(UserError, match="claim mine: AttributeError"):
        judge(claim, Evidence("mine", tmp_path))
