"""All problems, one row each."""

from experiments.problems.problem import Problem

PROBLEMS = {
    problem.name: problem
    for problem in (
        Problem("digits-cnn", "digits", "digits-cnn", "ours: the quick profile", steps=600),
        Problem("digits-mlp", "digits", "mlp-128-128", "ours: the quick profile", steps=600),
    )
}
