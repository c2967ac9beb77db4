"""How far apart a dimension's levels are, before and after, and what may be said of it: from the disparities table to summary.json and the report.

    summarised(disparities, metrics, split="ood_test", reader="likelihood")["religion"]["p_holm"]
    disparity_rows(summary, metric="nmae")

`base`, `tuned`, `change`: the gap between best and worst level, which describes, as does `sd`, the levels' standard deviation (sigma-inequity); noise
alone makes both positive. `between`: the primary statistic (tasks/fairness/variance.py) as a standard deviation between levels, with the sign of its
variance component (its change is that of the standard deviations), `p` against equal effects, and `p_permuted` by dealing each question's scores anew
to the levels. Levels are standardised to the same partner levels where that was done.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.fairness.contrasts import CHANGE
from tasks.fairness.disparities import EFFECT
from tasks.reporting.contents import Statistic, as_statistic
from tasks.reporting.formats import number_or_none

METRICS = ("accuracy", "nmae", "emd")
MODELS = {"base": "base", "tuned": "tuned", "change": CHANGE}
DESCRIBED = ("worst_level", "best_level", "levels", "questions")
BOUNDS = {"value": "between", "low": "low", "high": "high"}
TESTED = ("p_holm", "p_bh", "p_wider")


class DisparityRow(NamedTuple):
    """One dimension. `gap`, `adjusted`, `sd`, `between`, `p`, `permuted`: by base, tuned and (where there is one) change."""

    dimension: str
    metric: str
    gap: dict[str, float | None]
    adjusted: dict[str, float | None]
    sd: dict[str, float | None]
    between: dict[str, Statistic | None]
    p: dict[str, float | None]
    permuted: dict[str, float | None]
    p_holm: float | None
    p_bh: float | None
    no_wider: bool | None
    worst: str
    best: str
    levels: int | None
    questions: int | None
    standardised: bool | None
    effects: dict[str, dict[str, Statistic | None]]


def summarised(disparities: pd.DataFrame | None, metrics: pd.DataFrame, *, split: str, reader: str) -> dict[str, dict[str, Any]]:
    """By dimension, for accuracy; under `nmae` and `emd` the same for them. `effects`: by level, how far it is from the mean over the levels."""
    if disparities is None:
        return {}
    rows = disparities[(disparities["split"] == split) & disparities["reader"].isin([reader]) & (disparities["variant"] == "plain")]
    found: dict[str, dict[str, Any]] = {}
    for dimension, group in rows.groupby("dimension"):
        by_metric = {metric: _of_metric(group[group["metric"] == metric]) for metric in METRICS}
        for metric, held in by_metric.items():
            if held and (effects := _effects(metrics, str(dimension), metric=metric, split=split, reader=reader)):
                held["effects"] = effects
        if by_metric["accuracy"]:
            found[str(dimension)] = by_metric["accuracy"] | {metric: by_metric[metric] or None for metric in METRICS[1:]}
    return found


def _effects(metrics: pd.DataFrame, dimension: str, *, metric: str, split: str, reader: str) -> dict[str, dict[str, Any]]:
    rows = metrics[(metrics["dimension"] == dimension) & (metrics["metric"] == f"{metric}{EFFECT}") & (metrics["split"] == split)]
    if rows.empty:
        return {}
    rows = rows[(rows["reader"] == reader) & (rows["variant"] == "plain")]
    found: dict[str, dict[str, Any]] = {str(level): {} for level in rows["group"].unique()}
    for name, model in MODELS.items():
        for row in rows[rows["model"] == model].to_dict("records"):
            found[str(row["group"])][name] = {bound: float(row[bound]) for bound in ("value", "low", "high")}
    return found


def _of_metric(rows: pd.DataFrame) -> dict[str, Any]:
    """The standardised rows where there are such, else those in which every pair counts alike."""
    for weighting in ("standardised", "pairs"):
        chosen = {str(row["model"]): row for row in rows[rows["weighting"] == weighting].to_dict("records")}
        if chosen:
            return _figures(chosen) | {"weighting": weighting}
    return {}


def _figures(by_model: Mapping[str, Mapping[Any, Any]]) -> dict[str, Any]:
    gaps = {name: _cell(by_model, model, "gap") for name, model in MODELS.items()}
    if gaps["base"] is not None and gaps["tuned"] is not None:
        gaps["change"] = gaps["tuned"] - gaps["base"]
    last = by_model.get("tuned") or by_model.get("base") or {}
    found: dict[str, Any] = {name: None if gap is None else Statistic(gap)._asdict() for name, gap in gaps.items()}
    found |= {name: _plain(last.get(name)) for name in DESCRIBED}
    found["standardised"] = None if pd.isna(last.get("standardised")) else bool(last["standardised"])
    for column in ("adjusted_gap", "p_gap", "sd"):
        found[column] = {name: _cell(by_model, MODELS[name], column) for name in ("base", "tuned")}
    between = {name: _deviation(by_model[model]) for name, model in MODELS.items() if _cell(by_model, model, "between") is not None}
    if "change" in between:
        between["change"] |= _change(*(by_model[MODELS[name]] for name in ("base", "tuned", "change")))
    if between:
        found["between"] = between
    if "change" in between:
        change = by_model[CHANGE]
        found |= {name: number_or_none(change[name]) for name in TESTED} | {"no_wider": bool(change["no_wider"])}
    return found


def _cell(by_model: Mapping[str, Mapping[Any, Any]], model: str, column: str) -> float | None:
    value = by_model.get(model, {}).get(column)
    return None if value is None else number_or_none(value)


def _plain(value: Any) -> Any:
    if value is None or pd.isna(value):
        return None
    return value if isinstance(value, str) else int(value)


def _deviation(row: Mapping[Any, Any]) -> dict[str, float | None]:
    """A variance component as a standard deviation with its sign, and the p-values of the component."""
    return {name: _root(row[column]) for name, column in BOUNDS.items()} | {name: number_or_none(row.get(name)) for name in ("p", "p_permuted")}


def _change(base: Mapping[Any, Any], tuned: Mapping[Any, Any], change: Mapping[Any, Any]) -> dict[str, float | None]:
    """The change of the standard deviations, tuned less base: that of a variance, and its bounds, with the mean of both variances held."""
    middle = (base["between"] + tuned["between"]) / 2
    return {name: _root(middle + change[column] / 2) - _root(middle - change[column] / 2) for name, column in BOUNDS.items()}


def _root(variance: float) -> float:
    return float(np.sign(variance) * np.sqrt(abs(variance)))


def disparity_rows(summary: Mapping[str, Any], *, metric: str) -> list[DisparityRow]:
    """One row per dimension of summary.json that has the metric."""
    held = {name: values if metric == "accuracy" else values.get(metric) for name, values in (summary.get("disparity") or {}).items()}
    return [_row(name, metric, values) for name, values in held.items() if values]


def _row(dimension: str, metric: str, values: Mapping[str, Any]) -> DisparityRow:
    between = values.get("between") or {}
    gaps = {name: as_statistic(values.get(name)) for name in MODELS}
    return DisparityRow(
        dimension=dimension,
        metric=metric,
        gap={name: gap.value if gap else None for name, gap in gaps.items()},
        adjusted=dict(values.get("adjusted_gap") or {}),
        sd=dict(values.get("sd") or {}),
        between={name: as_statistic(between.get(name)) for name in MODELS},
        p={name: (between.get(name) or {}).get("p") for name in MODELS},
        permuted={name: (between.get(name) or {}).get("p_permuted") for name in MODELS},
        p_holm=values.get("p_holm"),
        p_bh=values.get("p_bh"),
        no_wider=values.get("no_wider"),
        worst=str(values.get("worst_level") or ""),
        best=str(values.get("best_level") or ""),
        levels=values.get("levels"),
        questions=values.get("questions"),
        standardised=values.get("standardised"),
        effects={level: {name: as_statistic(held.get(name)) for name in MODELS} for level, held in (values.get("effects") or {}).items()},
    )
