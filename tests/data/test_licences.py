"""What REPRODUCIBILITY says of data sets is there for each of them."""

import re

from experiments.common.paths import REPOSITORY
from experiments.data.registry import DATASETS


def test_every_data_set_has_its_licence_in_the_table():
    section = (REPOSITORY / "data" / "README.md").read_text().partition("## Licences")[2]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line[:1] == "|"
    ]
    licences = {name: row[1:] for row in rows for name in re.split(", ", row[0])}
    for name in DATASETS:
        terms, holder = licences[name]
        assert terms
        assert holder


def test_reproducibility_says_where_licences_are():
    (row,) = re.findall(r"\| data sets:.*", (REPOSITORY / "REPRODUCIBILITY.md").read_text())
    assert "licence" in row
    assert "(data/README.md)" in row
