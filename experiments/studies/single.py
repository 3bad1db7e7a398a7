"""One training with settings of your own: `python -m experiments run`; no profile plans it."""

from experiments.studies.base import Study
from experiments.training.config import Strict
from experiments.training.loop import train

STUDY = Study(Strict, lambda _: [], train)
