"""Optimizers by name, with one way to take a step whatever closure they want."""

from experiments.optimizers.build import build, check, resolve
from experiments.optimizers.registry import OPTIMIZERS, OptimizerSpec
from experiments.optimizers.scheduled import ScheduledOptimizer

__all__ = ["OPTIMIZERS", "OptimizerSpec", "ScheduledOptimizer", "build", "check", "resolve"]
