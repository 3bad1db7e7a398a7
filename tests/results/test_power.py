"""What claims can see at the planned number of trainings."""

import numpy as np
import pandas as pd
import pytest
from simulated import CLAIMS

from experiments.cli import main as cli
from experiments.cli import power as command
from experiments.results.claims.power import declared_out_of_reach, power, power_file, read_pilots
from experiments.results.claims.statistics import OVER

PILOTS = pd.DataFrame(
    [("p", "final_train_loss", 0.02, 3), ("q", "final_train_loss", 0.2, 3), ("p", "lines-convex", 0.1, 3)],
    columns=["problem", "measure", "sd", "n_seeds"],
)


def seen(claim, planned):
    return power([CLAIMS[claim]], {(CLAIMS[claim].study, "evaluation"): planned}, PILOTS).set_index("problem")


def test_pairs_have_the_spread_of_two_trainings_and_an_unknown_problem_the_largest():
    table = seen("loss-constant", {"p": 10, "q": 10, "new": 10})
    assert table["sd"][["p", "q", "new"]].tolist() == pytest.approx(
        [0.02 * np.sqrt(2), 0.2 * np.sqrt(2), 0.2 * np.sqrt(2)]
    )
    smallest = CLAIMS["loss-constant"].criterion.smallest
    for problem in ("p", "q", "new"):
        seen_there = table.loc[problem, "detectable"]
        assert table.loc[problem, "reason"] == (
            "" if seen_there <= smallest else f"sees {seen_there:.2g}, wanted {smallest:g}"
        )


def test_the_name_of_a_claim_gives_the_spread_of_its_value():
    assert seen("lines-convex", {"p": 5}).loc["p", "sd"] == 0.1


def test_the_criterion_that_is_hardest_to_meet_is_shown():
    pilots = pd.DataFrame(
        [("p", "surpasses-sls, loss", 0.01, 3), ("p", "surpasses-sls, accuracy", 0.02, 3)],
        columns=["problem", "measure", "sd", "n_seeds"],
    )
    table = power([CLAIMS["surpasses-sls"]], {("benchmark", "evaluation"): {"p": 10}}, pilots)
    assert set(table["sd"].dropna()) == {0.02}
    assert set(table["smallest"]) == {CLAIMS["surpasses-sls"].criteria["accuracy"].smallest}


def test_more_problems_and_more_trainings_see_more():
    one, two = seen("loss-constant", {"p": 8}), seen("loss-constant", {"p": 8, "q": 8})
    assert two.loc[OVER, "detectable"] < two.loc["q", "detectable"]
    assert seen("loss-constant", {"p": 12}).loc["p", "detectable"] < one.loc["p", "detectable"]
    assert one.loc[OVER, "detectable"] == pytest.approx(one.loc["p", "detectable"])


@pytest.mark.parametrize(
    ("claim", "planned", "reason"),
    [
        ("loss-constant", {"p": 3}, "3 pairs of trainings, a verdict needs 4"),
        ("loss-constant", {}, "the profile plans no runs of benchmark for evaluation"),
        ("parabola-fit", {"p": 5}, "no pilot tells the spread"),
    ],
)
def test_what_cannot_be_seen_is_out_of_reach_with_the_reason(claim, planned, reason):
    assert seen(claim, planned).loc[OVER, "reason"] == reason


@pytest.fixture
def pilots(tmp_path, monkeypatch):
    """A root with pilots of the profile quick."""
    monkeypatch.setattr(command, "read_pilots", lambda profile: read_pilots(profile, tmp_path))
    monkeypatch.setattr(command, "power_file", lambda profile: power_file(profile, tmp_path))
    path = tmp_path / "results" / "quick" / "pilots.csv"
    path.parent.mkdir(parents=True)
    PILOTS.to_csv(path, index=False)
    return path


def test_the_command_shows_every_claim_within_80_columns_and_declares_what_is_out_of_reach(
    pilots, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(cli, "WIDE", 80)
    assert cli.main(["power", "--profile", "quick"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in CLAIMS:
        assert any(line.split()[:1] == [name] for line in lines), name
    declared = declared_out_of_reach("quick", pilots.parents[2])
    assert declared["parabola-fit"] == "no pilot tells the spread"


def test_pilots_that_are_missing_or_no_pilots_are_one_sentence(pilots, capsys):
    pilots.write_text("problem,sd\np,0.1\n")
    assert cli.main(["power", "--profile", "quick"]) == 2
    assert "has no column 'measure'" in capsys.readouterr().err
    pilots.unlink()
    assert cli.main(["power", "--profile", "quick"]) == 2
    assert (
        "pilots.csv does not exist; `python -m experiments pilots --profile quick` makes it"
        in capsys.readouterr().err
    )
