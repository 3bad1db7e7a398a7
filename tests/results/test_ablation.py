"""Tables and figures of PAL with one thing changed at a time."""

import numpy as np
import pandas as pd
import pytest
from made import finished as finished_run
from made import trained
from sample_tables import table

from experiments import figures
from experiments.common.errors import UserError
from experiments.results.claims.evidence import Evidence
from experiments.results.claims.judge import judge
from experiments.results.claims.margins import not_worse
from experiments.results.tables.ablation import ablation
from experiments.runs.key import run_key
from experiments.studies.ablation import Part, Settings, plan
from experiments.training.config import resolve

VARIANTS = ["pal-counted-twice", "pal-new-masks", "pal-l2-beside", "pal-safeguard"]
PART = {"problems": ["digits-cnn"], "seeds": [0, 1], "steps": 5, "variants": VARIANTS}


def test_the_reference_is_planned_once_and_l2_moves_over_to_the_optimizer():
    part = Part(**PART, mus=[0.01, 0.1], dtypes=["float32", "bfloat16"])
    configs = plan(Settings(parts=[part]))
    assert len({run_key(config) for config in configs}) == len(configs) == 2 * (4 + len(VARIANTS))
    plain = [config for config in configs if config.optimizer == "pal" and config.dtype == "float32"]
    assert {(config.settings["mu"], config.l2) for config in plain} == {(0.01, 1e-4), (0.1, 1e-4)}
    (beside,) = {
        (config.settings["weight_decay"], config.l2)
        for config in configs
        if config.optimizer == "pal-l2-beside"
    }
    assert beside == (1e-4, 0.0)
    assert {config.method for config in configs if config.dtype == "bfloat16"} == {"pal-bfloat16"}


def test_errors_of_the_published_code_differ_in_one_thing_from_their_reference():
    alig = {"max_lr": 1.0, "momentum": 0.9}
    part = Part(**PART | {"seeds": [0], "variants": ["pal-unshuffled", "alig-numerator"]}, alig=alig)
    plain, unshuffled, reference, numerator = plan(Settings(parts=[part]))
    compared = {"reference": f"pal {plain.setting}"}
    assert unshuffled == plain.model_copy(
        update=compared | {"method": "pal-unshuffled", "problem": "digits-cnn-unshuffled"}
    )
    assert (plain.resolved_problem.shuffle, unshuffled.resolved_problem.shuffle) == (True, False)
    assert reference.settings | {"numerator": 1.0} == numerator.settings
    assert reference.settings.items() >= alig.items()
    compared = {"reference": f"alig {reference.setting}"}
    assert numerator == reference.model_copy(
        update=compared | {"method": "alig-numerator", "settings": numerator.settings}
    )


def finished(folder, result, optimizer="pal", seed=0, *, changes=None, **arrays):
    """A finished run of five steps."""
    fields = {"problem": "digits-cnn", "optimizer": optimizer, "seed": seed, "steps": 5} | (changes or {})
    name = fields.get("method", optimizer)
    if "-" in name:
        plain = resolve("ablation", problem="digits-cnn", optimizer=name.partition("-")[0])
        fields["reference"] = f"{plain.method} {plain.setting}"
    names = ("final_train_loss", "final_val_loss", "final_val_accuracy", "test_accuracy")
    whole = dict(zip(names, result, strict=True)) | {"status": "completed" if result[0] else "diverged"}
    whole |= {"min_train_loss": result[0], "best_val_accuracy": result[2]}
    series = {"case": np.zeros(5), "step": np.arange(5.0), "learning_rate": np.arange(5.0)}
    series |= {"evaluations__evaluation_step": [3, 5]} | arrays
    return finished_run(folder, resolve("ablation", **fields), whole, **series)


