"""What a table can say without a model: chance, national mode, parent mode, additive. Trained cells only, as the tuned model had.

predictions = score_baselines(pairs, subgroups)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.predictions import predictions_frame
from tasks.evaluation.scoring import TEST_SPLITS

SMALLEST_SHARE = 1e-9  # an option that nobody chose must not make a product zero everywhere


class Evidence(NamedTuple):
    """What was trained of a question: everybody's shares, and those of the pair's parents that were; [options]."""

    national: np.ndarray
    parents: list[np.ndarray]


def score_baselines(pairs: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """Predictions of every baseline on both test splits."""
    trained = pairs[pairs["split"] == "train"].set_index(["item", "subgroup_id"])["shares"].to_dict()
    parents = dict(zip(subgroups["subgroup_id"], subgroups["parents"], strict=True))
    test = pairs[pairs["split"].isin(TEST_SPLITS)]
    evidence = [
        _evidence(trained, item=item, parents=list(parents[subgroup])) for item, subgroup in zip(test["item"], test["subgroup_id"], strict=True)
    ]
    baselines: dict[str, Callable[[Evidence], np.ndarray]] = {
        "national_mode": national_mode,
        "parent_mode": parent_mode,
        "additive": additive,
        "chance": chance,
    }
    frames = [predictions_frame(test, [rule(known) for known in evidence], model=name, reader="table") for name, rule in baselines.items()]
    return pd.concat(frames, ignore_index=True)


def _evidence(trained: dict[Any, np.ndarray], *, item: str, parents: list[str]) -> Evidence:
    """Order 0 is always trained; a parent's cell may be kept back for this question."""
    national = np.asarray(trained[(item, "all")])
    known = [np.asarray(trained[(item, parent)]) for parent in parents if parent != "all" and (item, parent) in trained]
    return Evidence(national, known)


def chance(known: Evidence) -> np.ndarray:
    """Every option alike; its choice is the first, so its accuracy is given as the expected one (tasks/fairness/scores.py)."""
    return np.full(len(known.national), 1 / len(known.national))


def national_mode(known: Evidence) -> np.ndarray:
    """The whole country's shares: its choice is the country's modal option."""
    return known.national


def parent_mode(known: Evidence) -> np.ndarray:
    """The shares of the trained parent whose mode has the larger margin; without one, the country's."""
    return max(known.parents, key=_margin, default=known.national)


def additive(known: Evidence) -> np.ndarray:
    """p(o | a, b) proportional to p(o | a) p(o | b) / p(o): no interaction on the log scale. With one trained parent that parent, with none the
    country."""
    if len(known.parents) < 2:
        return known.parents[0] if known.parents else known.national
    first, second = (np.maximum(shares, SMALLEST_SHARE) for shares in known.parents)
    product = first * second / np.maximum(known.national, SMALLEST_SHARE)
    shares: np.ndarray = product / product.sum()
    return shares


def _margin(shares: np.ndarray) -> float:
    first, second = np.sort(shares)[::-1][:2]
    return float(first - second)
