"""The command line. Everything heavy is imported by the command that needs it, so that --help is quick."""

import errno
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from inspect import cleandoc
from typing import Any

import click

from experiments.common import extensions
from experiments.common.errors import UserError, reason
from experiments.common.git import git
from experiments.common.profiles import load_extensions, profile_path
from experiments.common.sacred_habits import translated

UNITS = {"s": 1, "min": 60, "m": 60, "h": 3600, "d": 86400}
"""Seconds of the units of time."""

WIDE = 170
"""Columns of a table where no terminal limits them."""

LONGEST = 1000
"""Characters of an error message."""

DISK = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EIO,
    errno.ESTALE,
}
PLACE = {errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ELOOP}
FAULTS = DISK | PLACE | {errno.EMFILE, errno.ENFILE}
"""Errors of the machine, or of something in the place of a file or folder; all others are errors of this program."""

NAME = "python -m experiments"

log = logging.getLogger(__name__)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; user errors print one line and return 2."""
    ours = logging.getLogger("experiments")
    ours.handlers, ours.level = [logging.StreamHandler(sys.stderr)], logging.INFO
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # deterministic matrix products
    try:
        _refuse_experiments_of_dvc()
        words = translated(sys.argv[1:] if words is None else words)
        code = commands.main(words, NAME, standalone_mode=False) or 0
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except UserError as error:
        log.error(f"error: {_one_line(str(error))}")
        return 2
    except OSError as error:
        if error.errno not in FAULTS:
            return _fault_of_extension(error)
        what = error.filename or "writing to standard output"
        log.error(f"error: {what}: {reason(error)}; fix this, then run the same command again to resume")
        return 2
    except click.Abort:
        log.error("interrupted; the same command resumes")
        return 130
    except Exception as error:
        return _fault_of_extension(error)


def _fault_of_extension(error: Exception) -> int:
    """Say where in an extension, or that in the environment, something failed; other errors are raised again."""
    place = extensions.place_of(error)
    if place is None and not _is_of_environment(error):
        raise error
    words = _one_line(f"{type(error).__name__}: {error}".removesuffix(": "))
    log.error(f"error: {place}: {words}" if place else f"error: {words}; {ENVIRONMENT}")
    return 2


ENVIRONMENT = (
    "memory is short or limited (`ulimit -v`), or the environment is damaged: remove .venv to reinstall it"
)
"""What to do if a package cannot be loaded."""


def _is_of_environment(error: Exception) -> bool:
    """Whether memory is short, or a package that is not ours cannot be imported."""
    ours = (getattr(error, "name", None) or "").partition(".")[0] in ("experiments", "pal")
    return isinstance(error, MemoryError) or (isinstance(error, ImportError) and not ours)


def _one_line(text: str) -> str:
    """A sentence on one line; the middle of a very long one is cut out."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 2 :]}"


def _refuse_experiments_of_dvc() -> None:
    """Raises UserError in `dvc exp run`, whose results would overwrite the tables of the unchanged profile."""
    if os.environ.get("DVC_EXP_NAME") or os.environ.get("DVC_EXP_BASELINE_REV"):
        written = (git("diff", "--name-only", "HEAD", "--", "profiles", "params.yaml") or "").split()
        undo = f"; `git checkout HEAD -- {' '.join(written)}` takes back what `-S` wrote, and all other changes there"
        raise UserError(
            "`dvc exp run` is not supported: copy profiles/quick.yaml to profiles/NAME.yaml, change it there, run "
            "`make reproduce PROFILE=NAME`, and then `python -m experiments compare quick NAME`"
            + (undo if written else "")
        )


class Command(click.Command):
    """A command whose docstring is its help, line by line."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the docstring as it stands."""
        formatter.write("\n" + cleandoc(self.callback.__doc__ or "") + "\n")


HELP = {"max_content_width": 120, "help_option_names": ["-h", "--help"], "show_default": True}


