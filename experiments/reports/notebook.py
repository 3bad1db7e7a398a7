"""What notebooks work with: they read tables and save figures, each with a record of what it was made from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from experiments import figures
from experiments.common.paths import REPOSITORY, write_whole
from experiments.figures.registry import FIGURES, naming
from experiments.reports.catalogue import CLAIMS, figures_of, tables_of
from experiments.results import missing, tables

if TYPE_CHECKING:
    from IPython.display import Image
    from matplotlib.figure import Figure


def styled(data: pd.DataFrame) -> Any:
    """A table for reading: four digits, no index."""
    return data.style.format(precision=4, na_rep="", escape="html").hide(axis="index").set_uuid("table")


def figures_folder(profile: str, notebook: str, root: Path = REPOSITORY) -> Path:
    """The folder of the figures of a notebook."""
    return root / "figures" / profile / notebook


def draw_own(profile: str) -> None:
    """Draw every figure of an extension whose study has tables; raises UserError if one fails."""
    for name, drawing in FIGURES.items():
        if (tables.folder(profile, drawing.study) / "provenance.csv").is_file():
            Session(drawing.study, profile).draw(name)


class Session:
    """One notebook for one profile.

    Args:
        name: Name of the notebook.
        profile: The profile with the tables that it reads.
        root: Folder that contains results/ and figures/.
    """

    def __init__(self, name: str, profile: str, root: Path | str | None = None) -> None:
        self._name, self._profile, self._root = name, profile, Path(root or REPOSITORY)
        self._read: set[tuple[str, str]] = set()

    def table(self, study: str, name: str) -> pd.DataFrame:
        """One table of a study; raises UserError if it has not been made."""
        self._read.add((study, name))
        return tables.read(self._profile, study, name, self._root)

    def verdicts(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The claims of the profile with their verdicts, and the estimates behind them."""
        return tables.verdicts_of(self._profile, self._root)

    def draw(self, name: str, **look: Any) -> list["Image"]:
        """Draw and save a figure of this notebook, or one for each problem; returns them for display.

        Args:
            name: As in `reports.catalogue`.
            look: Size and style, see `figures.style.styled`.
        """
        drawing = figures_of(self._name)[name]
        read = tables_of(drawing, self._profile, self._root)
        if drawing.study != CLAIMS:
            self._read.update((drawing.study, table) for table in drawing.tables)
        with naming(name):
            return [self.show(draw(**look), one) for one, draw in drawing.named(name, read).items()]

    def show(self, figure: "Figure", name: str) -> "Image":
        """Save a figure as PNG and PDF, with its sources as JSON; returns it for display."""
        from IPython.display import Image

        lacking = {study: missing.words(self._profile, study, self._root) for study, _ in sorted(self._read)}
        if any(lacking.values()):
            figures.remark(figure, "incomplete: " + "; ".join(filter(None, lacking.values())))
        path = figures_folder(self._profile, self._name, self._root) / name
        picture = figures.save(figure, path)[0]
        write_whole(path.with_suffix(".json"), json.dumps(self._sources(), indent=1) + "\n")
        return Image(picture)

    def _sources(self) -> dict[str, object]:
        """The tables read so far, and the runs and commits behind them."""
        studies = sorted({study for study, _ in self._read})
        return {
            "profile": self._profile,
            "tables": [f"results/{self._profile}/{study}/{name}.csv" for study, name in sorted(self._read)],
            "commits": sorted(
                {commit for study in studies for commit in self._column(study, "provenance", "commit")}
            ),
            "runs": {study: sorted(self._column(study, "times", "key")) for study in studies},
        }

    def _column(self, study: str, name: str, column: str) -> list[str]:
        return tables.read(self._profile, study, name, self._root)[column].dropna().astype(str).tolist()
