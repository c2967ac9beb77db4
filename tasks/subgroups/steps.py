"""Prefect tasks of the subgroups stage."""

from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_table_artifact

from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.study import Study
from tasks.subgroups import drift, marts
from tasks.warehouse.database import SQL_FOLDER


@task(
    name="build the tables",
    cache_key_fn=content_key("marts", version=5, sections=("dimensions", "items", "subgroups", "split", "seed"), read=(SQL_FOLDER / "marts",)),
    **STORED,
    **TRIED_AGAIN,
)
def build_marts(staged: FileSet, study: Study, folder: Path) -> FileSet:
    """Subgroups, distributions, targets and landscape from staged answers (sql/marts)."""
    made = marts.build_marts(staged, study, folder=folder)
    get_run_logger().info("%d subgroups, %d targets", made.rows["subgroups"], made.rows["targets"])
    return made


@task(
    name="compare with the run before",
    cache_key_fn=content_key("drift", version=1, read=(SQL_FOLDER / "marts" / "drift.sql",)),
    **STORED,
    **TRIED_AGAIN,
)
def compare_with_before(marts: FileSet, before: FileSet, folder: Path) -> FileSet:
    """What the survey file changes in the targets (sql/marts/drift.sql)."""
    made = drift.write_drift(marts, before, folder=folder)
    moved = drift.moved_rows(made)
    told = f"{len(moved)} of {made.rows['drift']} cells have another modal answer than in run {Path(before.folder).name}"
    create_table_artifact(moved, key="drift", description=told)
    get_run_logger().info(told)
    return made