@click.group(context_settings=HELP)
@click.version_option(package_name="pal-optimizer", message="%(version)s")
def commands() -> None:
    """Replicate "Parabolic Approximation Line Search for DNNs"."""


commands.command_class = Command
count = click.IntRange(min=1, max=10**9)
FIELDS = "FIELD=VALUE ..."


def known(_: click.Context, __: click.Parameter, profile: str | None) -> str | None:
    """The name of a profile, if one is given; its extensions are loaded. Raises UserError if it does not exist."""
    if not profile:
        return None
    load_extensions(profile)
    return profile_path(profile).stem


def profile_option(words: str, **further: Any) -> Callable[..., Any]:
    """The option --profile, with its help."""
    given: dict[str, Any] = {"metavar": "NAME", "envvar": "PAL_PROFILE", "callback": known, "help": words}
    return click.option("--profile", **given | further)


of_profile = profile_option("Name of a file in profiles/.", default="quick")
only = click.option(
    "--only", metavar="PATTERN", envvar="PAL_ONLY", help="Only runs that match, such as cifar10-*,pal,seed=0."
)
threads = click.option(
    "--threads", metavar="N", type=click.IntRange(1, 1024), default=1, help="CPU threads of each run."
)
instructions = click.option(
    "--instruction-set",
    type=click.Choice(["portable", "native"]),
    default="portable",
    help="portable: AVX2, for equal results on other x86-64 processors; native: all of this processor.",
)


def duration(word: str) -> float:
    """Seconds in 2h, 90min, 30s."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([a-z]+)", word)
    if not found or found[2] not in UNITS or not float(found[1]):
        raise click.BadParameter(
            f"{word!r} is not a duration such as {', '.join('2' + unit for unit in UNITS)}"
        )
    return float(found[1]) * UNITS[found[2]]


@commands.command
@click.argument("words", nargs=-1, required=True, metavar=FIELDS)
@of_profile
@click.option("--force", is_flag=True, help="Run again even if the run is finished.")
@click.option("--print-config", is_flag=True, help="Print all fields of the run and exit.")
@click.option("--threads", metavar="N", type=click.IntRange(1, 1024), help="Short for threads=N.")
def run(words: Sequence[str], profile: str, force: bool, print_config: bool, threads: int | None) -> int:  # noqa: ARG001
    """Train one network.

    Give the fields of the run as FIELD=VALUE, in a YAML or JSON file (such as the config.json of another run), or both:

      python -m experiments run problem=digits-cnn optimizer=pal settings.mu=0.1 seed=1
      python -m experiments run problem=cifar10-resnet20 optimizer=sgd settings.lr=0.05 schedule=step steps=3000
      python -m experiments run my-run.yaml seed=2
      python -m experiments run runs/KEY/config.json seed=7

    Fields: problem, optimizer, settings.NAME, schedule (none, step, cosine), steps, batch_size, l2, train_size,
    evaluate_every, seed, device (auto, cpu, cuda), dtype (float32, bfloat16), deterministic, threads,
    instruction_set (portable, native). The defaults are those of the problem and the optimizer. If the run is already
    finished, its result is shown. Of the profile, only the extensions are used.
    """
    from experiments.cli import run

    config = run.read([*words, *([f"threads={threads}"] if threads else [])])
    if print_config:
        sys.stdout.write(run.as_yaml(config))
        return 0
    return run.main(config, force)


@commands.command
@click.argument("key")
def repeat(key: str) -> int:
    """Execute a finished run again, and compare the results.

    KEY is the key of a run or its first digits. Keys are shown by `python -m experiments runs`, in column `key` of the
    tables in results/, in the JSON file next to each figure, and in Omniboard (config.key; its id works, too). The run
    is executed with the threads and the instruction set that it had; changes since then, such as other data or code,
    are listed. Nothing is stored.

    Exit codes: 0 the results agree, 1 they differ, 2 invalid input.
    """
    from experiments.cli import repeat

    return repeat.main(key)


@commands.command
@click.argument("key")
@click.option("--output", metavar="FILE", default="weights.pt", help="The file (weights.pt in this folder).")
def weights(key: str, output: str) -> int:
    """Make a finished run again and keep its final weights.

    KEY is as for `repeat`. The file is a state_dict of the network, for torch.load:

      python -m experiments weights 1f3a9c02 --output model.pt

    Exit codes: 0 all results are the same as then, 1 they differ, 2 invalid input.
    """
    from experiments.cli import weights

    return weights.main(key, output)


@commands.command
@click.argument("before")
@click.argument("after")
@click.option("--profile", metavar="NAME", default="small", help="Profile for revisions without :PROFILE.")
def compare(before: str, after: str, profile: str) -> None:
    """Compare two sets of results: claims, best settings, rankings.

    Each is the name of a profile, a folder such as results/quick or a copy of it, or a git revision with committed
    results (REVISION or REVISION:PROFILE):

      python -m experiments compare quick mine
      python -m experiments compare HEAD~1:small small

    A change counts as beyond seed noise if the 95 % interval of the difference excludes zero.
    """
    from experiments.cli import compare

    _show(compare.main(before, after, profile))


def of_runs(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that say which runs are executed, and how."""
    limit = "Save checkpoints and stop after this time, such as 2h, 90min or 30s."
    slurm = "Submit the runs to SLURM with the settings in FILE (docs/cluster.md)."
    per_device = "one per GPU, or one per core"
    for option in (
        threads,
        instructions,
        click.option(
            "--slots",
            metavar="N",
            type=count,
            envvar="PAL_SLOTS",
            show_default=per_device,
            help="Runs at a time.",
        ),
        click.option("--slurm", metavar="FILE", envvar="PAL_SLURM", help=slurm),
        click.option("--time-limit", type=duration, envvar="PAL_TIME_LIMIT", help=limit),
        only,
        of_profile,
    ):
        command = option(command)
    return command


