"""Problems: a data set and a network under one name, with batch size, L2 term, steps and schedule points.

problem = PROBLEMS["cifar10-resnet20"]
splits = problem.load("cuda")
loader = problem.loader(splits.train, order_seed=1, augmentation_seed=2)
model = problem.build(seed=3).to("cuda")
loss = problem.loss(model, *loader.batch(0))
"""

from experiments.problems.problem import Problem, Score
from experiments.problems.registry import PROBLEMS
