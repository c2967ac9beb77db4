"""Metrics by split and group, and the gaps between a dimension's levels.

    metrics = measure(scores, subgroups)
    disparities = disparities_of(metrics, subgroups)

A level's value averages the pairs of all subgroups that have the level. Low and high stay null until intervals are computed.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from tasks.fairness.scores import METRICS, score_predictions
from tasks.files import FileSet, file_set, write_table
from tasks.study import SHOWN_FROM

WHOLE = ["model", "split", "reader", "variant"]
WEIGHTINGS = {"pairs": None, "population": "weight_share"}
NOT_DIMENSIONS = ("all", "topic", "subgroup")
HIGHER_IS_BETTER = {"accuracy": True, "nmae": False, "emd": False}


def write_metrics(pairs: FileSet, marts: FileSet, predictions: list[FileSet], *, folder: Path) -> FileSet:
    """tables/{predictions, metrics, disparities}.parquet from the predictions of every model."""
    asked = pairs.read("pairs")
    together = pd.concat([pd.read_parquet(one.only()) for one in predictions], ignore_index=True)
    subgroups = marts.read("subgroups")
    metrics = measure(score_predictions(together, asked), subgroups)
    tables = {"predictions": together, "metrics": metrics, "disparities": disparities_of(metrics, subgroups)}
    for name, table in tables.items():
        write_table(table, folder / "tables" / f"{name}.parquet")
    return file_set(folder, [f"tables/{name}.parquet" for name in tables], rows={name: len(table) for name, table in tables.items()})


def measure(scores: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """One row per model x split x reader x variant x weighting x group x metric.

    Groups: everything ("all"), each topic, each subgroup, and each level of each dimension. Raises ValueError when a score lacks its subgroup.
    """
    grouped = pd.concat(_groupings(scores, subgroups), ignore_index=True)
    by_group = [*WHOLE, "dimension", "group"]
    parts = [_means(grouped, by=by_group, metric=metric, weighting=weighting) for metric in METRICS for weighting in WEIGHTINGS]
    measured = pd.concat(parts, ignore_index=True)
    measured["low"], measured["high"] = np.nan, np.nan
    columns = [*WHOLE, "weighting", "dimension", "group", "metric", "value", "low", "high", "pairs"]
    return measured[columns].sort_values(columns[:8], ignore_index=True)


def _groupings(scores: pd.DataFrame, subgroups: pd.DataFrame) -> list[pd.DataFrame]:
    """The scores once for each way of grouping them: columns dimension and group."""
    unknown = set(scores["subgroup_id"]).difference(subgroups["subgroup_id"])
    if unknown:
        raise ValueError(f"scores of {len(unknown)} subgroups that are not in the subgroups table, for example {min(unknown)}")
    traits = subgroups[["subgroup_id", "dimensions", "levels"]].rename(columns={"dimensions": "dimension", "levels": "group"})
    traits = traits.explode(["dimension", "group"]).dropna()
    return [
        scores.assign(dimension="all", group="all"),
        scores.assign(dimension="topic", group=scores["topic"]),
        scores.assign(dimension="subgroup", group=scores["subgroup_id"]),
        scores.merge(traits, on="subgroup_id"),
    ]


def _means(grouped: pd.DataFrame, *, by: list[str], metric: str, weighting: str) -> pd.DataFrame:
    """Mean over pairs, each weighing alike or by its subgroup's share of the population; NaN scores (nominal questions) stay out."""
    known = grouped.dropna(subset=[metric])
    column = WEIGHTINGS[weighting]
    weights = known[column] if column else pd.Series(1.0, index=known.index)
    totals = known.assign(weight=weights, weighted=weights * known[metric]).groupby(by)
    sums = totals.agg(weighted=("weighted", "sum"), weight=("weight", "sum"), pairs=("weight", "size")).reset_index()
    return sums.assign(metric=metric, weighting=weighting, value=sums["weighted"] / sums["weight"])


def disparities_of(metrics: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """One row per model x split x reader x variant x weighting x dimension x metric: the gap between best and worst level (max - min).

    Descriptive: part of any gap is noise, most of all where a level has few pairs. Levels of fewer than SHOWN_FROM respondents stay out;
    where fewer than two levels are left there is no gap.
    """
    large = subgroups[(subgroups["subgroup_order"] == 1) & (subgroups["respondents"] >= SHOWN_FROM)]
    names = {f"{dimensions[0]}={levels[0]}" for dimensions, levels in zip(large["dimensions"], large["levels"], strict=True)}
    levels = metrics[~metrics["dimension"].isin(NOT_DIMENSIONS) & (metrics["dimension"] + "=" + metrics["group"]).isin(names)]
    by = [*WHOLE, "weighting", "dimension", "metric"]
    rows = [dict(zip(by, keys, strict=True)) | _gap(group, metric=str(keys[-1])) for keys, group in levels.groupby(by) if len(group) > 1]
    return pd.DataFrame(rows, columns=[*by, "gap", "worst_level", "best_level"])


def _gap(levels: pd.DataFrame, *, metric: str) -> dict[str, object]:
    ordered = levels.sort_values("value", ascending=HIGHER_IS_BETTER[metric], kind="stable")
    worst, best = ordered.iloc[0], ordered.iloc[-1]
    return {"gap": abs(best["value"] - worst["value"]), "worst_level": worst["group"], "best_level": best["group"]}