def _request(time_limit: float | None, **given: Any) -> Any:
    from experiments.cli.study import Request

    return Request(until=math.inf if time_limit is None else _started() + time_limit, **given)


@commands.command
@of_runs
@click.option("--force", is_flag=True, envvar="PAL_FORCE", help="Delete the finished runs first.")
def reproduce(force: bool, **given: Any) -> int:
    """Execute the runs of a profile, then write tables and report.

    Finished runs are not executed again, and interrupted ones resume from their checkpoints.

    Exit codes: 0 done, 1 a run failed (its log is named), 2 invalid input, 75 not finished within the time limit.
    """
    from experiments.cli import reproduce
    from experiments.reports import terminal

    request = _request(**given)
    code = reproduce.main(request, force)
    if code == 0 and request.only is None:
        _show(terminal.verdicts(request.profile))
    return code


@commands.command
@click.argument("name", required=False)
@of_runs
@click.option(
    "--part", metavar="N", type=count, help="Only part N of a section that is a list; write no tables."
)
@click.option("--dry-run", is_flag=True, help="Only show how many runs remain, and estimate their time.")
def study(name: str | None, part: int | None, dry_run: bool, **given: Any) -> int | None:
    """Execute the remaining runs of a study, or of all; write tables.

    Finished runs are not executed again, and interrupted ones resume from their checkpoints.

      python -m experiments study benchmark --dry-run
      python -m experiments study benchmark --only 'digits-*,pal,seed=0'
      python -m experiments study benchmark --profile small --time-limit 2h

    A PATTERN consists of words separated by commas. A run matches if each word is its problem, method, optimizer or
    seed (seed=0); * matches anything. The tables contain all finished runs, and missing.csv lists the others.

    Exit codes: 0 done, 1 a run failed (its log is named), 2 invalid input, 75 not finished within the time limit.
    """
    from experiments.cli import study

    if part is not None and name is None:
        raise UserError("--part needs the name of a study")
    request = _request(studies=[name] if name else [], part=part, **given)
    return _show(study.dry_run(request)) if dry_run else study.main(request)


