"""Prefect tasks of the prompting stage."""

from pathlib import Path
from typing import Any

from prefect import get_run_logger, task

from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.prompting import pairs
from tasks.study import Study
from tasks.warehouse.database import SQL_FOLDER


@task(
    name="build the pairs",
    cache_key_fn=content_key("pairs", version=4, sections=("dimensions", "split", "prompt", "seed"), read=(SQL_FOLDER / "marts" / "pairs.sql",)),
    **STORED,
    **TRIED_AGAIN,
)
def build_pairs(marts: FileSet, study: Study, populations: list[dict[str, Any]], folder: Path) -> FileSet:
    """Splits, personas and prompts of every cell (sql/marts/pairs.sql)."""
    made = pairs.build_pairs(marts, study, populations=populations, folder=folder)
    get_run_logger().info("%d pairs", made.rows["pairs"])
    return made
