"""How sure the value landscape is: intervals of the Modal Diversity Score, and the score that sampling alone would give.

    intervals = diversity_intervals(distributions, posteriors, subgroups, items)

One row per question and dimension, and one per topic, or EVERY_TOPIC, and dimension (item null: the mean over its questions): low, high,
mds_expected, mds_sampling.
`mds_expected`, `low` and `high`: mean and percentiles of the score where every subgroup's mode is drawn by its posterior probability, so that modes
which differ by chance are not counted as diversity. `mds_sampling`: the mean score where all subgroups have the country's shares and are surveyed
at their effective n.
"""

import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.special import xlogy

POSTERIOR_DRAWS, SAMPLING_DRAWS = 200, 50
TAILS = (0.025, 0.975)
EVERY_TOPIC = "All topics"


class _Membership(NamedTuple):
    """Which subgroups (all but everybody) are in which dimension; the last dimension is all of them: [subgroups, dimensions]."""

    subgroups: list[str]
    dimensions: list[str]
    inside: np.ndarray


def diversity_intervals(distributions: pd.DataFrame, posteriors: pd.DataFrame, subgroups: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    membership = _membership(subgroups)
    cells = distributions.merge(posteriors, on=["item", "subgroup_id", "code"]).sort_values(["item", "subgroup_id", "position"])
    topics = dict(zip(items["item"], items["topic"], strict=True))
    found: list[pd.DataFrame] = []
    by_topic: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for name, rows in cells.groupby("item"):
        drawn, sampled = _scores(rows, membership, generator=np.random.default_rng(zlib.crc32(str(name).encode())))
        found.append(_summary(drawn, sampled, membership.dimensions).assign(item=name, topic=topics[name]))
        for topic in (topics[name], EVERY_TOPIC):
            by_topic.setdefault(topic, []).append((drawn, sampled))
    for topic, scores in by_topic.items():
        drawn, sampled = (_mean_of_known(np.stack(tables)) for tables in zip(*scores, strict=True))
        found.append(_summary(drawn, sampled, membership.dimensions).assign(item=None, topic=topic))
    return pd.concat(found, ignore_index=True).dropna(subset=["mds_expected"])


def _membership(subgroups: pd.DataFrame) -> _Membership:
    parts = subgroups[subgroups["subgroup_order"] > 0]
    dimensions = sorted(parts["dimension"].unique())
    inside = (parts["dimension"].to_numpy()[:, None] == np.array(dimensions, dtype=object)).astype(float)
    return _Membership(list(parts["subgroup_id"]), [*dimensions, "all"], np.column_stack([inside, np.ones(len(parts))]))


def _scores(rows: pd.DataFrame, membership: _Membership, *, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The score of a question in every dimension by posterior draw, and by draw of equal subgroups: [draws, dimensions]; NaN without subgroups."""
    options = rows["position"].nunique()
    names = rows["subgroup_id"].to_numpy()[::options]
    shares, probabilities = (rows[column].to_numpy().reshape(-1, options) for column in ("share", "mode_probability"))
    part = names != "all"
    inside = membership.inside[pd.Index(membership.subgroups).get_indexer(names[part])]
    beyond = generator.random((POSTERIOR_DRAWS, int(part.sum()), 1)) > np.cumsum(probabilities[part], axis=1)[:, :-1]
    size = np.maximum(np.round(rows["effective_n"].to_numpy()[::options][part]), 1).astype(int)
    national = shares[~part][0] / shares[~part][0].sum()
    sampled = generator.multinomial(size, national, size=(SAMPLING_DRAWS, len(size))).argmax(axis=2)
    return _diversity(beyond.sum(axis=2), inside, options=options), _diversity(sampled, inside, options=options)


def _diversity(modes: np.ndarray, inside: np.ndarray, *, options: int) -> np.ndarray:
    """Entropy of the modes [draws, subgroups] in each dimension over log K: [draws, dimensions]."""
    totals = inside.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        parts = [(modes == option) @ inside / totals for option in range(options)]
    entropy = np.maximum(-np.sum([xlogy(part, part) for part in parts], axis=0), 0)
    scores: np.ndarray = entropy / np.log(options)
    return scores


def _mean_of_known(tables: np.ndarray) -> np.ndarray:
    """Over the questions that have a dimension's subgroups at all."""
    known = ~np.isnan(tables)
    with np.errstate(invalid="ignore"):
        means: np.ndarray = np.where(known, tables, 0).sum(axis=0) / known.sum(axis=0)
    return means


def _summary(drawn: np.ndarray, sampled: np.ndarray, dimensions: list[str]) -> pd.DataFrame:
    low, high = np.quantile(drawn, TAILS, axis=0)
    means = {"mds_expected": drawn.mean(axis=0), "mds_sampling": sampled.mean(axis=0)}
    return pd.DataFrame({"dimension": dimensions, "low": low, "high": high, **means})