@commands.command
@of_profile
def pilots(profile: str) -> None:
    """Write the spread of pilot runs to results/NAME/pilots.csv.

    The spread is that over seeds in the profile `pilots`, whose runs have to be finished:

      python -m experiments study --profile pilots
    """
    from experiments.cli import pilots

    pilots.main(profile)


@commands.command(hidden=True)
@of_profile
def plan(profile: str) -> None:
    """Write results/<profile>/plan.json, by which DVC knows which studies are out of date."""
    from experiments import planning

    planning.write_digests(profile)


@commands.command(hidden=True)
@of_profile
def pipeline(profile: str) -> None:
    """Write results/<profile>/dvc.yaml for the studies that the profile has sections for."""
    from experiments import pipeline

    pipeline.write_pipeline(profile)


@commands.command
@of_profile
@click.option("--show", is_flag=True, help="Show the verdicts in results/ instead of judging anew.")
def claims(profile: str, show: bool) -> None:
    """Judge the claims of the paper from the tables in results/."""
    from experiments import planning
    from experiments.reports import terminal
    from experiments.results import tables
    from experiments.results.claims import judge

    planning.load_profile(profile)  # raises UserError for mistakes
    if show:
        _show(terminal.verdicts(profile))
    else:
        judge.write(profile)
        sys.stdout.write(f"{tables.verdicts(profile)}\n")


@commands.command
@of_profile
def power(profile: str) -> None:
    """Show which effects the claims can detect at the planned seeds.

    Computes from the spread of pilot runs (results/NAME/pilots.csv) which effect is detected with a probability of
    80 %, and writes it to results/NAME/power.csv with the smallest effect of interest. Claims that cannot detect that
    one are out of reach.
    """
    from experiments.cli import power

    _show(power.main(profile))


@commands.command
@click.argument("name")
@of_profile
def notebook(name: str, profile: str) -> None:
    """Execute notebooks/NAME.ipynb; write its figures and page."""
    from experiments.reports import execution, notebook, pages

    execution.execute_some([name], profile)
    sys.stdout.write(f"{pages.page(profile, name)}\n{notebook.figures_folder(profile, name)}/\n")


@commands.command
@of_profile
def report(profile: str) -> None:
    """Execute the notebooks that have results, and write the report."""
    from experiments.reports import execution, markdown, notebook, pages

    execution.execute_all(profile)
    notebook.draw_own(profile)
    markdown.write(profile)
    markdown.into_readme(profile)
    sys.stdout.write(f"{pages.index(profile)}\n")


inches = click.FloatRange(0.5, 50)


@commands.command
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[FIELD=VALUE ...]")
@of_profile
@click.option("--width", type=inches, help="Inches.")
@click.option("--height", type=inches, help="Inches.")
@click.option("--font-size", type=click.FloatRange(1, 100), default=9.0, help="Points (9).")
@click.option("--style", metavar="STYLE", help="A style of matplotlib: a name, or a file of rcParams.")
@click.option("--title/--no-title", default=True, help="With or without the title above all panels.")
@click.option(
    "--output", metavar="FILE", help="Ends with .pdf, .svg, .pgf or .png (NAME.pdf in this folder)."
)
def figure(name: str, words: Sequence[str], profile: str, output: str | None, **look: Any) -> None:
    """Draw one figure with the size and style of a paper.

    NAME is the path of a figure in figures/PROFILE/ without its ending; only the tables have to be there:

      python -m experiments figure benchmark/comparison-digits-cnn --width 3.3 --no-title --output figure2.pgf
      python -m experiments figure lines/line-shape problem=digits-cnn --profile quick --width 3.3 --font-size 9

    With words, only rows of which they are true are drawn, as for `runs`. PGF is measured and set by LaTeX, in the
    fonts of the document.
    """
    from experiments.cli import figure

    sys.stdout.write(f"{figure.main(name, profile, words, output, **look)}\n")


