"""Metrics by split and group, with intervals, and the disparities between a dimension's levels.

    metrics = measure(scores, subgroups, plan=Plan(replicates=2000, seed=7))

A level's value averages the pairs of all subgroups that have the level; with the weighting `standardised` it is that of tasks/fairness/panels.py.
Beside the models stand differences of two of them over the same pairs (`tuned-base`), and as metrics the skill over each baseline.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.fairness.ceilings import CEILING, ceiling_scores, equivalent_sizes
from tasks.fairness.contrasts import CHANGE, SKILL_OVER, paired_differences
from tasks.fairness.disparities import disparities_of, standardised_levels
from tasks.fairness.intervals import question_weights, ratio_interval
from tasks.fairness.paired import sign_flip_p
from tasks.fairness.plan import Plan
from tasks.fairness.scores import CONFIDENCE, METRICS, SCORES, score_predictions
from tasks.files import FileSet, file_set, write_table

WHOLE = ["model", "split", "reader", "variant"]
WEIGHTINGS = {"pairs": None, "population": "weight_share"}
COLUMNS = [*WHOLE, "weighting", "dimension", "group", "metric", "value", "low", "high", "p", "pairs"]
TOPIC_COLUMNS = ["topic", *(name for name in COLUMNS if name not in ("variant", "weighting", "p"))]
JUDGED = ("base", "tuned", CHANGE)
BY_TOPIC = (*JUDGED, "national_mode")
CALIBRATION_BINS = 10
SMALLEST_DENOMINATOR = 0.02


def write_metrics(pairs: FileSet, marts: FileSet, predictions: list[FileSet], *, plan: Plan, folder: Path) -> FileSet:
    """tables/{predictions, metrics, metrics_by_topic, disparities}.parquet from the predictions of every model."""
    asked = pairs.read("pairs")
    together = pd.concat([one.table() for one in predictions], ignore_index=True)
    subgroups = marts.read("subgroups")
    scores = score_predictions(together, asked)
    metrics = measure(pd.concat([scores, ceiling_scores(asked)], ignore_index=True), subgroups, plan=plan)
    metrics = pd.concat([metrics, equivalent_sizes(metrics, asked, plan=plan)], ignore_index=True)
    disparities = disparities_of(scores, metrics, subgroups, plan=plan)
    by_topic = measure_by_topic(scores, subgroups, plan=plan)
    tables = {"predictions": together, "metrics": metrics, "metrics_by_topic": by_topic, "disparities": disparities}
    for name, table in tables.items():
        write_table(table, folder / "tables" / f"{name}.parquet")
    return file_set(folder, [f"tables/{name}.parquet" for name in tables], rows={name: len(table) for name, table in tables.items()})


def measure(scores: pd.DataFrame, subgroups: pd.DataFrame, *, plan: Plan) -> pd.DataFrame:
    """One row per model x split x reader x variant x weighting x group x metric.

    Groups: everything ("all"), each topic, each subgroup, and each level of each dimension. Single subgroups get an interval where all pairs weigh
    alike, of METRICS and of the models and what tells them apart; `p` (tasks/fairness/paired.py) is of the differences over everything, all pairs
    alike. Raises ValueError when a score lacks its subgroup.
    """
    unknown = set(scores["subgroup_id"]).difference(subgroups["subgroup_id"])
    if unknown:
        raise ValueError(f"scores of {len(unknown)} subgroups that are not in the subgroups table, for example {min(unknown)}")
    together = pd.concat([scores, paired_differences(scores)], ignore_index=True)
    parts: list[pd.DataFrame] = []
    for _, of_split in together.groupby("split"):
        grouped = _Grouped(of_split, _groupings(of_split, subgroups))
        weights = question_weights(len(grouped.items), replicates=plan.replicates, generator=plan.generator("metrics"))
        parts += _means(grouped, weights=weights, plan=plan)
        parts += _skills(of_split, weights=weights, items=grouped.items, level=plan.level)
    parts += _calibration(together[together[CONFIDENCE].notna()], subgroups)
    parts.append(standardised_levels(together, subgroups, plan=plan))
    measured = pd.concat(parts, ignore_index=True)
    return measured[COLUMNS].sort_values(COLUMNS[:8], ignore_index=True)


def measure_by_topic(scores: pd.DataFrame, subgroups: pd.DataFrame, *, plan: Plan) -> pd.DataFrame:
    """One row per topic x model x split x reader x group x metric: of METRICS, all pairs weighing alike, for the models, their difference and the
    national mode, asked plainly. Groups: each subgroup, and each level of each dimension; everything of a topic is in `measure`."""
    plain = scores[scores["variant"] == "plain"]
    together = pd.concat([plain, paired_differences(plain)], ignore_index=True)
    parts = []
    for (_, topic), rows in together[together["model"].isin(BY_TOPIC)].groupby(["split", "topic"]):
        groupings = _groupings(rows, subgroups)
        grouped = _Grouped(rows, groupings[~groupings["dimension"].isin(["all", "topic"])])
        weights = question_weights(len(grouped.items), replicates=plan.replicates, generator=plan.generator("metrics", "topic"))
        parts += [found.assign(topic=str(topic)) for found in _means(grouped, weights=weights, plan=plan, metrics=METRICS, weightings=("pairs",))]
    measured = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=TOPIC_COLUMNS)
    return measured[TOPIC_COLUMNS].sort_values(TOPIC_COLUMNS[:7], ignore_index=True)


class _Grouped:
    """Scores once for each group that they are in, with places on three axes: questions, contenders, groups."""

    def __init__(self, scores: pd.DataFrame, groupings: pd.DataFrame) -> None:
        contender = scores.groupby(WHOLE).ngroup()
        self.contenders = scores[WHOLE].drop_duplicates().sort_values(WHOLE, ignore_index=True)
        self.items = sorted(scores["item"].unique())
        self.groups = groupings[["dimension", "group"]].drop_duplicates(ignore_index=True)
        places = {key: place for place, key in enumerate(self.groups.itertuples(index=False, name=None))}
        group = np.array([places[key] for key in zip(groupings["dimension"], groupings["group"], strict=True)])
        row = groupings["row"].to_numpy()
        self.rows = scores.iloc[row]
        item = scores["item"].map({name: place for place, name in enumerate(self.items)}).to_numpy()
        self.shape = (len(self.items), len(self.contenders), len(self.groups))
        self.place = np.ravel_multi_index((item[row], contender.to_numpy()[row], group), self.shape)

    def sums(self, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weighted sums, weights and numbers of the values that are known: [questions, contenders, groups] each."""
        known = ~np.isnan(values)
        place, size = self.place[known], int(np.prod(self.shape))
        of = (weights[known] * values[known], weights[known], None)
        totals = [np.bincount(place, weights=each, minlength=size).astype(float).reshape(self.shape) for each in of]
        return totals[0], totals[1], totals[2]


