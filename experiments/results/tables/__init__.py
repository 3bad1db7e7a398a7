"""Finished runs -> tidy tables: results/<profile>/<study>/*.csv."""

from experiments.results.tables.files import folder, read, read_file, replace, text, verdicts, verdicts_of
from experiments.results.tables.registry import TABLES, make, module_of, write
