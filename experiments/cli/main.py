"""The command line. Everything heavy is imported by the command that needs it, so that --help is quick."""

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from experiments.common.errors import UserError

RUN_HELP = """\
One training, from words or from a file with the same fields (YAML or JSON):

  python -m experiments run problem=digits-cnn optimizer=pal settings.mu=0.1 seed=1
  python -m experiments run problem=cifar10-resnet20 optimizer=sgd settings.lr=0.05 schedule=step steps=3000
  python -m experiments run my-run.yaml seed=2

Fields: problem, optimizer, settings.NAME, schedule (none, step, cosine), steps, batch_size, l2, train_size,
evaluate_every, seed, device (auto, cpu, cuda), dtype (float32, bfloat16), deterministic. What is missing is taken
from the problem and the optimizer. The same run again shows its result; --force runs it anew.
"""

STUDY_HELP = """\
All runs of a study (or of all studies of the profile) that are not finished yet, then its tables.

  python -m experiments study benchmark --dry-run
  python -m experiments study benchmark --only 'digits-*,pal,seed=0'
  python -m experiments study benchmark --profile small --time-limit 2h

A PATTERN is words separated by commas; a run is taken if every word is its problem, its entry, its optimizer or its
seed (seed=0). * stands for anything. Interrupted, the same command continues.

Exit codes: 0 done, 1 a run failed (its log is named), 2 a mistake of yours, 75 not finished within the time limit.
"""

VERIFY_HELP = """\
Repeats the first steps of some finished runs of a profile with today's code and compares them with the recorded ones.
Only if they agree, the results count as made by today's code, and nothing is run again.
"""

ONLY = "some runs, such as cifar10-*,pal,seed=0"

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
"""Seconds of the units of time."""


