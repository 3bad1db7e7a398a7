"""All studies; a run depends on its own only, so that each is imported when it is asked for."""

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
        "interpolation": "experiments.studies.interpolation",
        "lines": "experiments.studies.lines",
        "single": "experiments.studies.single",
    },
)