@commands.command
@click.argument("name")
@click.argument("words", nargs=-1, metavar="[FIELD=VALUE ...]")
@of_profile
@click.option("--columns", default="", metavar="A,B,C", help="Only these columns, in this order.")
def table(name: str, words: Sequence[str], profile: str, columns: str) -> None:
    """Print a table as LaTeX, for the package booktabs.

    NAME is the path of a table in results/PROFILE/ without its ending. A mean and its standard deviation, or its 95 %
    interval, are one column; with words, only rows of which they are true are shown:

      python -m experiments table benchmark/best problem=digits-cnn --columns method,train_loss,test_accuracy
      python -m experiments table claims verdict=supported --profile small --columns id,mean,n
    """
    from experiments.cli import table

    sys.stdout.write(
        table.main(name, profile, words, [one.strip() for one in columns.split(",") if one.strip()])
    )


@commands.command
@of_profile
@click.option("--output", metavar="FILE", help="The zip file (PROFILE.zip in this folder).")
def export(profile: str, output: str | None) -> None:
    """Write all results of a profile into one zip file of CSV files.

    It has every run, with its hyper-parameters, results and provenance (runs.csv), all tables and verdicts, and the
    unit and meaning of every column (columns.csv, see docs/columns.csv). In Python, the same is
    `experiments.results.export.load(profile)`.
    """
    from pathlib import Path

    from experiments.results import export

    path = Path(output or f"{profile}.zip")
    results = export.write(profile, path)
    sys.stdout.write(f"{path}: {len(results.runs)} runs, {len(results.tables)} tables\n")


@commands.command
@of_profile
@only
def forget(profile: str, only: str | None) -> None:
    """Delete the finished runs of a profile."""
    from experiments.cli import study

    study.forget(study.Request(profile, only=only))


@commands.command
@of_profile
@click.option(
    "--sample",
    type=count,
    default=5,
    envvar="PAL_SAMPLE",
    metavar="N",
    help="Runs to check per study; at least one per optimizer and commit.",
)
def verify(profile: str, sample: int) -> int:
    """Keep cached results that today's code still reproduces.

    Executes the first steps of some finished runs of a profile with today's code, and compares them with the recorded
    ones. If they agree, the results count as up to date, and nothing is executed again.

    Exit codes: 0 all results are kept, 1 a run differs, 2 invalid input, 75 all runs agree, but some study is
    incomplete and not kept.
    """
    from experiments.cli import verify

    return verify.main(profile, sample)


@commands.command
@click.argument("words", nargs=-1, metavar=FIELDS)
@click.option("--study", metavar="NAME", help="Only runs of this study.")
@profile_option("Only runs of this profile, including those in its packs.")
@click.option("--sort", metavar="FIELD", default="started", help="Column to sort by.")
@click.option("--limit", metavar="N", type=count, default=40, help="Number of runs to show.")
@click.option("--csv", is_flag=True, help="Print all runs with all fields as CSV.")
def runs(
    words: Sequence[str], study: str | None, profile: str | None, sort: str, limit: int, csv: bool
) -> None:
    """List finished and failed runs.

    A run is listed if it has all these values; * in a VALUE matches anything:

      python -m experiments runs --study benchmark --sort val_accuracy
      python -m experiments runs problem=digits-cnn method=pal seed=0
      python -m experiments runs status=failed
      python -m experiments runs settings.mu=0.1 --csv

    With a profile, its packed runs are unpacked first.
    """
    from experiments.cli import list_runs
    from experiments.runs import listing

    keys = None
    if profile:
        from experiments.cli.pack import unpacked_keys

        keys = unpacked_keys(profile)
    conditions = [*words, *([f"study={study}"] if study else [])]
    table = list_runs.arrange(list_runs.choose(listing.rows(keys), conditions), sort)
    if csv:
        sys.stdout.write(list_runs.as_csv(table))
    else:
        _show(list_runs.as_table(table, limit))


