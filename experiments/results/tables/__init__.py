"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv."""

from experiments.results.tables.files import folder, read, read_verdicts, replace, text, verdicts
from experiments.results.tables.registry import TABLES, make, module_of, write