RUNS_HELP = """\
Finished and failed runs, with the fields in which they differ:

  python -m experiments runs --study benchmark --sort val_accuracy
  python -m experiments runs problem=digits-cnn entry=pal seed=0
  python -m experiments runs status=failed
  python -m experiments runs settings.mu=0.1 --csv
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command; a mistake that the person can mend is one line and exit code 2."""
    arguments = _parsed(words)
    try:
        return arguments.command(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("\nstopped; the same command continues where this one ended", file=sys.stderr)  # noqa: T201
        return 130


def _parsed(words: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; argparse alone would take no FIELD=VALUE after an option."""
    top = parser()
    arguments, rest = top.parse_known_args(words)
    if rest and (arguments.command is not _run or any(word.startswith("-") for word in rest)):
        top.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        arguments.words += rest
    return arguments


def parser() -> argparse.ArgumentParser:
    """All commands."""
    top = argparse.ArgumentParser(
        "python -m experiments",
        description='The experiments of "Parabolic Approximation Line Search for DNNs".',
    )
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    def add(name: str, command: Callable[[argparse.Namespace], int], text: str, **options: Any) -> Any:
        added = commands.add_parser(name, help=text, description=options.pop("description", text), **options)
        added.set_defaults(command=command)
        return added

    one = add("run", _run, "train one network", description=RUN_HELP, formatter_class=_Raw)
    one.add_argument(
        "words", nargs="+", metavar="FIELD=VALUE", help="fields of the run, or a file that holds them"
    )
    one.add_argument("--force", action="store_true", help="run it anew even if it is finished")
    one.add_argument("--threads", type=_positive, help="CPU threads (one per core)")

    study = add(
        "study", _study, "all runs of a study, and its tables", description=STUDY_HELP, formatter_class=_Raw
    )
    study.add_argument("name", nargs="?", help="the study: a section of the profile (all of them)")
    study.add_argument("--only", metavar="PATTERN", help=f"{ONLY}; no tables")
    study.add_argument(
        "--dry-run", action="store_true", help="only tell how many runs, and how long they take"
    )
    study.add_argument(
        "--time-limit", type=_duration, metavar="TIME", help="end at a checkpoint after 2h, 90min or 30s"
    )
    study.add_argument(
        "--slurm", metavar="FILE", help="as SLURM arrays with the settings in FILE (docs/cluster.md)"
    )
    study.add_argument("--slots", type=_positive, help="runs at a time (one per GPU, else one per core)")
    study.add_argument("--threads", type=_positive, default=1, help="CPU threads of each run (1)")

    claims = add("claims", _claims, "judge the claims of the paper by the tables")
    claims.add_argument("--show", action="store_true", help="only show the verdicts already there")
    notebook = add("notebook", _notebook, "execute a notebook: its figures and its page of the report")
    notebook.add_argument("name", help="file name in notebooks/ without its ending")
    pages = add(
        "report",
        _report,
        "execute the notebooks of all studies that have results, then make the front page and REPORT.md",
    )
    forget = add("forget", _forget, "delete the finished runs of a profile")
    forget.add_argument("--only", metavar="PATTERN", help=ONLY)
    verify = add(
        "verify", _verify, "keep results that today's code would make again", description=VERIFY_HELP
    )
    verify.add_argument(
        "--sample",
        type=_positive,
        default=5,
        help="runs of each study that are repeated, at least one of each optimizer and commit (5)",
    )
    for command in (study, claims, notebook, pages, forget, verify):
        command.add_argument("--profile", default="quick", help="file in profiles/ (quick)")

    runs = add("runs", _runs, "list runs", description=RUNS_HELP, formatter_class=_Raw)
    runs.add_argument(
        "words", nargs="*", metavar="FIELD=VALUE", help="only runs with these; * stands for anything"
    )
    runs.add_argument("--study", help="only runs of this study")
    runs.add_argument("--sort", metavar="FIELD", default="started", help="order of the runs (started)")
    runs.add_argument("--limit", type=_positive, default=40, help="how many are shown (40)")
    runs.add_argument("--csv", action="store_true", help="all of them, with every field, as CSV")
    add("sync", _sync, "bring all runs into the MongoDB at $MONGO_URL")
    omniboard = add("omniboard", _omniboard, "look at all runs in Omniboard (docs/tracking.md)")
    omniboard.add_argument(
        "--port", type=_positive, default=9000, help="of Omniboard's page on this machine (9000)"
    )
    add("problems", _problems, "list data sets and networks")
    data = add("data", _data, "fetch and check data sets, or list what is there")
    data.add_argument("names", nargs="*", help="data sets to fetch; none: list all")
    add("worker", _worker, "a launcher's worker; reads run configs from standard input")
    return top


class _Raw(argparse.RawDescriptionHelpFormatter):
    """Keeps the examples as they are written."""


def _positive(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word!r} is not a whole number of at least 1")
    return int(word)


def _run(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    from joblib import cpu_count

    from experiments.cli import run as single

    return single.main(
        arguments.words, arguments.force, arguments.threads or cpu_count(only_physical_cores=True)
    )


def _duration(word: str) -> float:
    """Seconds in 2h, 90min, 30s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", word)
    if not found or found[2] not in UNITS or not float(found[1]):
        raise argparse.ArgumentTypeError(
            f"{word!r} is no time such as {', '.join('2' + unit for unit in UNITS)}"
        )
    return float(found[1]) * UNITS[found[2]]


def _study(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
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
    if arguments.dry_run:
        _print(study.dry_run(request))
        return 0
    return study.main(request)


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


def _claims(arguments: argparse.Namespace) -> int:
    from experiments.cli import claims

    return claims.show(arguments.profile) if arguments.show else claims.write(arguments.profile)


def _notebook(arguments: argparse.Namespace) -> int:
    from experiments.reports import execution

    execution.execute(arguments.name, arguments.profile)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from experiments.reports import execution, markdown, pages

    execution.execute_all(arguments.profile)
    pages.index(arguments.profile)
    markdown.write(arguments.profile)
    markdown.into_readme(arguments.profile)
    return 0


def _forget(arguments: argparse.Namespace) -> int:
    from experiments.cli import study

    return study.forget(study.Request(arguments.profile, only=arguments.only))


def _verify(arguments: argparse.Namespace) -> int:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    from experiments.cli import verify

    return verify.main(arguments.profile, arguments.sample)


WIDE = 170
"""Columns of a table where no terminal limits them."""


def _print(table: Any) -> None:
    """A table as wide as the terminal; in a file or a pipe it is not folded."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def _runs(arguments: argparse.Namespace) -> int:
    from experiments.cli import list_runs

    conditions = [*arguments.words, *([f"study={arguments.study}"] if arguments.study else [])]
    table = list_runs.arrange(list_runs.choose(list_runs.rows(), conditions), arguments.sort)
    if arguments.csv:
        print(list_runs.as_csv(table), end="")  # noqa: T201
    else:
        _print(list_runs.as_table(table, arguments.limit))
    return 0


def _sync(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    from experiments.runs import mongo

    url = os.environ.get("MONGO_URL")
    if not url:
        raise UserError(
            "MONGO_URL is not set; it names the database, such as mongodb://127.0.0.1:27017/sacred"
        )
    with mongo.connect(url) as database:
        new, total = mongo.sync(database)
    print(f"{new} runs brought in, {total} are there")  # noqa: T201
    return 0


def _omniboard(arguments: argparse.Namespace) -> int:
    from experiments.runs import omniboard

    return omniboard.main(arguments.port)


def _problems(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    from experiments.problems import listing

    _print(listing.table())
    return 0


def _data(arguments: argparse.Namespace) -> int:
    from experiments.data import listing

    if arguments.names:
        listing.fetch(arguments.names)
    _print(listing.table())
    return 0


def _worker(arguments: argparse.Namespace) -> int:  # noqa: ARG001
    from experiments.runs import worker

    worker.main()
    return 0
