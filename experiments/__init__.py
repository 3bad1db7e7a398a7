"""The replication: data, networks, runs, studies, tables and figures around the optimizer `pal`."""

from experiments.common import source

source.install()
