"""`python -m experiments`."""

import os
import signal
import sys

from experiments.cli.main import main


def stop(*_: object) -> None:
    """End as Ctrl-C does, with all processes below."""
    raise KeyboardInterrupt


for number in (signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup asks
        signal.signal(number, stop)
code = main()
for stream in (sys.stdout, sys.stderr):
    stream.flush()
os._exit(code)  # at once: torch takes a second to be taken apart
