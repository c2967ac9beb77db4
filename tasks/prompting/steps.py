"""Prefect tasks of the prompting stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.files import FileSet
from tasks.policy import STORED, content_key, is_worth_retrying
from tasks.prompting import pairs
from tasks.study import Study


@task(
    name="build the pairs",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_worth_retrying,
    cache_key_fn=content_key("pairs", version=1, sections=("dimensions", "split", "prompt", "seed")),
    **STORED,
)
def build_pairs(marts: FileSet, study: Study, country: str, folder: Path) -> FileSet:
    """Splits, personas and prompts of every cell (sql/marts/pairs.sql)."""
    made = pairs.build_pairs(marts, study, country=country, folder=folder)
    get_run_logger().info("%d pairs", made.rows["pairs"])
    return made
