"""Tables -> figures. Drawing only: data frames come in, figures go out, and nothing here knows torch."""

from experiments.plots.ablation import measuring_step, variant_effects
from experiments.plots.adaptation import step_adaptation
from experiments.plots.batchsize import batch_sizes
from experiments.plots.benchmark import comparison
from experiments.plots.capacity import capacity_loss, capacity_rates
from experiments.plots.clock import wall_clock
from experiments.plots.exactness import exact_training
from experiments.plots.fullbatch import fullbatch_lines, fullbatch_strategies
from experiments.plots.grids import schedules, sensitivity, swept
from experiments.plots.interpolation import interpolation
from experiments.plots.lines import fit_errors, line_shape, loss_lines, wide_lines
from experiments.plots.style import save
from experiments.plots.verdicts import verdicts

__all__ = [
    "batch_sizes",
    "capacity_loss",
    "capacity_rates",
    "comparison",
    "exact_training",
    "fit_errors",
    "fullbatch_lines",
    "fullbatch_strategies",
    "interpolation",
    "line_shape",
    "loss_lines",
    "measuring_step",
    "save",
    "schedules",
    "sensitivity",
    "step_adaptation",
    "swept",
    "variant_effects",
    "verdicts",
    "wall_clock",
    "wide_lines",
]
