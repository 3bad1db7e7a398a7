"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv."""

from experiments.results.tables.files import folder, read, replace, verdicts
from experiments.results.tables.registry import TABLES, make, write

__all__ = ["TABLES", "folder", "make", "read", "replace", "verdicts", "write"]
