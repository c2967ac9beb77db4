"""Two runs over the same pairs: differences of their models' scores, with interval and test.

    rows = paired_tests({"A": scores_of_a, "B": scores_of_b}, plan=plan)

Scores are those of tasks/fairness/scores.py, one row per item and subgroup. Each run is right or wrong by its own targets.
"""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.fairness.intervals import question_weights, ratio_interval
from tasks.fairness.multiplicity import holm
from tasks.fairness.plan import Plan
from tasks.fairness.scores import METRICS

FEWEST_QUESTIONS = 5  # of which 32 ways to flip signs exist


class PairedTest(NamedTuple):
    """`other` less `one` on `pairs` pairs of `questions` questions; `p_holm` over all tests of the call. NaN where there are too few questions."""

    one: str
    other: str
    metric: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    pairs: int
    questions: int


def paired_tests(scores: Mapping[str, pd.DataFrame], *, plan: Plan) -> list[PairedTest]:
    """Every two runs by every metric; two runs without a common pair have no rows."""
    found = [
        test
        for one, other in combinations(scores, 2)
        for metric in METRICS
        if (test := _test(scores[one], scores[other], names=(one, other), metric=metric, plan=plan)) is not None
    ]
    adjusted = holm(np.array([test.p for test in found]))
    return [test._replace(p_holm=float(p)) for test, p in zip(found, adjusted, strict=True)]


def _test(one: pd.DataFrame, other: pd.DataFrame, *, names: tuple[str, str], metric: str, plan: Plan) -> PairedTest | None:
    keys = ["item", "subgroup_id"]
    both = one[[*keys, metric]].merge(other[[*keys, metric]], on=keys, suffixes=("_one", "_other"), validate="one_to_one").dropna()
    if both.empty:
        return None
    both["difference"] = both[f"{metric}_other"] - both[f"{metric}_one"]
    by_question = both.groupby("item")["difference"].agg(["sum", "size"])
    sums, sizes = by_question["sum"].to_numpy(dtype=float), by_question["size"].to_numpy(dtype=float)
    generator = plan.generator("paired", *names, metric)
    weights = question_weights(len(sums), replicates=plan.replicates, generator=generator)
    low, high = ratio_interval(sums[:, None], sizes[:, None], weights=weights, level=plan.level)
    p = sign_flip_p(sums, replicates=plan.replicates, generator=generator)
    return PairedTest(*names, metric, float(sums.sum() / sizes.sum()), float(low[0]), float(high[0]), p, np.nan, len(both), len(sums))


def sign_flip_p(sums: np.ndarray, *, replicates: int, generator: np.random.Generator) -> float:
    """Two-sided p of the questions' differences [questions] when either run could have had either answer to a whole question: their signs are flipped
    at random (Fisher's randomisation test for pairs; Good 2005, ch. 3). NaN under FEWEST_QUESTIONS."""
    if len(sums) < FEWEST_QUESTIONS:
        return float("nan")
    flips = generator.choice([-1.0, 1.0], size=(replicates, len(sums)))
    reached = np.abs(flips @ sums) >= abs(sums.sum()) * (1 - 1e-12)
    return float((1 + reached.sum()) / (1 + replicates))
