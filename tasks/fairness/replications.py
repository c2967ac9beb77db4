"""What a study's metrics owe to its seeds: the same metric over replications, each with a split and a training of its own, or with the halves of the
survey swapped.

rows = compare([metrics_of_first, metrics_of_second, metrics_of_third])
"""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from tasks.fairness.overlap import as_metrics
from tasks.files import FileSet, file_set, write_table

KEYS = ["model", "split", "reader", "variant", "weighting", "dimension", "group", "metric"]
ONE_SUBGROUP = "subgroup"  # which subgroups are tested differs from split to split
LEVEL = 0.95


def write_replications(measured: list[FileSet], audited: list[FileSet], *, folder: Path) -> FileSet:
    """tables/replications.parquet from every replication's metrics and overlap audit."""
    metrics = [files.read("metrics") for files in measured]
    overlap = [as_metrics(files.read("overlap")) for files in audited]
    rows = compare([pd.concat(both, ignore_index=True) for both in zip(metrics, overlap, strict=True)])
    write_table(rows, folder / "tables" / "replications.parquet")
    return file_set(folder, ["tables/replications.parquet"], rows={"replications": len(rows)})


def compare(metrics: list[pd.DataFrame]) -> pd.DataFrame:
    """One row per metric of a group: replications that have it, the mean over them, their standard deviation, and Student's interval of the mean,
    mean +- t(k - 1) sd / sqrt(k). Replications share the survey: the interval is of split and training, not of who was interviewed."""
    together = pd.concat(metrics, ignore_index=True)
    grouped = together[together["dimension"] != ONE_SUBGROUP].groupby(KEYS)["value"]
    rows = grouped.agg(replications="size", value="mean", sd="std").reset_index()
    quantile = stats.t.ppf((1 + LEVEL) / 2, np.maximum(rows["replications"] - 1, 1))
    half = quantile * rows["sd"] / np.sqrt(rows["replications"])
    return rows.assign(low=rows["value"] - half, high=rows["value"] + half)
