"""Prefect tasks of the fairness stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.fairness.metrics import write_metrics
from tasks.fairness.plan import Plan, plan_of
from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.study import Study


@task(name="measure", cache_key_fn=content_key("metrics", version=3, sections=("fairness", "seed")), **STORED, **TRIED_AGAIN)
def measure(pairs: FileSet, marts: FileSet, predictions: list[FileSet], study: Study | None = None, *, folder: Path) -> FileSet:
    """Metrics by split and group, with intervals, and the disparities between levels."""
    plan = Plan() if study is None else plan_of(study)
    made = write_metrics(pairs, marts, predictions, plan=plan, folder=folder)
    get_run_logger().info("%d metrics of %d predictions", made.rows["metrics"], made.rows["predictions"])
    return made
