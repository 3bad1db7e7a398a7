"""Fetch data sets on request, and list them."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from experiments.common.errors import UserError
from experiments.data import get, store
from experiments.data.dataset import Dataset
from experiments.data.registry import DATASETS


def fetch(wanted: Sequence[str]) -> None:
    """Find or download, verify and decode data sets; raises UserError at the first that is unavailable."""
    datasets = [get(name) for name in wanted]
    console = Console(stderr=True)
    for number, dataset in enumerate(datasets, 1):
        with console.status(f"{number} of {len(datasets)}: {dataset.title}"):
            dataset.load()


def table() -> Table:
    """All data sets: which are here (verified byte by byte), and how to get the others."""
    listed = Table(title=Text(f"Data sets ({store.folder()})"))
    listed.add_column("name", no_wrap=True)
    listed.add_column("train / validation / test", justify="right")
    listed.add_column("state")
    listed.add_column("source")
    for name in DATASETS:
        dataset = get(name)
        listed.add_row(name, " / ".join(f"{size:,}" for size in dataset.sizes), *_state(dataset))
    return listed


def _state(dataset: Dataset) -> tuple[str, str]:
    """Whether the data are here, and where they came from or can be had."""
    if dataset.store is None:
        return _try(dataset, "ready")
    if dataset.store.is_here():
        return _try(dataset, f"here, {dataset.store.size() / 1e6:,.1f} MB, checked")
    return "not here", dataset.store.next_source()


def _try(dataset: Dataset, state: str) -> tuple[str, str]:
    try:
        if dataset.store is not None:
            dataset.store.check()
        return state, dataset.source()
    except UserError as error:
        return "not here" if dataset.store is None else "damaged", str(error)
