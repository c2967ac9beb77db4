"""What is nearest to what was never trained: other subgroups, and other questions.

    neighbours = nearest_subgroups(subgroups, trained, ordered={"age_group": ["16-24", "25-34"]})
    questions = nearest_questions(items, trained={"Q1", "Q2"})

Both know only what may be known: traits, wordings, and what was trained.
"""

from collections.abc import Collection, Mapping
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer

Cells = Mapping[tuple[str, str], np.ndarray]


def nearest_subgroups(subgroups: pd.DataFrame, trained: Cells, *, ordered: Mapping[str, list[str]]) -> dict[str, list[str]]:
    """For each subgroup those of the same dimensions that differ from it in one level, the nearest first.

    In an ordered dimension adjacent levels come before those further off. Then two levels are as far apart as the answers of the two single traits,
    by total variation, on average over the questions of which both were trained. None for a subgroup of a place that is held out: what its level
    is like is not known. `trained`: shares by (item, subgroup_id).
    """
    distances = _level_distances(subgroups, trained)
    rows = subgroups[subgroups["subgroup_order"] > 0].to_dict("records")
    traits = {str(row["subgroup_id"]): dict(zip(row["dimensions"], row["levels"], strict=True)) for row in rows}
    unseen = set(subgroups.loc[subgroups["unseen"], "subgroup_id"])
    by_rest: dict[tuple[str, frozenset[tuple[str, str]]], list[str]] = {}
    for name, held in traits.items():
        for dimension in held:
            by_rest.setdefault((dimension, frozenset(held.items() - {(dimension, held[dimension])})), []).append(name)
    found: dict[str, list[tuple[int, float, str]]] = {name: [] for name in traits}
    for (dimension, _), alike in by_rest.items():
        for one, other in combinations(alike, 2):
            levels = traits[one][dimension], traits[other][dimension]
            steps = _steps(*levels, order=ordered.get(dimension, []))
            apart = distances.get((dimension, *sorted(levels)), 1.0)
            found[one].append((steps, apart, other))
            found[other].append((steps, apart, one))
    return {name: [] if name in unseen else [other for _, _, other in sorted(near)] for name, near in found.items()}


def _level_distances(subgroups: pd.DataFrame, trained: Cells) -> dict[tuple[str, str, str], float]:
    """By dimension and two of its levels, in alphabetical order."""
    singles = subgroups[subgroups["subgroup_order"] == 1]
    answers: dict[str, dict[str, np.ndarray]] = {name: {} for name in singles["subgroup_id"]}
    for (item, name), shares in trained.items():
        if name in answers:
            answers[name][item] = np.asarray(shares)
    found = {}
    for dimension, rows in singles.groupby("dimension"):
        levels = sorted((levels[0], answers[name]) for levels, name in zip(rows["levels"], rows["subgroup_id"], strict=True))
        for (one, of_one), (other, of_other) in combinations(levels, 2):
            apart = [float(np.abs(of_one[item] - of_other[item]).sum()) / 2 for item in of_one.keys() & of_other.keys()]
            if apart:
                found[str(dimension), str(one), str(other)] = float(np.mean(sorted(apart)))
    return found


def _steps(one: str, other: str, *, order: list[str]) -> int:
    """How many levels lie between two of an ordered dimension; 0 where there is no order."""
    return abs(order.index(one) - order.index(other)) - 1 if one in order and other in order else 0


def nearest_questions(items: pd.DataFrame, *, trained: Collection[str]) -> dict[str, list[str]]:
    """For each question the trained ones of its scale with equally many options, the most similarly worded first.

    Similarity is the cosine of the wordings' TF-IDF vectors (Salton and Buckley 1988) over words of two letters and more; idf is over all wordings
    of the study. A question is not near itself, and a nominal one is near none: places on its list mean nothing elsewhere. `items`: item, question,
    scale, k.
    """
    vectors = TfidfVectorizer(sublinear_tf=True).fit_transform(items["question"])
    similar = pd.DataFrame((vectors @ vectors.T).toarray(), index=items["item"], columns=items["item"])
    found: dict[str, list[str]] = {}
    for _, rows in items[items["scale"] != "nominal"].groupby(["scale", "k"]):
        for item in rows["item"]:
            others: Any = [other for other in rows["item"] if other in trained and other != item]
            found[str(item)] = sorted(others, key=lambda other: (-round(float(similar.loc[item, other]), 12), other))
    return found
