"""Reading and making tables: what is missing, no table or cannot be made is named."""

from dataclasses import replace

import pytest

from experiments.common.errors import UserError
from experiments.results import tables
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.judge import judge
from experiments.results.claims.registry import all_claims


def test_a_table_that_is_not_there_is_named_with_the_next_step(tmp_path):
    readers = {
        tables.folder("mine", "lines", tmp_path) / "lines.csv": lambda: tables.read(
            "mine", "lines", "lines", tmp_path
        ),
        tables.verdicts("mine", tmp_path): lambda: tables.verdicts_of("mine", tmp_path),
    }
    for path, read in readers.items():
        with pytest.raises(UserError, match=f"{path} does not exist; `make reproduce PROFILE=mine` makes it"):
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
