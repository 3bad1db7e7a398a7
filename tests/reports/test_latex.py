"""Tables as LaTeX: means with their spread, units, and no commands in text."""

import math
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.common.errors import UserError
from experiments.reports.latex import _with_spread, latex

NUMBERS = r"\(?(-?[\d.]+) \\pm ([\d.]+)\)?(?: \\times 10\^\{(-?\d+)\})?"


def best(**columns):
    return pd.DataFrame({"method": ["pal"], "train_loss_mean": [0.5], "train_loss_sd": [0.012]} | columns)


def body(text):
    return text.split("\\midrule\n")[1].split(" \\\\")[0]


@settings(deadline=None)
@given(st.floats(1e-12, 1e9), st.floats(1e-4, 1.0))
def test_a_mean_has_the_decimals_of_two_digits_of_its_spread(mean, part):
    spread = mean * part
    found = re.search(NUMBERS, _with_spread(mean, spread))
    unit = 10.0 ** int(found[3] or 0)
    assert math.isclose(float(found[2]) * unit, spread, rel_tol=0.06)
    assert abs(float(found[1]) * unit - mean) <= 0.06 * spread + 1e-12 * mean
    decimals = [len(found[place].partition(".")[2]) for place in (1, 2)]
    assert decimals[0] == decimals[1]


def test_spreads_and_intervals_are_in_the_column_of_their_mean():
    table = best(n=[4], behind_pal=[-0.0123], low=[-0.02], high=[0.001])
    text = latex(table, "benchmark/best")
    assert text.splitlines()[2] == r"method & train loss (loss) & n (seeds) & behind pal \\"
    assert body(text) == r"PAL & $0.500 \pm 0.012$ & $4$ & $-0.012\ [-0.020, 0.001]$"
    sizes = pd.DataFrame({"size": [8], "step": [0.2], "step_low": [0.1], "step_high": [0.3]})
    assert body(latex(sizes, "batchsize/summary")) == r"$8$ & $0.20\ [0.10, 0.30]$"


def test_without_a_spread_there_is_the_number_and_without_a_number_nothing():
    nothing = float("nan")
    text = latex(
        best(train_loss_sd=[nothing], test_loss_mean=[nothing], test_loss_sd=[nothing], rate=[2e-7]), "a/b"
    )
    assert body(text) == r"PAL & $0.5$ &  & $2 \times 10^{-7}$"


def test_text_is_no_command_to_latex():
    text = latex(pd.DataFrame({"setting_1": [r"mu=0.1 & 5 % of #_{x}^~ \ $"]}), "a/b")
    assert body(text) == (
        r"mu=0.1 \& 5 \% of \#\_\{x\}\textasciicircum{}\textasciitilde{} \textbackslash{} \$"
    )
    assert "setting 1" in text


def test_columns_are_chosen_and_a_wrong_one_is_named():
    assert body(latex(best(), "benchmark/best", ["train_loss"])) == r"$0.500 \pm 0.012$"
    with pytest.raises(UserError, match="no column 'trainloss'; did you mean 'train_loss'"):
        latex(best(), "benchmark/best", ["trainloss"])
