"""What a table can say without a model: chance, national mode, parent mode, additive. Trained cells only, as the tuned model had.

predictions = score_baselines(pairs, subgroups)
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.asking import TEST_SPLITS
from tasks.evaluation.predictions import predictions_frame

SMALLEST_SHARE = 1e-9  # an option that nobody chose must not make a product zero everywhere


class Evidence(NamedTuple):
    """What was trained of a question, as shares of its options: everybody's, and those of the pair's parents that were. `ancestors`, every
    subgroup of fewer of its traits with its power in the additive formula, and `singles`, its single traits, are None unless all of them were."""

    national: np.ndarray
    parents: list[np.ndarray]
    ancestors: list[tuple[int, np.ndarray]] | None
    singles: list[np.ndarray] | None


def score_baselines(pairs: pd.DataFrame, subgroups: pd.DataFrame) -> pd.DataFrame:
    """Predictions of every baseline on both test splits."""
    trained = pairs[pairs["split"] == "train"].set_index(["item", "subgroup_id"])["shares"].to_dict()
    parents = {name: list(named) for name, named in zip(subgroups["subgroup_id"], subgroups["parents"], strict=True)}
    test = pairs[pairs["split"].isin(TEST_SPLITS)]
    tested = zip(test["item"], test["subgroup_id"], strict=True)
    evidence = [_evidence(trained, item=item, subgroup=subgroup, parents=parents) for item, subgroup in tested]
    baselines: dict[str, Callable[[Evidence], np.ndarray]] = {
        "national_mode": national_mode,
        "parent_mode": parent_mode,
        "additive": additive,
        "chance": chance,
    }
    frames = [predictions_frame(test, [rule(known) for known in evidence], model=name, reader="table") for name, rule in baselines.items()]
    return pd.concat(frames, ignore_index=True)


def _evidence(trained: dict[Any, np.ndarray], *, item: str, subgroup: str, parents: dict[str, list[str]]) -> Evidence:
    """Order 0 is always trained; a parent's cell may be kept back for this question."""
    left_out = _ancestors(subgroup, parents)
    cells = {name: np.asarray(trained[(item, name)]) for name in left_out if (item, name) in trained}
    singles = [name for name in left_out if parents[name] == ["all"]]
    return Evidence(
        national=np.asarray(trained[(item, "all")]),
        parents=[cells[parent] for parent in parents[subgroup] if parent != "all" and parent in cells],
        ancestors=[((-1) ** (left_out[name] - 1), shares) for name, shares in cells.items()] if cells.keys() == left_out.keys() else None,
        singles=[cells[name] for name in singles] if singles and all(name in cells for name in singles) else None,
    )


def _ancestors(subgroup: str, parents: dict[str, list[str]]) -> dict[str, int]:
    """Every subgroup of fewer of its traits, everybody included, and how many traits it leaves out."""
    found: dict[str, int] = {}
    generation, left_out = list(parents[subgroup]), 1
    while generation:
        found.update(dict.fromkeys(generation, left_out))
        generation, left_out = [grandparent for parent in generation for grandparent in parents[parent]], left_out + 1
    return found


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
    """p(o | a, b) proportional to p(o | a) p(o | b) / p(o), from tables alone; for more traits, log p(o | S) is the sum over proper subsets T of S of
    (-1)^(|S| - |T| - 1) log p(o | T) (Kirkwood's superposition, Kirkwood 1935). Exact where the traits are independent given the answer;
    associated traits (ethnicity and religion) are counted twice. Without a pair's cell the single traits stand in for it, without one of those the
    parent with the larger margin, and without any the country.
    """
    parts = known.ancestors or _of_single_traits(known)
    if parts is None:
        return parent_mode(known)
    logs = sum(power * np.log(np.maximum(shares, SMALLEST_SHARE)) for power, shares in parts)
    odds = np.exp(logs - np.max(logs))
    # An option that nobody of a parent chose is not brought back by what is divided out.
    odds = np.where(np.min(known.parents, axis=0) > 0, odds, np.minimum(odds, SMALLEST_SHARE)) if known.parents else odds
    shares: np.ndarray = odds / odds.sum()
    return shares


def _of_single_traits(known: Evidence) -> list[tuple[int, np.ndarray]] | None:
    """The product of the single traits over the country's shares; None when one of them was not trained."""
    if known.singles is None:
        return None
    return [*((1, shares) for shares in known.singles), (1 - len(known.singles), known.national)]


def _margin(shares: np.ndarray) -> float:
    first, second = np.sort(shares)[::-1][:2]
    return float(first - second)
