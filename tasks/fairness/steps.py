"""Prefect tasks of the fairness stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.fairness.metrics import write_metrics
from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key


@task(name="measure", cache_key_fn=content_key("metrics", version=3), **STORED, **TRIED_AGAIN)
def measure(pairs: FileSet, marts: FileSet, predictions: list[FileSet], folder: Path) -> FileSet:
    """Metrics by split and group, and the gaps between levels."""
    made = write_metrics(pairs, marts, predictions, folder=folder)
    get_run_logger().info("%d metrics of %d predictions", made.rows["metrics"], made.rows["predictions"])
    return made