def test_a_variant_is_compared_with_the_reference_of_its_seed(tmp_path):
    runs = [
        finished(tmp_path / "a", (0.1, 0.2, 0.9, 0.9)),
        finished(tmp_path / "b", (0.2, 0.2, 0.8, 0.8), seed=1),
        finished(tmp_path / "c", (1.0, 0.3, 0.8, 0.9), "pal-safeguard", case=[0, 0, 4, 5, 3]),
        finished(tmp_path / "d", (None, None, 0.1, None), "pal-safeguard", seed=1),
    ]
    made = ablation(runs)
    rows = made["runs"].set_index(["variant", "seed"])
    shares = rows.loc[("pal-safeguard", 0), ["refused_fraction", "normal_fraction", "median_step"]]
    assert shares.tolist() == [0.4, 0.4, 2]
    differences = made["differences"].set_index(["quantity", "seed"])["difference"]
    assert differences["val_accuracy"].tolist() == pytest.approx([-0.1, -0.8])
    assert differences["log10_train_loss"].tolist() == pytest.approx([1.0, np.nan], nan_ok=True)
    effects = made["effects"].set_index("quantity")
    # 0.35: the standard error of two values 0.7 apart; 12.706: Student's quantile for two.
    assert effects.loc["val_accuracy", ["mean", "low", "high", "n"]].tolist() == pytest.approx(
        [-0.45, -0.45 - 0.35 * 12.706, -0.45 + 0.35 * 12.706, 2], abs=1e-4
    )
    assert effects.loc["log10_train_loss", "n"] == 1


def test_errors_are_compared_with_what_has_them_not(tmp_path):
    unshuffled = {"method": "pal-unshuffled", "problem": "digits-cnn-unshuffled"}
    numerator = {"method": "alig-numerator", "settings": {"numerator": 1.0}}
    runs = [
        finished(tmp_path / "a", (0.1, 0.2, 0.9, 0.9)),
        finished(tmp_path / "b", (0.1, 0.2, 0.7, 0.9), changes=unshuffled),
        finished(tmp_path / "c", (0.1, 0.2, 0.8, 0.8), "alig"),
        finished(tmp_path / "d", (0.1, 0.2, 0.5, 0.9), "alig", changes=numerator),
    ]
    means = ablation(runs)["effects"].set_index(["quantity", "problem", "reference", "variant"])["mean"]
    assert means.loc["val_accuracy"].to_dict() == {
        ("digits-cnn", "pal", "pal-unshuffled"): pytest.approx(-0.2),
        ("digits-cnn", "alig", "alig-numerator"): pytest.approx(-0.3),
    }


def test_a_loss_without_l2_term_gets_it_added(tmp_path):
    line = {"lines__l2": [9, 9, 9, 0.1, 0.3], "lines__at": range(5)}
    run = finished(tmp_path / "a", (1.0, 0.2, 0.9, 0.9), "pal-l2-beside", **line)
    assert ablation([run])["runs"]["final_train_loss"].tolist() == [pytest.approx(1.2)]


def swept(accuracies, dtype="float32", shares=(1.0, 1.0, 1.0), **columns):
    """Plain PAL with mu = 0.01, 0.1 and 1, three seeds; an accuracy of None has diverged."""
    same = {"part": "mu", "variant": "pal", "dtype": dtype, "refused_fraction": 0.0} | columns
    return [
        row | same | {"mu": mu, "normal_fraction": share}
        for mu, accuracy, share in zip((0.01, 0.1, 1.0), accuracies, shares, strict=True)
        for row in trained("pal", [accuracy and 0.1] * 3, accuracy and [accuracy] * 3)
    ]


def compared(differences, quantity="val_accuracy", variant="pal-safeguard"):
    """One difference per seed."""
    return [
        {"problem": "p", "reference": variant.partition("-")[0], "variant": variant, "quantity": quantity}
        | {"seed": seed, "difference": difference}
        for seed, difference in enumerate(differences)
    ]


def test_figures_show_every_variant_and_what_diverged_and_name_every_axis():
    runs = pd.DataFrame(swept((0.9, 0.9, None)) + swept((0.5, 0.9, 0.9), "bfloat16"))
    sweep = figures.measuring_step(pd.concat([runs, runs.assign(problem="q")]))
    assert [text.get_text() for text in sweep.legends[0].get_texts()] == ["float32", "bfloat16", "diverged"]
    assert all(axes.get_ylabel() for axes in sweep.axes[::2])
    rows = [
        row
        for quantity in ("val_accuracy", "log10_train_loss", "normal_fraction")
        for variant in VARIANTS
        for row in compared([0.1, 0.2], quantity, variant)
    ]
    differences = pd.DataFrame(rows)
    keys = ["quantity", "problem", "reference", "variant"]
    means = differences.groupby(keys)["difference"].agg(mean="mean", low="min", high="max").reset_index()
    effects = figures.variant_effects(differences, means)
    for axes in effects.axes:
        assert axes.get_xlabel()
        assert len(axes.get_yticklabels()) == len(VARIANTS)


