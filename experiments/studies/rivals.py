"""PAL and optimizers that are newer than its paper, compared as in the benchmark; not a claim of the paper."""

from experiments.studies.benchmark import comparison

STUDY = comparison("rivals")
