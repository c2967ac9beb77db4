"""Disparities: how far apart the levels of a dimension are, whether beyond chance, and whether fine-tuning changed that.

    disparities = disparities_of(scores, metrics, subgroups, plan=plan)

`gap` (best less worst level), `sd` and the worst and best level describe; part of them is noise, most of all where a level has few pairs. The primary
statistic is `between`, the untruncated variance component of the noise-adjusted scores between the levels of one panel
(tasks/fairness/variance.py, panels.py). Rows of the model `tuned-base` hold the change, its test, and whether it is surely within the margin.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.fairness.contrasts import CHANGE
from tasks.fairness.intervals import question_weights, ratio_interval
from tasks.fairness.multiplicity import benjamini_hochberg, holm
from tasks.fairness.panels import Answers, Panel, Panels, large_levels
from tasks.fairness.plan import Plan
from tasks.fairness.scores import ADJUSTED, METRICS
from tasks.fairness.variance import Component, between_levels, change_between_levels, noise_of_means, permuted

WHOLE = ["model", "split", "reader", "variant"]
BY = [*WHOLE, "weighting", "dimension", "metric"]
NOT_DIMENSIONS = ("all", "topic", "subgroup")
HIGHER_IS_BETTER = {"accuracy": True, "nmae": False, "emd": False}
STANDARDISED = "standardised"
EFFECT = "_effect"
BOUNDED = ("accuracy", "nmae")  # between 0 and 1
MAIN_SPLIT = "ood_test"
DESCRIBED = ["gap", "sd", "worst_level", "best_level", "levels"]
TESTED = ["questions", "standardised", "adjusted_gap", "p_gap", "between", "low", "high", "p", "p_permuted"]
CHANGED = ["p_holm", "p_bh", "p_wider", "no_wider"]
COLUMNS = [*BY, *DESCRIBED, *TESTED, *CHANGED]


class _Case(NamedTuple):
    """A dimension and a metric in one split, for one reader and prompt variant: each model's table of noise-adjusted scores, [questions, levels]."""

    row: dict[str, Any]
    panel: Panel
    tables: dict[str, np.ndarray]


def disparities_of(scores: pd.DataFrame, metrics: pd.DataFrame, subgroups: pd.DataFrame, *, plan: Plan) -> pd.DataFrame:
    """One row per model x split x reader x variant x weighting x dimension x metric.

    Every weighting has what describes; `standardised` has the tests too. Levels of fewer than SHOWN_FROM respondents stay out; where fewer than two
    are left there is no row. p_holm and p_bh adjust over the family of changes: every dimension x accuracy, NMAE and EMD on ood_test, plain prompts.
    """
    described = _described(metrics, subgroups)
    tested = pd.DataFrame([row for case in _cases(scores, subgroups) for row in _tested(case, plan)], columns=[*BY, *TESTED, "p_wider"])
    found = described.merge(tested, on=BY, how="outer")
    family = ((found["model"] == CHANGE) & (found["split"] == MAIN_SPLIT) & (found["variant"] == "plain")).to_numpy()
    p = found["p"].to_numpy(dtype=float)
    within = (found["p_wider"] <= 1 - plan.level).astype("boolean").mask(found["p_wider"].isna())
    return found.assign(
        p_holm=holm(np.where(family, p, np.nan)),
        p_bh=benjamini_hochberg(np.where(family, p, np.nan)),
        no_wider=within,
    )[COLUMNS]


def standardised_levels(scores: pd.DataFrame, subgroups: pd.DataFrame, *, plan: Plan) -> pd.DataFrame:
    """Rows of the metrics table with the weighting `standardised`: each level's value in its panel, and (`accuracy_effect`) how far that is from the
    mean over the levels. `pairs`: the level's own."""
    panels, rows = Panels(subgroups), []
    weights: dict[int, np.ndarray] = {}
    for whole, of_contender in scores.groupby(WHOLE):
        answers = Answers.of(of_contender, metrics=(*METRICS, *ADJUSTED.values()))
        for dimension in panels.dimensions:
            for metric in answers.values:
                panel = panels.of(answers, dimension, metric=metric)
                table = panel.table(answers, metric) if panel else None
                if panel is None or table is None:
                    continue
                if len(table) not in weights:
                    weights[len(table)] = question_weights(len(table), replicates=plan.replicates, generator=plan.generator("levels"))
                row = dict(zip([*WHOLE, "weighting", "dimension"], [*whole, STANDARDISED, dimension], strict=True))
                pairs = [len(panel.items) * count for count in panel.intersections]
                shown = {metric: table} | ({f"{metric}{EFFECT}": table - table.mean(axis=1, keepdims=True)} if metric in METRICS else {})
                for name, values in shown.items():
                    low, high = ratio_interval(values, np.ones_like(values), weights=weights[len(table)], level=plan.level)
                    found = np.array([values.mean(axis=0), low, high])
                    # A level's value over partners that it was not asked with may pass what can be.
                    found = found.clip(0, 1) if name in BOUNDED and not str(whole[0]).count("-") else found
                    rows += [
                        row | {"metric": name, "group": level, "value": value, "low": least, "high": most, "pairs": count}
                        for level, value, least, most, count in zip(panel.levels, *found, pairs, strict=True)
                    ]
    return pd.DataFrame(rows)