OWN = {
    "reference": {"name": "adapted", "optimizer": "pal", "settings": {"beta": 0.4}},
    "variants": {"gentle": {"optimizer": "pal", "settings": {"beta": 0.2}}, "smoothed": {"optimizer": "sgd"}},
}


def test_a_comparison_takes_any_reference_and_variants_by_any_names(tmp_path):
    part = Part(problems=["digits-cnn"], seeds=[0, 1], steps=5, comparisons=[OWN])
    configs = plan(Settings(parts=[part]))
    assert len(configs) == 6
    results = {
        "adapted": (0.2, 0.2, 0.8, 0.8),
        "gentle": (0.1, 0.2, 0.9, 0.9),
        "smoothed": (2.0, 0.2, 0.8, 0.8),
    }
    runs = []
    for place, config in enumerate(configs):
        changes = config.model_dump(include={"method", "settings", "reference", "seed"})
        result = results[config.method]
        runs.append(finished(tmp_path / str(place), result, config.optimizer, changes=changes))
    made = ablation(runs)
    effects = made["effects"].set_index(["quantity", "variant"])
    assert effects.loc[("val_accuracy", "gentle"), ["mean", "n"]].tolist() == pytest.approx([0.1, 2])
    assert effects.loc[("log10_train_loss", "smoothed"), "mean"] == pytest.approx(1.0)
    drawn = figures.variant_effects(made["differences"], made["effects"])
    words = {label.get_text() for label in drawn.axes[0].get_yticklabels()}
    assert words == {"gentle\n(against adapted)", "smoothed\n(against adapted)"}


def test_a_variant_cannot_be_called_like_its_reference():
    with pytest.raises(UserError, match="a variant is called 'adapted' like its reference"):
        Part.read(
            {
                "problems": ["p"],
                "seeds": [0],
                "comparisons": [OWN | {"variants": {"adapted": {"optimizer": "sgd"}}}],
            },
            "profile",
        )


def declared(folder, differences, quantity):
    """Tables of a profile in which a variant differs from its reference by these numbers, one per seed."""
    names = {"val_accuracy": "final_val_accuracy_reestimated", "val_loss": "final_val_loss"}
    same = {
        "problem": "digits-cnn",
        "steps": 5,
        "dtype": "float32",
        "setting": "mu=0.1",
        "status": "completed",
    }
    rows = [
        same
        | {"variant": variant, "seed": seed, names[quantity]: value}
        | {"reference": "pal", "reference_setting": "mu=0.1" if variant != "pal" else ""}
        for seed, difference in enumerate(differences)
        for variant, value in (("pal", 0.5), ("gentle", None if difference is None else 0.5 + difference))
    ]
    path = folder / "results" / "mine" / "ablation"
    path.mkdir(parents=True)
    table("ablation/runs", len(rows)).assign(**pd.DataFrame(rows)).to_csv(path / "runs.csv", index=False)
    return Evidence("mine", folder)


@pytest.mark.parametrize(
    ("differences", "quantity", "verdict"),
    [
        ((0.0, -0.005, 0.001, 0.002), "val_accuracy", "supported"),
        ((-0.4, -0.41, -0.4, -0.4), "val_accuracy", "contradicted"),
        ((0.0, -0.005, 0.001, 0.0), "val_loss", "supported"),
        ((0.1, 0.11, 0.1, 0.1), "val_loss", "contradicted"),
        ((-0.1, -0.11, -0.1, None), "val_loss", "out of reach"),
        ((-0.1, -0.11, -0.1), "val_loss", "undecided"),
    ],
)
def test_a_declared_margin_becomes_a_claim(tmp_path, differences, quantity, verdict):
    known = declared(tmp_path, differences, quantity)
    margin = 0.2 if quantity == "val_accuracy" else 0.05  # more than the sampling error of 270 examples
    assert judge(not_worse("gentle", "pal", margin, quantity), known).row["verdict"] == verdict
    assert judge(not_worse("gentle", "alig", margin, quantity), known).row["verdict"] == "not measured"
