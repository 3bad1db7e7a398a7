"""Data sets: fetched from a mirror or the official address, verified, decoded once, kept in memory as uint8."""

from experiments.data.dataset import Dataset, get
from experiments.data.loader import Loader, ReadAhead
from experiments.data.registry import DATASETS
from experiments.data.splits import Split, Splits
