"""Thinned runs: what is rounded, by how much, and that it can be seen."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from small_runs import same_arrays, short

from experiments.runs import run_directory
from experiments.runs.finished import find_finished
from experiments.runs.integrity import damage
from experiments.runs.thinning import thin, thinned
from experiments.training.loop import train


@given(arrays(np.float32, st.integers(0, 40), elements=st.floats(width=32)), st.integers(0, 20))
def test_later_losses_are_rounded_to_eight_significant_bits(values, exact):
    (found,) = thinned({"train_loss": values}, exact).values()
    assert found.dtype == values.dtype
    assert found[:exact].tobytes() == values[:exact].tobytes()
    ordinary = (np.abs(values) > 1e-37) & (np.abs(values) < 3e38)
    np.testing.assert_allclose(found[ordinary], values[ordinary], rtol=2**-8)
    assert not (found[exact:].view(np.uint32)[~np.isnan(values[exact:])] & 0xFFFF).any()
    special = ~np.isfinite(values)
    np.testing.assert_array_equal(found[special], values[special])
    (again,) = thinned({"train_loss": found}, exact).values()
    np.testing.assert_array_equal(again, found)


def test_a_thinned_run_is_whole_says_so_and_is_otherwise_the_same(tmp_path, runs_root):
    config = short(steps=30)
    directory = run_directory.execute(config, train)
    copy = thin(directory, tmp_path / "copy", exact=10)
    assert damage(copy) is None
    second = thin(copy, tmp_path / "second", exact=10)
    assert {path.name: path.read_bytes() for path in second.iterdir()} == {
        path.name: path.read_bytes() for path in copy.iterdir()
    }
    before = dict(find_finished([config])[0].trace)
    directory.rename(tmp_path / "away")
    copy.rename(directory)
    (run,) = find_finished([config])
    assert "bfloat16" in run.info["thinned"]
    after = dict(run.trace)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert "train_loss" in changed
    assert all(name.endswith("loss") and "/" not in name for name in changed)
    others = before.keys() - changed
    assert same_arrays({name: before[name] for name in others}, {name: after[name] for name in others})
    original = json.loads((tmp_path / "away" / "info.json").read_text())
    assert {name: value for name, value in run.info.items() if name != "thinned"} == original
