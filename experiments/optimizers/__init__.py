"""Optimizers by name, with one interface whatever closure they need."""

from experiments.optimizers.build import build, check, resolve
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.optimizers.scheduled import ScheduledOptimizer
