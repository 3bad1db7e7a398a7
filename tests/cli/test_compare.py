"""Two sets of results, and which differences between them are more than noise."""

import pandas as pd
import pytest
from copies import git
from sample_tables import table

from experiments.cli import compare
from experiments.cli import main as cli
from experiments.common import git as git_module
from experiments.common.errors import UserError

SEEDS = (0, 1, 2)


def write(folder, losses, mu=0.1, mean=0.5, verdict="undecided", part="", place=1):
    """Results with one claim, and two methods of which `pal` has these losses, one for each seed."""
    there = folder / "benchmark"
    there.mkdir(parents=True)
    claim = {
        "id": "one",
        "part": part,
        "mean": mean,
        "low": mean - 0.1,
        "high": mean + 0.1,
        "verdict": verdict,
    }
    table("claims", 1, **claim).to_csv(folder / "claims.csv", index=False)
    who = {"problem": "digits", "method": "pal", "setting": f"mu={mu:g}"}
    runs = [who | {"seed": seed, "final_train_loss": loss} for seed, loss in zip(SEEDS, losses, strict=False)]
    table("benchmark/runs", len(runs)).assign(**pd.DataFrame(runs)).to_csv(there / "runs.csv", index=False)
    criterion = {"criterion": "training loss"}
    table("benchmark/best", 1, **who | criterion).to_csv(there / "best.csv", index=False)
    rows = [who | criterion | {"rank": place}, who | criterion | {"method": "sgd", "rank": 3 - place}]
    table("benchmark/ranking").assign(**pd.DataFrame(rows)).to_csv(there / "ranking.csv", index=False)
    return folder


@pytest.mark.parametrize(
    ("losses", "word"),
    [
        ((0.1, 0.2, 0.4), "no"),
        ((0.2, 0.41, 0.79), "yes"),  # twice as much with each seed, however different seeds are
        ((0.2, 0.1, 0.3), "no"),
        ((0.2,), "one value"),
    ],
)
def test_settings_are_compared_seed_by_seed(tmp_path, losses, word):
    old, new = write(tmp_path / "old", (0.1, 0.2, 0.4)), write(tmp_path / "new", losses, mu=0.3)
    (row,) = compare.best(old, new, "benchmark").to_dict("records")
    assert (row["setting before"], row["setting after"]) == ("mu=0.1", "mu=0.3")
    assert row["beyond seed noise"] == word


def test_seeds_that_selected_a_setting_do_not_judge_it(tmp_path):
    old, new = write(tmp_path / "old", (0.1, 0.2, 0.4)), write(tmp_path / "new", (0.2, 0.2, 0.9))
    for folder in (old, new):
        runs = pd.read_csv(folder / "benchmark" / "runs.csv")
        runs.assign(phase=["evaluation", "evaluation", "selection"]).to_csv(
            folder / "benchmark" / "runs.csv", index=False
        )
    (row,) = compare.best(old, new, "benchmark").to_dict("records")
    assert row["final_train_loss"] == "0.15 -> 0.2"


@pytest.mark.parametrize(("mean", "word"), [(0.5, "no"), (0.6, "no"), (0.7, "yes")])
def test_claims_change_if_their_intervals_say_so(tmp_path, mean, word):
    old = write(tmp_path / "old", (0.1,))
    new = write(tmp_path / "new", (0.1,), mean=mean, verdict="supported")
    (row,) = compare.claims(old, new).to_dict("records")
    assert row["beyond seed noise"] == word
    assert row["after"].endswith("supported")


def test_values_of_different_parts_are_not_compared(tmp_path):
    old, new = write(tmp_path / "old", (0.1,), part="sgd"), write(tmp_path / "new", (0.1,), part="adam")
    (row,) = compare.claims(old, new).to_dict("records")
    assert (row["before"], row["after"]) == ("0.5 undecided (sgd)", "0.5 undecided (adam)")
    assert row["beyond seed noise"] == "another part"


def test_a_column_that_other_code_has_not_written_is_named(tmp_path):
    old = write(tmp_path / "old", (0.1,))
    pd.read_csv(old / "claims.csv").drop(columns="mean").to_csv(old / "claims.csv", index=False)
    with pytest.raises(UserError, match=r"claims\.csv is damaged: it has no column 'mean'"):
        compare.claims(old, old)


def test_only_methods_with_another_rank_are_named(tmp_path):
    old, new = write(tmp_path / "old", (0.1,)), write(tmp_path / "new", (0.1,), place=2)
    assert set(compare.rankings(old, new)["method"]) == {"pal", "sgd"}
    assert compare.rankings(old, old).empty


def test_folders_and_revisions_are_compared_and_anything_else_is_refused(tmp_path, monkeypatch, capsys):
    write(tmp_path / "results" / "mine", (0.1, 0.2, 0.4))
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message=all"]):
        git(tmp_path, *words)
    for module in (git_module, compare):
        monkeypatch.setattr(module, "REPOSITORY", tmp_path)
    other = write(tmp_path / "other", (0.3, 0.6, 1.2), mu=0.3)
    assert cli.main(["compare", "HEAD:mine", str(other)]) == 0
    assert "mu=0.3" in capsys.readouterr().out
    assert cli.main(["compare", "mine", "HEAD~9"]) == 2
    assert "'HEAD~9' is neither a profile with results" in capsys.readouterr().err
