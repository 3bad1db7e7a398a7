"""The baselines against what their authors' implementations computed."""

import math

import numpy as np
import pytest
import reference
import torch

from pal.baselines import COCOB, SGDHD, SLS, AliG

LINE_SEARCHES = {
    "sls-mlp": SLS,
    "sls-mlp-strict": SLS,
    "sls-cosine": SLS,
    "alig-mlp": AliG,
    "alig-mlp-unclipped": AliG,
}
PLAIN = {"sgdhd-mlp": SGDHD, "sgdhd-mlp-nesterov": SGDHD, "cocob-mlp": COCOB, "cocob-quadratic": COCOB}


def search(optimizer, loss_fn):
    return optimizer.step(loss_fn).item(), optimizer.line.learning_rate.item()


def plain(optimizer, loss_fn):
    optimizer.zero_grad()
    loss = loss_fn()
    loss.backward()
    optimizer.step()
    return loss.item(), optimizer.param_groups[0].get("lr", math.nan)


@pytest.mark.parametrize("case", [*LINE_SEARCHES, *PLAIN])
def test_follows_the_published_trajectory(case, reference_dir):
    published = reference.load(reference_dir, case)
    weights = published.start()
    optimizer = (LINE_SEARCHES | PLAIN)[case](weights, **published.settings)
    advance = search if case in LINE_SEARCHES else plain
    kept, losses, rates = [published.theta[0]], [], []
    for step in range(len(published.losses)):
        loss, rate = advance(optimizer, lambda step=step: published.loss(step, weights))
        losses.append(loss)
        rates.append(rate)
        if step + 1 in published.kept:
            kept.append(torch.cat([weight.detach().flatten() for weight in weights]).numpy())
    for ours, theirs in ((kept, published.theta), (losses, published.losses), (rates, published.rates)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.nan_to_num(np.abs(theirs)).max())
