"""Reading tables: what is missing or no table is named."""

import pytest

from experiments.common.errors import UserError
from experiments.results import tables

MERGE = b"a,b\n1,2\n<<<<<<< HEAD\n1,2\n=======\n1,3\n>>>>>>> other\n"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "does not exist"),
        (b"", "is not a table"),
        (b"a,b\n\xff\xfe\n", "is not a table"),
        (MERGE, "contains conflict markers"),
        (MERGE.replace(b"\n", b"\r\n"), "contains conflict markers"),
        (MERGE.replace(b",", b""), "contains conflict markers"),
    ],
)
def test_what_is_no_table_is_named_with_the_next_step(tmp_path, content, sentence):
    readers = {
        tables.folder("mine", "lines", tmp_path) / "lines.csv": lambda: tables.read(
            "mine", "lines", "lines", tmp_path
        ),
        tables.verdicts("mine", tmp_path): lambda: tables.verdicts_of("mine", tmp_path),
    }
    for path, read in readers.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(UserError, match=f"(?s){path} {sentence}.*make reproduce PROFILE=mine"):
            read()
