"""Tables as their readers expect them, with the same value in all rows of a column."""

import pandas as pd

from experiments.results import columns
from experiments.results.tables import schema

SAMPLES = {"number": 0.5, "integer": 1, "yes/no": True, "JSON": "{}"}
"""A value of each type of column; all others are text."""


def table(name, rows=2, **given):
    """The table of this name with so many rows, and with these columns instead of the usual ones."""
    wanted = (schema.COLUMNS.get(name) or schema.COLUMNS[name.rpartition("/")[2]]).split()
    usual = {column: _sample(name, column) for column in wanted}
    if name in schema.UNIQUE:
        usual[schema.UNIQUE[name]] = [f"row {row}" for row in range(rows)]
    return pd.DataFrame(usual | given, index=range(rows))


def _sample(name, column):
    if column == "phase":
        return "evaluation"
    if column in schema.CHOICES:
        return schema.CHOICES[column][0]
    return SAMPLES.get(columns.explain(name, column)["type"], f"some {column}")
