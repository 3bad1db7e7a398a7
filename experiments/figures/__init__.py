"""Tables -> figures. Functions from data frames to figures; nothing here imports torch."""

from experiments.figures.ablation import measuring_step, variant_effects
from experiments.figures.adaptation import step_adaptation
from experiments.figures.batchsize import batch_sizes
from experiments.figures.benchmark import comparison
from experiments.figures.capacity import capacity_loss, capacity_rates
from experiments.figures.clock import at_equal_time, equal_time, wall_clock
from experiments.figures.exactness import exact_training
from experiments.figures.fullbatch import fullbatch_lines, fullbatch_strategies
from experiments.figures.grids import schedules, sensitivity, swept
from experiments.figures.horizon import horizon
from experiments.figures.interpolation import interpolation
from experiments.figures.lines import convexity, fit_errors, line_shape, loss_lines, wide_lines
from experiments.figures.style import remark, save
from experiments.figures.verdicts import against_rivals, forest, verdicts
