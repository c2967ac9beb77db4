"""Prefect tasks of the quality stage: gates."""

from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact

from tasks.errors import GateError
from tasks.files import FileSet, file_set
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.quality.evidence import Limits, check
from tasks.quality.gate import failed_page
from tasks.warehouse.database import SQL_FOLDER

RULES = (SQL_FOLDER / "checks", Path(__file__).with_name("suites.py"))


@task(name="gate", task_run_name="gate: {stage}", cache_key_fn=content_key("gate", version=1, read=RULES), **STORED, **TRIED_AGAIN)
def check_gate(stage: str, made: list[FileSet], limits: Limits, folder: Path) -> FileSet:
    """Every rule of the stage's tables holds, or the study stops here."""
    try:
        result = check(stage, made=made, limits=limits, folder=folder)
    except GateError:
        create_markdown_artifact(failed_page(stage, folder), key=f"gate-{stage.replace('_', '-')}", description=f"Gate {stage} failed")
        raise
    get_run_logger().info("gate %s: %d rules hold", stage, result.passed)
    return file_set(folder, [f"quality/{stage}", f"quality/{stage}.json"])
