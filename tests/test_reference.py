"""docs/reference says what the code does."""

import re
from pathlib import Path

from tests import reference

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "reference"
AGAIN = "run `make reference`"


def test_the_command_line_is_as_written() -> None:
    assert (FOLDER / "command-line.md").read_text(encoding="utf-8") == reference.command_line(), AGAIN


def test_the_keys_of_a_study_are_as_written() -> None:
    assert (FOLDER / "study.md").read_text(encoding="utf-8") == reference.study_keys(), AGAIN


def test_tables_mean_what_their_sql_says() -> None:
    """Their columns are compared with a run's in tests/flows/test_study.py."""
    found = dict(re.findall(r"^## (\w+)\n\n(.+)$", (FOLDER / "tables.md").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert {"pairs", "targets", "metrics", "disparities"} <= found.keys()
    assert found == {name: reference.meaning(name) for name in found}, AGAIN
