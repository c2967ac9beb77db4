"""A run's log in its folder: JSON lines, the project's own, without what a library says."""

import json
import logging
import sys
from pathlib import Path

import pytest

from flows.journal import PREFECTS, journal_of
from tasks.progress import Meter

SECRET = "Ms-Secret-Respondent"


@pytest.fixture(autouse=True)
def heard(caplog: pytest.LogCaptureFixture) -> None:
    for name in ("valuescape", PREFECTS):
        caplog.set_level(logging.INFO, logger=name)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_has_run_stage_level_and_what_was_measured(tmp_path: Path) -> None:
    with journal_of(tmp_path / "log.jsonl", "run-1") as journal:
        journal.stage = "fine-tune"
        logging.getLogger("valuescape").warning("goes on from step %d", 40, extra={"told": {"seconds": 1.5}})
    (line,) = lines(tmp_path / "log.jsonl")
    assert line.pop("time")
    assert line == {"level": "WARNING", "run_id": "run-1", "stage": "fine-tune", "message": "goes on from step 40", "seconds": 1.5}


def test_a_retry_writes_on_and_nothing_is_heard_after_the_end(tmp_path: Path) -> None:
    for message in ("first", "second"):
        with journal_of(tmp_path / "log.jsonl", "run-1"):
            logging.getLogger("valuescape").info(message)
        logging.getLogger("valuescape").info("nobody's")
    assert [line["message"] for line in lines(tmp_path / "log.jsonl")] == ["first", "second"]


def test_what_a_library_says_and_tracebacks_are_not_kept(tmp_path: Path) -> None:
    with journal_of(tmp_path / "log.jsonl", "run-1"):
        logging.getLogger(PREFECTS).error("finished with ValueError('%s')", SECRET)
        logging.getLogger("duckdb").error(SECRET)
        try:
            raise ValueError(SECRET)
        except ValueError:
            logging.getLogger("valuescape").exception("a step failed")
    assert SECRET not in (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    assert [line["message"] for line in lines(tmp_path / "log.jsonl")] == ["a step failed"]


def test_the_one_line_of_a_task_is_kept(tmp_path: Path) -> None:
    """Tasks log through Prefect: their lines are known by the file that they stand in."""
    record = logging.LogRecord(PREFECTS, logging.INFO, sys.modules[Meter.__module__].__file__ or "", 1, "12 subgroups", None, None)
    with journal_of(tmp_path / "log.jsonl", "run-1"):
        logging.getLogger(PREFECTS).handle(record)
    assert [line["message"] for line in lines(tmp_path / "log.jsonl")] == ["12 subgroups"]


def test_a_full_disk_stops_no_line_of_the_run(tmp_path: Path) -> None:
    with journal_of(tmp_path / "no folder" / "log.jsonl", "run-1"):
        logging.getLogger("valuescape").info("goes on")
