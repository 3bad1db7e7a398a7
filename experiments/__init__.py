"""The paper's experiments: data, networks, training runs, studies, tables and figures around the optimizer `pal`."""
