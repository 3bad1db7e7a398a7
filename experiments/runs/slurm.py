"""Many runs as SLURM arrays, through submitit. Each array task is the local launcher with its share of the runs.

State lives in the run directories: the scheduler is only asked whether anything of ours is still in its queue. Before
a task is preempted, or at the end of its time, SLURM sends SIGUSR2: runs save a checkpoint, and the task is requeued. A
task that is killed is submitted once more, with what it left undone.
"""

import getpass
import hashlib
import math
import re
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import submitit
from pydantic import BeforeValidator, Field
from submitit.core.utils import FailedJobError

from experiments.common import extensions
from experiments.common.errors import UserError
from experiments.common.paths import REPOSITORY, is_file, runs_root
from experiments.common.yaml_files import read_fields
from experiments.runs import launcher
from experiments.runs.finished import finished_keys
from experiments.runs.key import run_key
from experiments.runs.launcher import ATTEMPTS, Board, Failure
from experiments.training.config import Count, RunConfig, Strict

POLL_SECONDS = 5.0
"""Time between two questions to the scheduler."""

NOTICE_SECONDS = 90
"""How long before its end a task is told, to save checkpoints."""

REQUEUES = 100
"""How often a task may reach the end of its time; a guard against tasks that get nowhere."""

PATIENCE = 60
"""How many questions in a row the scheduler may leave unanswered."""

MOST_TASKS = 1000
"""In one array: SLURM's default limit (MaxArraySize)."""


UNLIMITED = 60 * 24 * 365 * 100
"""Minutes that stand for no limit."""

TIMES = "minutes or, as SLURM writes it, MM:SS, HH:MM:SS, D-HH, D-HH:MM, D-HH:MM:SS or UNLIMITED"


