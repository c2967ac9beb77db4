"""Pairs of contenders that answered the same pairs: their scores' differences, which are then averaged and bootstrapped like scores.

differences = paired_differences(scores)         models "tuned-base", "tuned-national_mode", "tuned-blank_persona", ...
"""

from typing import NamedTuple, get_args

import pandas as pd

from tasks.fairness.scores import GUESSES, KEYS, SCORES
from tasks.study_evaluation import Baseline

SKILL_OVER: tuple[str, ...] = get_args(Baseline)
BASELINES = tuple(name for name in SKILL_OVER if name != GUESSES)
CONTROLS = ("blank_persona", "permuted_persona")
ORDER0 = "order0"  # a control that is a model of its own
CHANGE = "tuned-base"
OTHER_COLUMNS = [*KEYS, "topic", "weight_share"]


class Contrast(NamedTuple):
    """`one` less `other`, each a model, an answer reader and a prompt variant."""

    name: str
    one: tuple[str, str, str]
    other: tuple[str, str, str]


def paired_differences(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of `scores` once more, as differences, for every contrast whose two sides are there; over the pairs that both answered."""
    sides = {(str(key[0]), str(key[1]), str(key[2])): rows for key, rows in scores.groupby(["model", "reader", "variant"])}
    found = [_difference(sides[contrast.one], sides[contrast.other], contrast) for contrast in contrasts(set(sides))]
    return pd.concat(found, ignore_index=True) if found else scores.iloc[:0]


def contrasts(sides: set[tuple[str, str, str]]) -> list[Contrast]:
    """Tuned against base; and the tuned model, or the base model where nothing was trained, against its controls and the baselines."""
    judged = "tuned" if any(model == "tuned" for model, _, _ in sides) else "base"
    found = []
    for reader in sorted({reader for model, reader, _ in sides if model == judged}):
        ours = (judged, reader, "plain")
        found += [Contrast(CHANGE, ours, ("base", reader, "plain"))] if judged == "tuned" else []
        found += [Contrast(f"{judged}-{name}", ours, (judged, reader, name)) for name in CONTROLS]
        found += [Contrast(f"{judged}-{ORDER0}", ours, (ORDER0, reader, "plain"))]
        found += [Contrast(f"{judged}-{name}", ours, (name, "table", "plain")) for name in BASELINES]
    return [contrast for contrast in found if {contrast.one, contrast.other} <= sides]


def _difference(one: pd.DataFrame, other: pd.DataFrame, contrast: Contrast) -> pd.DataFrame:
    both = one.merge(other[[*KEYS, *SCORES]], on=KEYS, suffixes=("", "_other"))
    less = {name: both[name] - both[f"{name}_other"] for name in SCORES}
    model, reader, variant = contrast.name, contrast.one[1], contrast.one[2]
    return both[OTHER_COLUMNS].assign(model=model, reader=reader, variant=variant, **less)
