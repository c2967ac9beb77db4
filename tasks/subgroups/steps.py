"""Prefect tasks of the subgroups stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.study import Study
from tasks.subgroups import marts
from tasks.warehouse.database import SQL_FOLDER


@task(
    name="build the tables",
    cache_key_fn=content_key("marts", version=3, sections=("dimensions", "items", "subgroups", "split", "seed"), read=(SQL_FOLDER / "marts",)),
    **STORED,
    **TRIED_AGAIN,
)
def build_marts(staged: FileSet, study: Study, folder: Path) -> FileSet:
    """Subgroups, distributions, targets and landscape from staged answers (sql/marts)."""
    made = marts.build_marts(staged, study, folder=folder)
    get_run_logger().info("%d subgroups, %d targets", made.rows["subgroups"], made.rows["targets"])
    return made