def _groupings(scores: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """Which group each score (by its place, `row`) is in: columns row, dimension, group."""
    placed = pd.DataFrame({"row": np.arange(len(scores)), "subgroup_id": scores["subgroup_id"].to_numpy(), "topic": scores["topic"].to_numpy()})
    traits = subgroups[["subgroup_id", "dimensions", "levels"]].rename(columns={"dimensions": "dimension", "levels": "group"})
    levels = placed.merge(traits.explode(["dimension", "group"]).dropna(), on="subgroup_id")
    parts = [placed.assign(dimension="all", group="all"), placed.assign(dimension="topic", group=placed["topic"])]
    parts += [placed.assign(dimension="subgroup", group=placed["subgroup_id"]), levels]
    return pd.concat(parts, ignore_index=True)[["row", "dimension", "group"]]


def _weights(rows: pd.DataFrame, weighting: str) -> np.ndarray:
    """Each pair alike, or its subgroup's share of the population."""
    column = WEIGHTINGS[weighting]
    return rows[column].to_numpy(dtype=float) if column else np.ones(len(rows))


def _means(
    grouped: _Grouped, *, weights: np.ndarray, plan: Plan, metrics: Iterable[str] = SCORES, weightings: Iterable[str] = tuple(WEIGHTINGS)
) -> Iterator[pd.DataFrame]:
    """Means over pairs of every metric; NaN scores stay out."""
    wide = (grouped.groups["dimension"] != "subgroup").to_numpy()
    judged = grouped.contenders["model"].isin(JUDGED).to_numpy() & (grouped.contenders["variant"] == "plain").to_numpy()
    index = grouped.contenders.merge(grouped.groups, how="cross")
    for metric in metrics:
        for weighting in weightings:
            sums, totals, counts = grouped.sums(grouped.rows[metric].to_numpy(dtype=float), _weights(grouped.rows, weighting))
            single = judged[:, None] if metric in METRICS and weighting == "pairs" else np.zeros_like(judged)[:, None]
            shown = (wide | single) & (counts.sum(axis=0) > 0)  # [contenders, groups]
            bounds = np.full((2, *shown.shape), np.nan)
            bounds[:, shown] = ratio_interval(sums[:, shown], totals[:, shown], weights=weights, level=plan.level)
            p = _paired_p(grouped, sums, counts, plan=plan) if metric in METRICS and weighting == "pairs" else np.full(shown.shape, np.nan)
            counted = counts.sum(axis=0).ravel()
            with np.errstate(invalid="ignore"):
                value = (sums.sum(axis=0) / totals.sum(axis=0)).ravel()
            found = index.assign(metric=metric, weighting=weighting, value=value, low=bounds[0].ravel(), high=bounds[1].ravel(), p=p.ravel())
            yield found.assign(pairs=counted.astype(int))[counted > 0]


def _paired_p(grouped: _Grouped, sums: np.ndarray, counts: np.ndarray, *, plan: Plan) -> np.ndarray:
    """Of the differences over everything; NaN elsewhere: [contenders, groups]."""
    p = np.full(sums.shape[1:], np.nan)
    differences = grouped.contenders["model"].str.contains("-").to_numpy()
    everything = (grouped.groups["dimension"] == "all").to_numpy()
    for contender, group in np.argwhere(differences[:, None] & everything):
        of_questions = sums[counts[:, contender, group] > 0, contender, group]
        p[contender, group] = sign_flip_p(of_questions, replicates=plan.replicates, generator=plan.generator("paired"))
    return p


def _skills(scores: pd.DataFrame, *, weights: np.ndarray, items: list[str], level: float) -> Iterator[pd.DataFrame]:
    """Of what a baseline leaves, the part that a model gains, over the pairs that all answered: skill_<baseline>, (accuracy - baseline) /
    (1 - baseline), and skill_<baseline>_to_ceiling, with the ceiling for the 1. None where under SMALLEST_DENOMINATOR is left."""
    key = ["item", "subgroup_id"]
    by_model = {str(model): rows.set_index(key)["accuracy"] for model, rows in scores[scores["reader"] == "table"].groupby("model")}
    tops = {"": pd.Series(1.0, index=pd.MultiIndex.from_frame(scores[key].drop_duplicates()))}
    tops |= {"_to_ceiling": by_model[CEILING]} if CEILING in by_model else {}
    judged = scores[(scores["reader"] != "table") & ~scores["model"].str.contains("-")]
    for name in (baseline for baseline in SKILL_OVER if baseline in by_model):
        for whole, rows in judged.groupby(WHOLE):
            for word, top in tops.items():
                both = rows.set_index(key)[["accuracy"]].join(by_model[name].rename("baseline"), how="inner").join(top.rename("top"), how="inner")
                parts = pd.DataFrame({"gain": both["accuracy"] - both["baseline"], "left": both["top"] - both["baseline"]}).groupby("item").sum()
                gain, left = (parts[column].reindex(items, fill_value=0.0).to_numpy()[:, None] for column in ("gain", "left"))
                if left.sum() < SMALLEST_DENOMINATOR * len(both) or both.empty:
                    continue
                low, high = ratio_interval(gain, left, weights=weights, level=level)
                if np.quantile(weights @ left[:, 0], (1 - level) / 2) < SMALLEST_DENOMINATOR * len(both):
                    low, high = np.array([np.nan]), np.array([np.nan])  # other questions might leave nothing: no share of it can be bounded
                row = dict(zip([*WHOLE, "metric"], [*whole, f"skill_{name}{word}"], strict=True))
                row |= {"weighting": "pairs", "dimension": "all", "group": "all", "pairs": len(both)}
                yield pd.DataFrame([row | {"value": gain.sum() / left.sum(), "low": low[0], "high": high[0]}])


def _calibration(scores: pd.DataFrame, subgroups: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Expected calibration error: over ten equal bins of confidence, the bins' |mean confidence - accuracy| weighted by their pairs.

    Naeini, Cooper and Hauskrecht 2015. Biased upwards where pairs are few, as in any bin of few pairs; so it has no interval.
    """
    for _, of_split in scores.groupby("split"):
        grouped = _Grouped(of_split, _groupings(of_split, subgroups))
        confidence = grouped.rows[CONFIDENCE].to_numpy(dtype=float)
        over = confidence - grouped.rows["accuracy"].to_numpy(dtype=float)
        bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
        index = grouped.contenders.merge(grouped.groups, how="cross")
        for weighting in WEIGHTINGS:
            sums = [grouped.sums(np.where(bins == place, over, np.nan), _weights(grouped.rows, weighting)) for place in range(CALIBRATION_BINS)]
            wrong = np.sum([np.abs(each[0].sum(axis=0)) for each in sums], axis=0)
            total, counts = (np.sum([each[place].sum(axis=0) for each in sums], axis=0).ravel() for place in (1, 2))
            with np.errstate(invalid="ignore"):
                value = wrong.ravel() / total
            found = index.assign(metric="calibration_error", weighting=weighting, value=value, low=np.nan, high=np.nan, pairs=counts.astype(int))
            yield found[counts > 0]
