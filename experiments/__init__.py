"""The replication: data, networks, runs, studies, tables and figures around the optimizer `pal`."""
