"""The overlap audit in summary.json and in the report: same respondents against others, and accuracy by distance from what is trained.

summary["overlap"] = summarised(tables)
parts = overlap_parts(contents)
"""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from tasks.fairness.kin import THIRDS
from tasks.reporting import formats
from tasks.reporting.contents import Contents, Statistic, as_statistic, setting
from tasks.reporting.tables import Block, Table

TARGETS = ("study", "everybody", "same", "other", "effect")
NAMES = {
    "tuned": "Tuned model",
    "base": "Base model",
    "national_mode": "National mode",
    "parent_mode": "Parent mode",
    "additive": "Additive",
    "fresh_cell": "The same subgroup's own answer in the other half",
    "ceiling": "How sure the targets are",
}
HALVES = ("same", "other", "effect")
REPLICATED = {"accuracy_same_half": "same", "accuracy_other_half": "other", "overlap_effect": "effect"}


def summarised(tables: Mapping[str, pd.DataFrame]) -> dict[str, Any] | None:
    """Shares of the unseen subgroups' respondents, each model's accuracy by targets (tasks/fairness/overlap.py) and by third of the distance, and
    where there are replications the means over them. None for a run without the audit."""
    if not {"overlap", "overlap_subgroups"} <= tables.keys():
        return None
    rows, kin = tables["overlap"], tables["overlap_subgroups"]
    shares = {name: float((kin[name] * kin["pairs"]).sum() / kin["pairs"].sum()) for name in ("in_trained_parents", "part_of_parent", "distance")}
    whole, apart = rows[rows["group"] == "all"], rows[(rows["group"] != "all") & (rows["targets"] == "study")]
    return shares | {
        "accuracy": _by(whole, "targets", order=TARGETS),
        "by_distance": _by(apart, "group", order=THIRDS),
        "swapped": {str(model): bool(part["directions"].max() == 2) for model, part in whole[whole["targets"].isin(HALVES)].groupby("model")},
        "over_replications": _over_replications(tables.get("replications")),
    }


def overlap_parts(contents: Contents) -> dict[str, Any]:
    """What the template's section needs; tables are None where the run has no audit."""
    found = setting(contents.summary, "overlap", default={})
    accuracy, by_distance = found.get("accuracy", {}), found.get("by_distance", {})
    shown = [name for name in NAMES if name in accuracy]
    halved = [name for name in shown if "other" in accuracy[name]]
    single = [NAMES[name] for name in halved if not found["swapped"].get(name)]
    return {
        "overlap_sentence": _sentence(found),
        "overlap_table": _halves(accuracy, halved) if halved else None,
        "distance_table": _distances(by_distance, [name for name in shown if name in by_distance]) if by_distance else None,
        "overlap_single": ", ".join(single),
        "overlap_replicated": bool(found.get("over_replications")),
    }


def _by(rows: pd.DataFrame, column: str, *, order: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """model -> a value of `column` -> {value, low, high}."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows.sort_values(column, key=lambda values: values.map(order.index), kind="stable").to_dict("records"):
        found.setdefault(str(row["model"]), {})[str(row[column])] = _number(row)
    return found


def _over_replications(rows: pd.DataFrame | None) -> dict[str, dict[str, Any]] | None:
    if rows is None or not rows["metric"].isin(list(REPLICATED)).any():
        return None
    chosen = rows[rows["metric"].isin(list(REPLICATED))]
    return _by(chosen.assign(targets=chosen["metric"].map(REPLICATED)), "targets", order=TARGETS)


def _number(row: Mapping[Any, Any]) -> dict[str, float | None]:
    return Statistic(float(row["value"]), formats.number_or_none(row["low"]), formats.number_or_none(row["high"]))._asdict()


def _sentence(found: Mapping[str, Any]) -> str:
    share = found.get("in_trained_parents")
    if share is None:
        return "This run has no audit of the overlap between trained and tested respondents."
    counted = f"{formats.percent(share)} of the respondents behind the tested answers also count in trained answers of a parent to the same question"
    return f"{counted}; they are up to {formats.percent(found['part_of_parent'])} of such a parent, on average."


def _halves(accuracy: Mapping[str, Any], models: list[str]) -> Table:
    caption = (
        "Accuracy on unseen subgroups when one half of the survey is learned from: tested on the respondents who were learned from, and on as many "
        "others. The difference is the effect of overlap."
    )
    columns = ("", "Same respondents", "Other respondents", "Effect (points)", "All learned from, all tested")
    rows = [
        [
            NAMES[name],
            formats.percent(as_statistic(accuracy[name].get("same"))),
            formats.percent(as_statistic(accuracy[name].get("other"))),
            _points(as_statistic(accuracy[name].get("effect"))),
            formats.percent(as_statistic(accuracy[name].get("everybody"))),
        ]
        for name in models
    ]
    return Table(caption, columns, [Block("", rows)])


def _distances(by_distance: Mapping[str, Any], models: list[str]) -> Table:
    caption = (
        "Accuracy on the study's own targets by distance from the nearest trained subgroup (1 less the share of respondents that both have, of those "
        "that either has): the nearest third of the unseen subgroups, the middle and the farthest. Far ones are mostly small, so their targets are "
        "less sure."
    )
    rows = [[NAMES[name], *(formats.percent(as_statistic(by_distance[name].get(third))) for third in THIRDS)] for name in models]
    return Table(caption, ("", "Near", "Middle", "Far"), [Block("", rows)])


def _points(effect: Statistic | None) -> str:
    if effect is None or effect.low is None or effect.high is None:
        return formats.points(effect.value if effect else None)
    return f"{formats.points(effect.value)} ({formats.points(effect.low)} to {formats.points(effect.high)})"