def minutes(value: Any) -> Any:
    """A time as sbatch takes it, in whole minutes, rounded up as SLURM does; raises ValueError for anything else."""
    if isinstance(value, str) and value.upper() in ("UNLIMITED", "INFINITE"):
        return UNLIMITED
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"it must be {TIMES}")
    found = re.fullmatch(r"(?:(\d{1,5})-)?(\d{1,7})(?::(\d{1,2}))?(?::(\d{1,2}))?", str(value).strip())
    if not found:
        raise ValueError(f"it must be {TIMES}")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None or len(numbers) == 3:
        hours, minute, second = [*numbers, 0, 0][:3]
    else:
        hours, (minute, second) = 0, [*numbers, 0][:2]
    asked = int(days or 0) * 1440 + hours * 60 + minute - (-second // 60)
    if asked < 1:
        raise ValueError("it must be at least a minute")
    return asked


def memory(value: Any) -> Any:
    """Memory as sbatch takes it: megabytes, or with a unit; raises ValueError for anything else."""
    words = "" if isinstance(value, bool) else str(value).replace(" ", "")
    if not re.fullmatch(r"\d{1,12}([KMGT](i?B)?)?", words, re.IGNORECASE):
        raise ValueError("it must be megabytes, or a number with K, M, G or T, such as 32G")
    return words


def joined(value: Any) -> Any:
    """Words with commas, of a list too, as for `mail_type`."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def lines(value: Any) -> Any:
    """Shell lines, of a single text too."""
    return value.splitlines() if isinstance(value, str) else value


def whole(value: Any) -> Any:
    """The number that digits are; anything else as it is."""
    return int(value) if isinstance(value, str) and re.fullmatch(r"\d{1,9}", value) else value


Whole = Annotated[Count, BeforeValidator(whole)]
"""A count in a file whose numbers are read as they are written."""


OURS = ("array", "job_name", "signal")
"""Options by which this program finds and ends its tasks."""


def further_options(value: Any) -> Any:
    """Options of sbatch as submitit takes them, also written --like-this; raises ValueError for what is ours to set."""
    if not isinstance(value, dict):
        return value
    options = {str(name).lstrip("-").replace("-", "_"): one for name, one in value.items()}
    taken = next((name for name in OURS if name in options), None)
    if taken is not None:
        raise ValueError(f"{taken} cannot be set, tasks are found by it")
    return options


class Cluster(Strict):
    """What an array task asks for; fields named like options of sbatch are passed on.

    Attributes:
        time: Minutes of a task, after which it is requeued; in the file as SLURM takes it.
        cpus_per_task: Cores of a task, shared by its slots.
        partition: Where it runs; SLURM's default if missing.
        account: Account that pays, if it is not your default.
        mem: Memory of a task, such as "8GB"; without unit in megabytes.
        gres: GPUs, such as "gpu:1".
        array_parallelism: Tasks at a time.
        runs_per_task: Runs of a task, for which it starts once.
        slots: Runs of a task at a time; several may share a GPU.
        mail_user: Address that SLURM writes to.
        mail_type: When it does, such as "END,FAIL".
        setup: Shell lines before it starts, such as "module load cuda".
        sbatch: Further options of sbatch by their long names, such as qos or constraint.
    """

    time: Annotated[Count, BeforeValidator(minutes)]
    cpus_per_task: Whole = 1
    partition: str | None = None
    account: str | None = None
    mem: Annotated[str | None, BeforeValidator(memory)] = None
    gres: str | None = None
    array_parallelism: Whole = 16
    runs_per_task: Whole = 8
    slots: Whole = 1
    mail_user: str | None = None
    mail_type: Annotated[str | None, BeforeValidator(joined)] = None
    setup: Annotated[list[str], BeforeValidator(lines)] = Field(default_factory=list)
    sbatch: Annotated[dict[str, Any], BeforeValidator(further_options)] = Field(default_factory=dict)

    @property
    def threads(self) -> int:
        """CPU threads of each run."""
        return max(1, self.cpus_per_task // self.slots)

    def at_a_time(self, count: int) -> int:
        """How many of `count` runs go on at the same time at most."""
        return self.slots * min(self.array_parallelism, math.ceil(count / self.runs_per_task))


def read(path: str) -> Cluster:
    """The settings in a file; raises UserError for a missing file and every mistake in it.

    Names such as accounts may look like numbers, and are what is written: 0123 is not 123.
    """
    if not is_file(Path(path)):
        raise UserError(f"there is no file {path!r}; docs/cluster.md shows what it contains")
    fields = read_fields(Path(path), path, numbers=False)
    return Cluster.read({name.replace("-", "_"): value for name, value in fields.items()}, path)


class Task:
    """What an array task executes.

    Args:
        configs: Its share of the runs.
        slots: Runs at a time.
    """

    def __init__(self, configs: Sequence[RunConfig], slots: int) -> None:
        self._work = (list(configs), slots)
        self._stop = False

    def __call__(self) -> list[Failure]:
        """Execute the runs; returns what failed."""
        for config in self._work[0]:
            extensions.load(config.extensions)  # what is unpickled has not been validated here
        with ThreadPoolExecutor(1) as pool:  # the main thread stays free for the signal
            self._launch = pool.submit(launcher.launch, *self._work, stop=lambda: self._stop)
            return self._launch.result()

    def checkpoint(self) -> "submitit.helpers.DelayedSubmission":
        """Called by submitit on SIGUSR2: have all runs save a checkpoint; returns what the requeued task executes."""
        self._stop = True
        self._launch.exception()  # waits
        return submitit.helpers.DelayedSubmission(Task(*self._work))


def launch(
    configs: Sequence[RunConfig], settings: Cluster, name: str, show: Callable[[Board], None] = lambda _: None
) -> list[Failure]:
    """Execute all runs that are not finished yet as array tasks, and wait for them; without any, SLURM is not asked.

    Tasks that an earlier call of the same name left in the queue are waited for first. Ctrl-C cancels all, those too;
    checkpoints remain. When anything else ends this call, the tasks go on, and the next call waits for them.

    Raises:
        UserError: If data of a run cannot be had, or SLURM refuses or does not answer.
    """
    left = _board({run_key(config): config for config in configs}, []).waiting
    if not left:
        return []
    launcher.load_data(left)
    wanted = {run_key(config): config for config in configs}  # data that were fetched now may be other ones
    name = f"pal-{name}-{hashlib.sha256(str(runs_root()).encode()).hexdigest()[:6]}"
    failures: list[Failure] = []
    shares: list[Share] = []

    def look() -> None:
        show(_board(wanted, failures))

    try:
        _wait(name, look)
        for _ in range(ATTEMPTS):
            left = _board(wanted, failures).waiting
            if not left:
                return failures
            shares = submit(list(left), settings, name)
            _wait(name, look)
            failures += [failure for job, _ in shares for failure in _failures(job)]
    except KeyboardInterrupt:
        subprocess.run(["scancel", *_ours(name)], capture_output=True)
        raise
    left = {run_key(config) for config in _board(wanted, failures).waiting}
    reason = f"its SLURM task ended {ATTEMPTS} times before the run did (killed, or out of memory)"
    lost = [(job, config) for job, share in shares for config in share if run_key(config) in left]
    return failures + [Failure(config.name, reason, job.paths.stderr) for job, config in lost]


Share = tuple["submitit.Job[list[Failure]]", list[RunConfig]]
"""A task and its runs."""


def submit(configs: Sequence[RunConfig], settings: Cluster, name: str) -> list[Share]:
    """Put an array into SLURM's queue; raises UserError if it refuses."""
    count = min(math.ceil(len(configs) / settings.runs_per_task), MOST_TASKS)
    shares = [list(configs[start::count]) for start in range(count)]  # so that slow neighbours are spread
    tasks = [Task(share, settings.slots) for share in shares]
    try:
        return list(zip(_executor(settings, name).submit_array(tasks), shares, strict=True))
    except (RuntimeError, OSError, FailedJobError) as error:
        raise UserError(f"SLURM refused the job: {' '.join(str(error).split())}") from None


def _executor(settings: Cluster, name: str) -> submitit.SlurmExecutor:
    executor = submitit.SlurmExecutor(runs_root() / ".slurm" / "%A", max_num_timeout=REQUEUES)
    options = settings.model_dump(exclude={"runs_per_task", "slots", "sbatch"}, exclude_none=True)
    wanted = {"requeue": True, "chdir": str(REPOSITORY)} | settings.sbatch
    # sbatch has no --exclusive=False
    further = {name: value for name, value in wanted.items() if value is not False}
    if settings.time == UNLIMITED:
        further |= {"time": "UNLIMITED"}
    executor.update_parameters(
        **options, job_name=name, signal_delay_s=NOTICE_SECONDS, additional_parameters=further
    )
    return executor


def _board(wanted: Mapping[str, RunConfig], failures: list[Failure]) -> Board:
    """How far the runs are. They come by their keys: thousands of keys are too much work for every look."""
    there = finished_keys()
    over = there | {failure.log.parent.name for failure in failures}  # logs are in folders named after keys
    waiting = deque(config for key, config in wanted.items() if key not in over)
    return Board(len(wanted), waiting, [wanted[key] for key in wanted if key in there], failures)


def _failures(job: "submitit.Job[list[Failure]]") -> list[Failure]:
    """What a task reported; nothing if it was killed or ended with an error of its own."""
    there = job.paths.result_pickle.exists()
    return job.result() if there and job.exception() is None else []


def _wait(name: str, look: Callable[[], None]) -> None:
    """Until none of our tasks is in the queue."""
    silent = 0
    while True:
        look()
        queued = _queued(name)
        silent = silent + 1 if queued is None else 0
        if silent > PATIENCE:
            raise UserError("squeue does not answer; the tasks continue, and the same command waits for them")
        if queued == 0:
            return
        time.sleep(POLL_SECONDS)


def _ours(name: str) -> list[str]:
    """Options of squeue and scancel that mean all our tasks, whichever call submitted them."""
    return [f"--user={getpass.getuser()}", f"--name={name}"]


def _queued(name: str) -> int | None:
    """Tasks of ours that wait or run; None if the controller does not answer."""
    words = ["squeue", "--noheader", "--array", *_ours(name), "--format=%i"]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        raise UserError(
            "there is no squeue on this machine; --slurm needs a login node of a SLURM cluster"
        ) from None
    return None if done.returncode else len(done.stdout.split())
