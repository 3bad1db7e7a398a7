"""Runs on disk and rows of tables, made of a few numbers."""

import json

import numpy as np
import pandas as pd

from experiments.runs.finished import FinishedRun


def finished(folder, config, result, **arrays):
    """A finished run; `lines__at` is the array lines/at."""
    folder.mkdir()
    named = {name.replace("__", "/"): np.asarray(values, dtype=float) for name, values in arrays.items()}
    np.savez(folder / "trace.npz", **named)
    (folder / "run.json").write_text(json.dumps({"result": {"status": "completed"} | result}))
    return FinishedRun(folder.name, config, folder)


def trained(method, losses, validation=None, test=None, **columns):
    """One run per seed; a loss of None has diverged, and has the accuracy of chance if none is given."""
    chance = [0.1 if loss is None else 0.9 for loss in losses]
    rows = {"problem": "p", "method": method, "setting": "", "seed": range(len(losses))} | columns
    rows |= {"status": ["diverged" if loss is None else "completed" for loss in losses]}
    rows |= {"final_train_loss": losses, "final_val_accuracy": validation or chance}
    rows |= {"test_accuracy": test or validation or chance}
    return pd.DataFrame(rows).astype({"final_train_loss": float}).to_dict("records")
