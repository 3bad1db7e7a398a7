"""`python -m experiments`."""

import os
import sys
from contextlib import suppress

from experiments.common import surroundings

surroundings.settle("native" if sys.argv[1:] == ["worker", "--native"] else "portable")

from experiments.cli.main import main  # noqa: E402  (what it imports must find the variables)
from experiments.common import endings  # noqa: E402

endings.arrange()
code = main()
for stream in (sys.stdout, sys.stderr):
    with suppress(OSError):  # `main` has said why
        stream.flush()
os._exit(code)  # at once: torch takes a second to be taken apart
