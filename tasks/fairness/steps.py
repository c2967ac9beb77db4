"""Prefect tasks of the fairness stage."""

from pathlib import Path

from prefect import get_run_logger, task

from tasks.fairness.metrics import write_metrics
from tasks.fairness.overlap import write_overlap
from tasks.fairness.plan import plan_of
from tasks.fairness.replications import write_replications
from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key
from tasks.study import Study


@task(name="measure", cache_key_fn=content_key("metrics", version=8, sections=("fairness", "seed")), **STORED, **TRIED_AGAIN)
def measure(pairs: FileSet, marts: FileSet, predictions: list[FileSet], study: Study, folder: Path) -> FileSet:
    """Metrics by split and group, with intervals, and the disparities between levels."""
    made = write_metrics(pairs, marts, predictions, plan=plan_of(study), folder=folder)
    get_run_logger().info("%d metrics of %d predictions", made.rows["metrics"], made.rows["predictions"])
    return made


@task(
    name="audit the overlap",
    cache_key_fn=content_key("overlap", version=3, sections=("split", "fairness", "seed", "dimensions")),
    **STORED,
    **TRIED_AGAIN,
)
def audit_overlap(pairs: FileSet, marts: FileSet, predictions: list[FileSet], study: Study, folder: Path) -> FileSet:
    """What respondents who count in trained and in tested cells do to the accuracy on unseen subgroups, and how far from training those are."""
    return write_overlap(pairs, marts, predictions, study=study, plan=plan_of(study), folder=folder)


@task(name="compare the replications", cache_key_fn=content_key("replications", version=2), **STORED, **TRIED_AGAIN)
def compare_replications(measured: list[FileSet], audited: list[FileSet], folder: Path) -> FileSet:
    """How far the metrics, and the effect of overlap, depend on the seeds of split and training."""
    made = write_replications(measured, audited, folder=folder)
    get_run_logger().info("%d metrics of %d replications", made.rows["replications"], len(measured))
    return made
