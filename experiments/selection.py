"""Some runs of a plan: `--only cifar10-*,pal,seed=0`.

Words separated by commas; a run is taken if every word is its problem, its entry, its optimizer or its "seed=N". In a
word, * stands for anything.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

from experiments.config import RunConfig
from experiments.errors import UserError, nearest


def words(pattern: str) -> list[str]:
    """The words of a pattern; raises UserError if there is none."""
    found = [word.strip() for word in pattern.split(",") if word.strip()]
    if not found:
        raise UserError(
            "only: the pattern is empty; it must name a problem, an entry, an optimizer or seed=N"
        )
    return found


def select(configs: Sequence[RunConfig], pattern: str) -> list[RunConfig]:
    """The runs that match every word.

    Raises:
        UserError: For a word that no run matches, with the nearest names; and if no run matches all words.
    """
    wanted = words(pattern)
    known = list(dict.fromkeys(name for config in configs for name in labels(config)))
    for word in wanted:
        if not any(fnmatchcase(name, word) for name in known):
            raise UserError(
                f"only: no run has the problem, entry, optimizer or seed {word!r}; {nearest(word, known)}"
            )
    chosen = [
        config
        for config in configs
        if all(any(fnmatchcase(name, word) for name in labels(config)) for word in wanted)
    ]
    if not chosen:
        raise UserError(f"only: no run matches all words of {pattern!r}")
    return chosen


def labels(config: RunConfig) -> tuple[str, ...]:
    """What words are compared with."""
    return config.problem, config.entry, config.optimizer, f"seed={config.seed}"
