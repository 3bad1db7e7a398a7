"""Runs on disk and rows of tables, made of a few numbers."""

import json

import numpy as np
import pandas as pd

from experiments.runs.finished import FinishedRun


def finished(folder, config, result, **arrays):
    """A finished run; `lines__at` is the array lines/at."""
    folder.mkdir()
    named = {name.replace("__", "/"): np.asarray(values, dtype=float) for name, values in arrays.items()}
    named = {"clipped": np.zeros(len(named.get("step", ())))} | named
    if "evaluations/train_loss" in named:
        named = {"evaluations/data_loss": named["evaluations/train_loss"]} | named
    result = {"steps": config.steps, "final_data_loss": result.get("final_train_loss")} | result
    for name in ("final_val_accuracy", "test_accuracy"):
        result = {f"{name}_reestimated": result.get(name)} | result
    np.savez(folder / "trace.npz", **named)
    (folder / "run.json").write_text(json.dumps({"result": {"status": "completed"} | result}))
    return FinishedRun(folder.name, config, folder)


def trained(method, losses, validation=None, test=None, **columns):
    """One run per seed; a loss of None has diverged, and has the accuracy of chance if none is given."""
    chance = [0.1 if loss is None else 0.9 for loss in losses]
    rows = {
        "problem": "p",
        "method": method,
        "setting": "",
        "seed": range(len(losses)),
        "phase": "evaluation",
    }
    rows |= columns
    rows |= {"status": ["diverged" if loss is None else "completed" for loss in losses]}
    rows |= {"final_train_loss": losses, "final_val_accuracy": validation or chance}
    rows |= {"test_accuracy": test or validation or chance}
    rows |= {f"{name}_reestimated": rows[name] for name in ("final_val_accuracy", "test_accuracy")}
    return pd.DataFrame(rows).astype({"final_train_loss": float}).to_dict("records")
