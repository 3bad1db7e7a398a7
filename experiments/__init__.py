"""The paper's experiments around the optimizer `pal`: data, networks, runs, studies, tables and figures."""
