"""What tables can say without a model. Trained cells only, as the tuned model had; `additive_micro` sees the respondents behind them, too.

predictions = score_baselines(pairs, subgroups, items, study=study, microdata=microdata)

A baseline is a rule from what was trained of a pair (tasks/evaluation/evidence.py) to shares of its options, or None where nothing was that it goes
by. One that has nothing to go by on a whole split is left out of that split: an unseen question has no national mode, and an unseen country no
parents. Where single pairs lack it everybody's shares stand in (all options alike on a question that was never trained), so that all baselines of a
split answer the same pairs.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from tasks.evaluation.asking import TEST_SPLITS
from tasks.evaluation.evidence import Evidence, Knowledge, margin
from tasks.evaluation.microdata import Microdata, additive_micro
from tasks.evaluation.predictions import predictions_frame
from tasks.study import Study
from tasks.study_evaluation import Baseline

SMALLEST_SHARE = 1e-9  # an option that nobody chose must not make a product zero everywhere

Rule = Callable[[Evidence], np.ndarray | None]


def score_baselines(
    pairs: pd.DataFrame, subgroups: pd.DataFrame, items: pd.DataFrame, *, study: Study, microdata: Microdata | None = None
) -> pd.DataFrame:
    """Predictions of every baseline on the test splits that it has anything to say on; additive_micro where there is `microdata`."""
    known = Knowledge(pairs, subgroups, items, study=study)
    frames = []
    for split in TEST_SPLITS:
        test = pairs[pairs["split"] == split]
        evidence = _evidence(test, known, micro=_micro(test, known, subgroups, microdata) if microdata else {})
        for name, rule in RULES.items():
            answers = [rule(one) for one in evidence]
            if any(answer is not None for answer in answers):
                filled = [_otherwise(one) if answer is None else answer for answer, one in zip(answers, evidence, strict=True)]
                frames.append(predictions_frame(test, filled, model=name, reader="table"))
    return pd.concat(frames, ignore_index=True)


def _evidence(test: pd.DataFrame, known: Knowledge, *, micro: Mapping[tuple[str, str], np.ndarray]) -> list[Evidence]:
    asked = zip(test["item"], test["subgroup_id"], test["codes"], strict=True)
    return [known.of(item, name, options=len(codes), micro=micro.get((item, name))) for item, name, codes in asked]


def _micro(test: pd.DataFrame, known: Knowledge, subgroups: pd.DataFrame, microdata: Microdata) -> dict[tuple[str, str], np.ndarray]:
    asked: Any = test.groupby("item")["subgroup_id"].agg(list).to_dict()
    return additive_micro(microdata, trained=known.questions, asked=asked, subgroups=subgroups)


def _otherwise(known: Evidence) -> np.ndarray:
    return chance(known) if known.national is None else known.national


def chance(known: Evidence) -> np.ndarray:
    """Every option alike; its choice is the first, so its accuracy is given as the expected one (tasks/fairness/scores.py)."""
    return np.full(known.options, 1 / known.options)


def national_mode(known: Evidence) -> np.ndarray | None:
    """The shares of everybody who is trained: its choice is the country's modal option."""
    return known.national


def parent_mode(known: Evidence) -> np.ndarray | None:
    """The shares of the trained parent whose mode has the larger margin."""
    return max(known.parents, key=margin, default=None)


def additive(known: Evidence) -> np.ndarray | None:
    """p(o | a, b) proportional to p(o | a) p(o | b) / p(o), from tables alone; for more traits, log p(o | S) is the sum over proper subsets T of S of
    (-1)^(|S| - |T| - 1) log p(o | T) (Kirkwood's superposition, Kirkwood 1935). Exact where the traits are independent given the answer;
    associated traits (ethnicity and religion) are counted twice. Without a pair's cell the single traits stand in for it, and without one of those
    the parent with the larger margin. A single trait has nothing to be added of.
    """
    parts = (known.ancestors if known.parents else None) or _of_single_traits(known)
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
    if known.singles is None or known.national is None:
        return None
    return [*((1, shares) for shares in known.singles), (1 - len(known.singles), known.national)]


def nearest_subgroup(known: Evidence) -> np.ndarray | None:
    """The shares of the trained subgroup that differs from the pair's in one level, the nearest one (tasks/evaluation/nearness.py)."""
    return known.neighbour


def nearest_question(known: Evidence) -> np.ndarray | None:
    """For a question that was never trained: the same subgroup's shares (everybody's, where it has none) on the trained question of its scale whose
    wording is most similar, place by place of the scale."""
    return known.similar


def topic_prior(known: Evidence) -> np.ndarray | None:
    """For a question that was never trained: everybody's mean shares, place by place of the scale, on the trained questions of its topic that have
    its scale; of all topics, where its own has none."""
    return known.topic


def _other(place: str) -> Rule:
    """The shares of those who share the subgroup's other traits in the trained countries, or waves; of everybody there, where none do."""
    return lambda known: known.elsewhere if known.place == place else None


RULES: dict[Baseline, Rule] = {
    "national_mode": national_mode,
    "parent_mode": parent_mode,
    "additive": additive,
    "additive_micro": lambda known: known.micro,
    "nearest_subgroup": nearest_subgroup,
    "other_country": _other("country"),
    "other_wave": _other("wave"),
    "nearest_question": nearest_question,
    "topic_prior": topic_prior,
    "chance": chance,
}
