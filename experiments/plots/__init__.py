"""Tables -> figures. Drawing only: data frames come in, figures go out, and nothing here knows torch."""

from experiments.plots.benchmark import comparison
from experiments.plots.lines import line_shape, loss_lines
from experiments.plots.style import save
from experiments.plots.verdicts import verdicts

__all__ = ["comparison", "line_shape", "loss_lines", "save", "verdicts"]
