"""A run's log as JSON lines, in its own folder: when, how grave, which run, at which stage, what.

with journal_of(folder / "log.jsonl", run_id) as journal:
    journal.stage = "fine-tune"
    logging.getLogger("valuescape").info("goes on from step 40")

Only the project's own lines are kept, and no traceback: a library's message might quote a respondent's answer.
"""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OURS = "valuescape"
PREFECTS = "prefect.task_runs"  # where the one line of each task goes
PROJECT = Path(__file__).resolve().parents[1]


class Journal(logging.Handler):
    """`stage` is the step that is being executed."""

    def __init__(self, path: Path, run_id: str) -> None:
        super().__init__(logging.INFO)
        self._path, self._run_id, self.stage = path, run_id, ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == OURS or Path(record.pathname).is_relative_to(PROJECT / "tasks"):
            self.write(record.levelname, record.getMessage(), **getattr(record, "told", {}))

    def write(self, level: str, message: str, **more: Any) -> None:
        """One line; a full disk stops the run elsewhere, and says so there."""
        line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "level": level, "run_id": self._run_id, "stage": self.stage}
        with suppress(OSError), self._path.open("a", encoding="utf-8") as log:
            log.write(json.dumps({**line, "message": message, **more}) + "\n")


@contextmanager
def journal_of(path: Path, run_id: str) -> Iterator[Journal]:
    """A journal that hears the project's lines until the end."""
    journal = Journal(path, run_id)
    heard = [logging.getLogger(name) for name in (OURS, PREFECTS)]
    for logger in heard:
        logger.addHandler(journal)
    try:
        yield journal
    finally:
        for logger in heard:
            logger.removeHandler(journal)