def _described(metrics: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """Best less worst level, standard deviation (sigma-inequity) and the levels' names; a change's are differences of those of its two models."""
    names = {f"{dimension}={level}" for dimension, level in large_levels(subgroups)}
    shown = (metrics["dimension"] + "=" + metrics["group"]).isin(names) & ~metrics["dimension"].isin(NOT_DIMENSIONS)
    levels = metrics[shown & metrics["metric"].isin(METRICS) & ~metrics["model"].str.contains("-")]
    rows = [dict(zip(BY, keys, strict=True)) | _gap(group, metric=str(keys[-1])) for keys, group in levels.groupby(BY) if len(group) > 1]
    found = pd.DataFrame(rows, columns=[*BY, *DESCRIBED])
    base, tuned = (found[found["model"] == model].drop(columns="model") for model in ("base", "tuned"))
    both = tuned.merge(base, on=BY[1:], suffixes=("", "_base"))
    both = both.assign(model=CHANGE, gap=both["gap"] - both["gap_base"], sd=both["sd"] - both["sd_base"])
    return pd.concat([found, both[[*BY, *DESCRIBED]]], ignore_index=True)


def _gap(levels: pd.DataFrame, *, metric: str) -> dict[str, object]:
    ordered = levels.sort_values("value", ascending=HIGHER_IS_BETTER[metric], kind="stable")
    worst, best = ordered.iloc[0], ordered.iloc[-1]
    names = {"worst_level": worst["group"], "best_level": best["group"], "levels": len(ordered)}
    return {"gap": abs(best["value"] - worst["value"]), "sd": float(ordered["value"].std(ddof=1))} | names


def _cases(scores: pd.DataFrame, subgroups: pd.DataFrame) -> Iterator[_Case]:
    panels, plain = Panels(subgroups), scores[scores["variant"] == "plain"]
    for (split, reader, variant), rows in plain.groupby(["split", "reader", "variant"]):
        answers = {str(model): Answers.of(of_model, metrics=ADJUSTED.values()) for model, of_model in rows.groupby("model")}
        for dimension in panels.dimensions:
            for metric, adjusted in ADJUSTED.items():
                panel = panels.of(answers.get("tuned", next(iter(answers.values()))), dimension, metric=adjusted)
                if panel is None:
                    continue
                row = {"split": split, "reader": reader, "variant": variant, "weighting": STANDARDISED, "dimension": dimension, "metric": metric}
                tables = {model: panel.table(of_model, adjusted) for model, of_model in answers.items()}
                yield _Case(row, panel, {model: table for model, table in tables.items() if table is not None})


def _tested(case: _Case, plan: Plan) -> Iterator[dict[str, Any]]:
    """A row for every model, and for the change from base to tuned."""
    purpose = [str(case.row[name]) for name in ("split", "reader", "variant", "dimension", "metric")]
    shown = {"questions": len(case.panel.items), "standardised": case.panel.standardised}
    for model, table in case.tables.items():
        generator = plan.generator("disparity", *purpose)
        found = between_levels(table, draws=plan.replicates, generator=generator, level=plan.level)
        expected = np.ptp(noise_of_means(table, draws=plan.replicates, generator=generator), axis=1)
        gap = float(np.ptp(table.mean(axis=0)))
        above = (1 + (expected >= gap).sum()) / (1 + len(expected))
        tests = {"adjusted_gap": gap - expected.mean(), "p_gap": above, "p_permuted": permuted(table, draws=plan.replicates, generator=generator)}
        yield case.row | shown | {"model": model, **tests, **_of_component(found)}
    if {"base", "tuned"} <= case.tables.keys():
        tables = case.tables["base"], case.tables["tuned"]
        change = change_between_levels(
            *tables, margin=plan.margin, draws=plan.replicates, generator=plan.generator("change", *purpose), level=plan.level
        )
        yield case.row | shown | {"model": CHANGE, **_of_component(change.component), "p_wider": change.p_wider}


def _of_component(found: Component) -> dict[str, float]:
    return {"between": found.value, "low": found.low, "high": found.high, "p": found.p}