@commands.command
@of_profile
def pack(profile: str) -> None:
    """Pack the finished runs of a profile into one file per study.

    The packs are written to results/NAME/packs/ and can be committed with the tables. Every command that needs runs
    unpacks them, so a profile can be inspected, or continued, in any clone.
    """
    from experiments.cli import pack

    pack.main(profile)


@commands.command
def sync() -> None:
    """Load all runs into the MongoDB at $MONGO_URL."""
    from experiments.runs import mongo

    url = os.environ.get("MONGO_URL")
    if not url:
        raise UserError(
            "MONGO_URL is not set; it names the database, such as mongodb://127.0.0.1:27017/sacred"
        )
    with mongo.connect(url) as database:
        new, total = mongo.sync(database)
    sys.stdout.write(f"{new} runs loaded, {total} in the database\n")


@commands.command
@click.option(
    "--port",
    metavar="N",
    type=click.IntRange(1, 65535),
    default=9000,
    envvar="PAL_PORT",
    help="Port of the page on this machine.",
)
@profile_option("Unpack the packed runs of this profile first.")
def omniboard(port: int, profile: str | None) -> int:
    """Browse all runs in Omniboard (docs/tracking.md)."""
    from experiments.runs import omniboard

    if profile:
        from experiments.runs import run_packs

        run_packs.unpack_all(profile)
    return omniboard.main(port)


@commands.command
@of_profile
def problems(profile: str) -> None:  # noqa: ARG001
    """List the problems: a data set and a network each."""
    from experiments.problems import listing

    _show(listing.table())


@commands.command
@click.argument("names", nargs=-1)
@of_profile
def data(names: Sequence[str], profile: str) -> None:  # noqa: ARG001
    """Download and verify data sets, then list all of them."""
    from experiments.data import listing

    if names:
        listing.fetch(names)
    _show(listing.table())


@commands.group
def check() -> None:
    """Check an optimizer or a data set, in seconds."""


check.command_class = Command


@check.command("optimizer")
@click.argument("name")
@click.argument("settings", nargs=-1, metavar="SETTING=VALUE ...")
@of_profile
def check_optimizer(name: str, settings: Sequence[str], profile: str) -> int:  # noqa: ARG001
    """Check an optimizer: resuming, determinism, bad batches, groups.

      python -m experiments check optimizer pal mu=0.1
      python -m experiments check optimizer mine --profile mine

    Exit codes: 0 all checks passed, 1 a check failed, 2 invalid input.
    """
    from experiments.cli import check

    return check.optimizer(name, settings)


@check.command("data")
@click.argument("name")
@of_profile
def check_data(name: str, profile: str) -> int:  # noqa: ARG001
    """Check a data set: shapes, scales, targets, overlap of the splits.

    Exit codes: 0 all checks passed, 1 a check failed, 2 invalid input.
    """
    from experiments.cli import check

    return check.data_set(name)


@commands.command(hidden=True)
@click.option("--native", is_flag=True, help="With all instructions of this processor.")
def worker(native: bool) -> None:  # noqa: ARG001  (__main__ sees to it before torch is loaded)
    """Execute the run configs that a launcher writes to standard input."""
    from experiments.runs import worker

    worker.main()


def _show(table: Any) -> None:
    """Print a table as wide as the terminal; lines are not wrapped in files and pipes."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def _started() -> float:
    """The time (of `time.monotonic`) at which a time limit begins: the start of make, if it was called by make."""
    started = os.environ.get("PAL_STARTED", "")
    return time.monotonic() - (time.time() - int(started) if re.fullmatch("[0-9]{1,12}", started) else 0.0)
