"""Data sets: bytes from a mirror or the official address, checked, decoded once, resident as uint8."""

from experiments.data.dataset import Dataset
from experiments.data.inventory import fetch, listing
from experiments.data.loader import Loader, ReadAhead
from experiments.data.registry import MODULES, get, names
from experiments.data.splits import Split, Splits

__all__ = ["MODULES", "Dataset", "Loader", "ReadAhead", "Split", "Splits", "fetch", "get", "listing", "names"]
