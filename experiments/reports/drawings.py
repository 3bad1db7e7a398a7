"""The figures of extensions, saved where the notebooks save theirs."""

from pathlib import Path

from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY
from experiments.figures.registry import FIGURES
from experiments.reports.notebook import Session
from experiments.results import tables


def draw_all(profile: str, root: Path = REPOSITORY) -> None:
    """Draw every figure whose study has tables; raises UserError if one fails."""
    for name, drawing in FIGURES.items():
        if not (tables.folder(profile, drawing.study, root) / "provenance.csv").is_file():
            continue
        session = Session(drawing.study, profile, root)
        read = [session.table(drawing.study, table) for table in drawing.tables]
        try:
            session.show(drawing.draw(*read), name)
        except Exception as error:
            words = " ".join(f"{type(error).__name__}: {error}".split())
            raise UserError(f"the figure {name!r} cannot be drawn: {words}") from error
