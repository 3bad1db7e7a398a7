"""Checks of an optimizer or a data set, as a table."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from experiments import data, optimizers
from experiments.common.check import Check
from experiments.common.yaml_files import parse
from experiments.data.checks import report
from experiments.optimizers.checks import check_all


def optimizer(name: str, words: Sequence[str]) -> int:
    """Show the checks of an optimizer with settings NAME=VALUE; 0 if it passes all, else 1."""
    pairs = (word.partition("=") for word in words)
    settings = {key: parse(value, f"the value of {key}") for key, _, value in pairs}
    return _show(check_all(name, optimizers.resolve(name, settings)))


def data_set(name: str) -> int:
    """Show the checks of a data set; 0 if it passes all, else 1."""
    return _show(report(name, data.get(name)))


def _show(checks: Sequence[Check]) -> int:
    table = Table("check", "", "found")
    for what, passed, words in checks:
        table.add_row(what, "ok" if passed else "FAILED", words)
    Console().print(table)
    return 0 if all(check.passed for check in checks) else 1
