"""Prefect tasks of the subgroups stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.files import FileSet
from tasks.policy import STORED, content_key, is_worth_retrying
from tasks.study import Study
from tasks.subgroups import marts


@task(
    name="build the tables",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_worth_retrying,
    cache_key_fn=content_key("marts", version=1, sections=("dimensions", "items", "subgroups")),
    **STORED,
)
def build_marts(staged: FileSet, study: Study, folder: Path) -> FileSet:
    """Subgroups, distributions, targets and landscape from staged answers (sql/marts)."""
    made = marts.build_marts(staged, study, folder=folder)
    get_run_logger().info("%d subgroups, %d targets", made.rows["subgroups"], made.rows["targets"])
    return made
