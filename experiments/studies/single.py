"""A single training from the command line, `python -m experiments run`; not part of any profile."""

from experiments.studies.base import Study
from experiments.training.config import Strict
from experiments.training.loop import train

STUDY = Study(Strict, lambda _: [], train)
