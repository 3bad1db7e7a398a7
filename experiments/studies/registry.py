"""All studies, imported on demand, so that a run depends on its own study only."""

from experiments.common.registry import Registry

STUDIES = Registry(
    "study",
    {
        "ablation": "experiments.studies.ablation",
        "adaptation": "experiments.studies.adaptation",
        "batchsize": "experiments.studies.batchsize",
        "benchmark": "experiments.studies.benchmark",
        "capacity": "experiments.studies.capacity",
        "exactness": "experiments.studies.exactness",
        "fullbatch": "experiments.studies.fullbatch",
        "horizon": "experiments.studies.horizon",
        "interpolation": "experiments.studies.interpolation",
        "lines": "experiments.studies.lines",
        "rivals": "experiments.studies.rivals",
        "single": "experiments.studies.single",
    },
)
