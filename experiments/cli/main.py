"""The command line. Everything heavy is imported by the command that needs it, so that --help is quick."""

import argparse
import logging
import math
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from experiments.common.errors import UserError

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
"""Seconds of the units of time."""

ONLY = "some runs, such as cifar10-*,pal,seed=0"

WIDE = 170
"""Columns of a table where no terminal limits them."""

log = logging.getLogger(__name__)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; a mistake of the user's is one line and exit code 2."""
    arguments = _parsed(words)
    ours = logging.getLogger("experiments")
    ours.handlers, ours.level = [logging.StreamHandler(sys.stderr)], logging.INFO
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    try:
        return arguments.command(arguments) or 0
    except UserError as error:
        log.error(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        log.error("\nstopped; the same command continues where this one ended")
        return 130


def _parsed(words: Sequence[str] | None) -> Namespace:
    """The arguments; argparse alone would take no FIELD=VALUE after an option."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    if rest and (arguments.command is not run or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.words += rest
    return arguments


def parser() -> argparse.ArgumentParser:
    """All commands; the docstring of each is its help."""
    top = argparse.ArgumentParser(
        "python -m experiments",
        description='The experiments of "Parabolic Approximation Line Search for DNNs".',
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    add = partial(_add, commands)
    option = add(run)
    option("words", nargs="+", metavar="FIELD=VALUE", help="fields of the run, or a file that holds them")
    option("--force", action="store_true", help="run it again even if it is finished")
    option("--threads", type=_positive, help="CPU threads (one per core)")
    option = add(study, profile=True)
    option("name", nargs="?", help="the study: a section of the profile (all of them)")
    option("--only", metavar="PATTERN", help=f"{ONLY}; no tables")
    option("--dry-run", action="store_true", help="only tell how many runs, and how long they take")
    option("--time-limit", type=_duration, metavar="TIME", help="end at a checkpoint after 2h, 90min or 30s")
    option("--slurm", metavar="FILE", help="as SLURM arrays with the settings in FILE (docs/cluster.md)")
    option("--slots", type=_positive, help="runs at a time (one per GPU, else one per core)")
    option("--threads", type=_positive, default=1, help="CPU threads of each run (1)")
    option = add(claims, profile=True)
    option("--show", action="store_true", help="only show the verdicts already there")
    option = add(notebook, profile=True)
    option("name", help="file name in notebooks/ without its ending")
    add(report, profile=True)
    option = add(forget, profile=True)
    option("--only", metavar="PATTERN", help=ONLY)
    option = add(verify, profile=True)
    option(
        "--sample",
        type=_positive,
        default=5,
        help="runs of each study that are repeated, at least one of each optimizer and commit (5)",
    )
    option = add(runs)
    option("words", nargs="*", metavar="FIELD=VALUE", help="only runs with these; * stands for anything")
    option("--study", help="only runs of this study")
    option("--sort", metavar="FIELD", default="started", help="order of the runs (started)")
    option("--limit", type=_positive, default=40, help="how many are shown (40)")
    option("--csv", action="store_true", help="all of them, with every field, as CSV")
    add(sync)
    option = add(omniboard)
    option("--port", type=_positive, default=9000, help="of Omniboard's page on this machine (9000)")
    add(problems)
    option = add(data)
    option("names", nargs="*", help="data sets to fetch; none: list all")
    add(worker)
    return top


def _add(
    commands: Any, command: Callable[[Namespace], int | None], profile: bool = False
) -> Callable[..., Any]:
    """A command, called like its function and helped by its docstring; returns what adds its arguments."""
    text = re.sub("^    ", "", command.__doc__ or "", flags=re.MULTILINE)
    short = text.partition("\n")[0].rstrip(".")
    added = commands.add_parser(
        command.__name__,
        help=short[0].lower() + short[1:],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.set_defaults(command=command)
    if profile:
        added.add_argument("--profile", default="quick", help="file in profiles/ (quick)")
    return added.add_argument


def run(arguments: Namespace) -> int:
    """Train one network.

    Its fields are given as words or as a file with the same fields (YAML or JSON):

      python -m experiments run problem=digits-cnn optimizer=pal settings.mu=0.1 seed=1
      python -m experiments run problem=cifar10-resnet20 optimizer=sgd settings.lr=0.05 schedule=step steps=3000
      python -m experiments run my-run.yaml seed=2

    Fields: problem, optimizer, settings.NAME, schedule (none, step, cosine), steps, batch_size, l2, train_size,
    evaluate_every, seed, device (auto, cpu, cuda), dtype (float32, bfloat16), deterministic. What is missing is taken
    from the problem and the optimizer. The same run again shows its result; --force runs it again.
    """
    from joblib import cpu_count

    from experiments.cli import run

    return run.main(
        arguments.words, arguments.force, arguments.threads or cpu_count(only_physical_cores=True)
    )


def study(arguments: Namespace) -> int | None:
    """All runs of a study, or of all studies of the profile, that are not finished yet, then its tables.

      python -m experiments study benchmark --dry-run
      python -m experiments study benchmark --only 'digits-*,pal,seed=0'
      python -m experiments study benchmark --profile small --time-limit 2h

    A PATTERN is words separated by commas; a run is taken if every word is its problem, its method, its optimizer or
    its seed (seed=0). * stands for anything. Interrupted, the same command continues.

    Exit codes: 0 done, 1 a run failed (its log is named), 2 a mistake of yours, 75 not finished within the time limit.
    """
    from experiments.cli import study

    limit = arguments.time_limit or _from_environment("PAL_TIME_LIMIT", _duration)
    request = study.Request(
        profile=arguments.profile,
        study=arguments.name,
        only=arguments.only,
        slots=arguments.slots or _from_environment("PAL_SLOTS", _positive),
        threads=arguments.threads,
        slurm=arguments.slurm or os.environ.get("PAL_SLURM") or None,
        until=math.inf if limit is None else _started() + limit,
    )
    return _show(study.dry_run(request)) if arguments.dry_run else study.main(request)


def claims(arguments: Namespace) -> None:
    """Judge the claims of the paper by the tables."""
    from experiments.cli import claims

    if not arguments.show:
        from experiments.results.claims import judge

        judge.write(arguments.profile)
    else:
        _show(claims.table(arguments.profile))


def notebook(arguments: Namespace) -> None:
    """Execute a notebook: its figures and its page of the report."""
    from experiments.reports import execution

    execution.execute(arguments.name, arguments.profile)


def report(arguments: Namespace) -> None:
    """Execute the notebooks of all studies that have results, then make REPORT.md and the front page."""
    from experiments.reports import execution, markdown, pages

    execution.execute_all(arguments.profile)
    markdown.write(arguments.profile)
    markdown.into_readme(arguments.profile)
    pages.index(arguments.profile)


def forget(arguments: Namespace) -> None:
    """Delete the finished runs of a profile."""
    from experiments.cli import study

    study.forget(study.Request(arguments.profile, only=arguments.only))


def verify(arguments: Namespace) -> int:
    """Keep results that today's code would make again.

    Repeats the first steps of some finished runs of a profile with today's code and compares them with the recorded
    ones. Only if they agree, the results count as made by today's code, and nothing is run again.

    Exit codes: 0 all results are kept, 1 a run does something else today, 2 a mistake of yours, 75 all runs agree, but
    the results of some study are not complete and so not kept.
    """
    from experiments.cli import verify

    return verify.main(arguments.profile, arguments.sample)


def runs(arguments: Namespace) -> None:
    """List finished and failed runs, with the fields in which they differ.

    python -m experiments runs --study benchmark --sort val_accuracy
    python -m experiments runs problem=digits-cnn method=pal seed=0
    python -m experiments runs status=failed
    python -m experiments runs settings.mu=0.1 --csv
    """
    from experiments.cli import list_runs

    conditions = [*arguments.words, *([f"study={arguments.study}"] if arguments.study else [])]
    table = list_runs.arrange(list_runs.choose(list_runs.rows(), conditions), arguments.sort)
    if arguments.csv:
        sys.stdout.write(list_runs.as_csv(table))
    else:
        _show(list_runs.as_table(table, arguments.limit))


def sync(_: Namespace) -> None:
    """Bring all runs into the MongoDB at $MONGO_URL."""
    from experiments.runs import mongo

    url = os.environ.get("MONGO_URL")
    if not url:
        raise UserError(
            "MONGO_URL is not set; it names the database, such as mongodb://127.0.0.1:27017/sacred"
        )
    with mongo.connect(url) as database:
        new, total = mongo.sync(database)
    sys.stdout.write(f"{new} runs brought in, {total} are there\n")


def omniboard(arguments: Namespace) -> int:
    """Look at all runs in Omniboard (docs/tracking.md)."""
    from experiments.runs import omniboard

    return omniboard.main(arguments.port)


def problems(_: Namespace) -> None:
    """List data sets and networks."""
    from experiments.problems import listing

    _show(listing.table())


def data(arguments: Namespace) -> None:
    """Fetch and check data sets, or list what is there."""
    from experiments.data import listing

    if arguments.names:
        listing.fetch(arguments.names)
    _show(listing.table())


def worker(_: Namespace) -> None:
    """Execute the run configs that a launcher writes to standard input."""
    from experiments.runs import worker

    worker.main()


def _show(table: Any) -> None:
    """Print a table as wide as the terminal; in a file or a pipe it is not folded."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of at least 1")
    return int(word)


def _duration(word: str) -> float:
    """Seconds in 2h, 90min, 30s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", word)
    if not found or found[2] not in UNITS or not float(found[1]):
        raise argparse.ArgumentTypeError(
            f"{word!r} is no time such as {', '.join('2' + unit for unit in UNITS)}"
        )
    return float(found[1]) * UNITS[found[2]]


def _from_environment(variable: str, read: Callable[[str], Any]) -> Any:
    """What make passes on; empty means not given."""
    value = os.environ.get(variable)
    try:
        return read(value) if value else None
    except argparse.ArgumentTypeError as error:
        raise UserError(f"{variable} is {value!r}; {error}") from None


def _started() -> float:
    """Moment of `time.monotonic` at which a time limit begins: make's start, if make calls several studies."""
    started = os.environ.get("PAL_STARTED")
    return time.monotonic() - (time.time() - float(started) if started else 0.0)
