"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv."""

from experiments.results.tables.files import folder, load, read, replace, text, verdicts, verdicts_of
from experiments.results.tables.registry import TABLES, make, module_of, write
