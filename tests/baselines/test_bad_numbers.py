"""Line searches where the loss is NaN or infinite: at the weights, or everywhere else on the line."""

import math

import pytest
import torch
from test_guarantees import PROBING
from test_guarantees import SEARCHES as ALL

from pal.baselines import PoNoS
from pal.parabola import Case

SEARCHES = ALL | {"ponos, patient": lambda params: PoNoS(params, delta=0.9)}
LOOKING = [name for name in (*PROBING, "ponos, patient") if not name.startswith("sls")]
"""SLS takes a step of 1e-6 after 100 failed tries, as published; others never look at the line."""


def weights() -> torch.Tensor:
    return torch.tensor([0.3, -1.7, 1e-30]).requires_grad_()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", SEARCHES)
def test_a_bad_loss_leaves_the_weights_bit_by_bit(name, bad):
    w = weights()
    optimizer = SEARCHES[name]([w])
    optimizer.step(lambda: (w * bad).sum())
    assert torch.equal(w, weights())
    assert optimizer.line.case == Case.NONFINITE


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", LOOKING)
def test_bad_losses_at_all_probes_leave_the_weights_bit_by_bit(name, bad):
    w = weights()
    optimizer = SEARCHES[name]([w])
    optimizer.step(lambda: w.square().sum() * (1.0 if torch.equal(w, weights()) else bad))
    assert torch.equal(w, weights())
    assert optimizer.line.step == 0 or name == "ponos"  # which halves its step until no weight moves any more


@pytest.mark.parametrize("name", SEARCHES)
def test_training_goes_on_after_a_bad_batch(name):
    w = weights()
    optimizer = SEARCHES[name]([w])
    factors = iter([1.0, math.nan])
    factor = next(factors)
    for _ in range(12):
        optimizer.step(lambda: factor * w.square().sum())
        factor = next(factors, 1.0)
    for _ in range(40):
        optimizer.step(lambda: w.square().sum())
    assert w.isfinite().all()
    assert w.norm() < 0.8 * weights().norm()
