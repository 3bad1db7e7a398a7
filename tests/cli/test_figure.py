"""One figure as a file."""

import pandas as pd
import pytest
from matplotlib.figure import Figure

from experiments.cli import figure
from experiments.cli.list_runs import rows_where
from experiments.common.errors import UserError
from experiments.figures.style import new_figure, styled
from experiments.reports import drawings

TABLE = pd.DataFrame({"problem": ["p", "q"], "seed": [0, 1], "step": [1.0, 2.0]})


@styled
def drawn(table: pd.DataFrame) -> Figure:
    """A small figure with characters that are commands to LaTeX."""
    picture, axes = new_figure(7.2, 2.0)
    axes.plot(table["seed"], table["step"])
    axes.set(xlabel="seed_1", ylabel="50 % & more, #1, $x_1$")
    picture.suptitle("title")
    return picture


@pytest.fixture(autouse=True)
def found(monkeypatch):
    """A figure of a small table, whatever name is asked for."""
    monkeypatch.setattr(
        drawings, "find", lambda path, profile, choose: lambda **look: drawn(choose([TABLE])[0], **look)
    )


@pytest.mark.parametrize(("ending", "start"), [("pdf", b"%PDF"), ("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_ending_is_the_format_and_the_same_figure_has_the_same_bytes(tmp_path, ending, start):
    files = [
        figure.main("lines/a", "quick", [], str(tmp_path / part / f"a.{ending}"), width=3.3) for part in "xy"
    ]
    content = [file.read_bytes() for file in files]
    assert content[0].startswith(start)
    assert content[0] == content[1]


def test_a_figure_without_a_file_is_a_pdf_of_its_name_in_this_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(figure.main("lines/shape", "quick", [], None)) == "shape.pdf"
    assert (tmp_path / "shape.pdf").is_file()


def test_a_format_that_is_not_known_or_not_possible_is_one_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"'a\.doc' is not known; it must end with \.pdf, \.svg"):
        figure.main("lines/a", "quick", [], "a.doc")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="PGF needs LaTeX"):
        figure.main("lines/a", "quick", [], "a.pgf")


def test_text_is_no_command_to_latex():
    picture = drawn(TABLE, title=False)
    figure._escape(picture)
    axes = picture.axes[0]
    assert axes.get_xlabel() == "seed_1"  # matplotlib's preamble prints underscores
    assert axes.get_ylabel() == "50 % & more, #1, $x_1$"  # has mathematics
    axes.set_ylabel("50 % & #1")
    figure._escape(picture)
    assert axes.get_ylabel() == r"50 \% \& \#1"


def test_words_choose_rows_of_the_tables_that_have_the_field():
    other = pd.DataFrame({"radius": [1.0]})
    some, same = rows_where([TABLE, other], ["problem=q", "seed=1"])
    assert some["step"].tolist() == [2.0]
    assert some.columns.tolist() == TABLE.columns.tolist()
    assert same.equals(other)
    for words, sentence in (
        (["problem=r"], "no row has problem=r"),
        (["problme=q"], "there is no field 'problme'; did you mean 'problem'"),
        (["problem"], "not a condition"),
    ):
        with pytest.raises(UserError, match=sentence):
            rows_where([TABLE, other], words)


def test_a_figure_that_is_not_there_is_one_sentence(monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match="'shape' is of no study"):
        figure.main("shape", "quick", [], None)


def test_a_study_alone_is_answered_with_the_names_of_its_figures(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(drawings, "tables_of", lambda *_: [TABLE])
    with pytest.raises(
        UserError, match="those of capacity are capacity/capacity-rates, capacity/capacity-loss"
    ):
        figure.main("capacity", "quick", [], None)
