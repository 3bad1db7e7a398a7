"""Commands and options of Sacred, and their equivalents here."""

from collections.abc import Sequence

from experiments.common.errors import UserError

RUN = "python -m experiments run"

COMMANDS = {
    "print_config": f"{RUN} --print-config FIELD=VALUE ...",
    "save_config": f"{RUN} --print-config FIELD=VALUE ... > my-run.yaml",
    "print_dependencies": "python -m experiments runs --csv (columns provenance.*)",
    "print_named_configs": "ls profiles",
    "with": f"{RUN} FIELD=VALUE ...",
}
"""Commands of Sacred."""

OPTIONS = {
    ("-F", "--file-storage"): "runs are always stored as files; PAL_RUNS=FOLDER names the folder",
    ("-m", "--mongo-db"): "MONGO_URL=mongodb://... python -m experiments sync loads all runs into a database",
    ("-n", "--name"): "method=NAME names a run in tables and lists",
    ("-c", "--comment"): "write notes in Omniboard (`make omniboard`); method=NAME names a run",
    ("-i", "--id"): "the key of a run is a digest of everything that it depends on",
    ("-f",): "--force runs a finished run again; values are always checked",
    ("-u", "--unobserved"): "every run is stored; PAL_RUNS=/tmp/FOLDER stores it elsewhere",
    ("-e", "--enforce-clean"): "a run of uncommitted code stores the difference in changes.diff",
    ("-p", "--print_config"): f"{RUN} --print-config FIELD=VALUE ... prints all fields without running",
    (
        "-d",
        "--debug",
        "-D",
        "--pdb",
    ): "the message of a failed run names its log, which ends with the traceback",
    ("-l", "--loglevel"): "the captured output of a run is its cout.txt",
    ("-q", "--queue"): "a profile lists runs, and python -m experiments study executes them",
    ("-C", "--capture"): "the output of each run is captured in its cout.txt",
    ("-b", "--beat-interval", "-P", "--priority"): "this cannot be set",
    ("-s", "--sql", "-t", "--tiny-db", "-S", "--s3", "-G", "--gcs"): (
        "runs are files in runs/; MONGO_URL names a database for them"
    ),
}
"""Options of Sacred that have another name here; Sacred also writes them with underscores."""


def translated(words: Sequence[str]) -> list[str]:
    """The words of a command line without Sacred's `with`.

    Raises:
        UserError: For a command or option of Sacred that has another name here; the message says which.
    """
    command, rest = words[:1], list(words[1:])
    named = next((word for word in (*command, *rest[:1]) if word in COMMANDS), None)
    if named is not None and [*command, named] != ["run", "with"]:
        raise UserError(f"{named!r} is a command of Sacred; here, use: {COMMANDS[named]}")
    if command != ["run"]:
        return list(words)
    for word in rest:
        name = word.partition("=")[0] if word.startswith("--") else word[:2]
        for names, answer in OPTIONS.items():
            if word.startswith("-") and {name, name.replace("_", "-")} & {*names}:
                raise UserError(f"there is no option {name}, unlike in Sacred: {answer}")
    return ["run", *(rest[1:] if rest[:1] == ["with"] else rest)]
