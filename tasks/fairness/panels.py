"""The levels of a dimension on one footing: the mean score of every level on every question, standardised to the same partner levels.

panels = Panels(subgroups)
panel = panels.of(answers, "religion", metric="accuracy")        answers = Answers.of(scores of one contender)
panel.table(answers, "accuracy")                                  [questions, levels]

Intersections are held out at random, so that one level has other partners than the next (men of this religion, women of that). A question's scores
are therefore fitted by effects of levels and of partners, and a level's value is its effect over all partners alike: least-squares means
(Searle, Speed and Milliken 1980). Where the held-out intersections do not tie all levels together, each level averages its own.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.study import SHOWN_FROM

FEWEST_QUESTIONS = 5


class Answers(NamedTuple):
    """A contender's scores of one split by metric: [questions, subgroups], NaN where a pair was not asked or has no such score."""

    items: np.ndarray
    subgroups: np.ndarray
    values: dict[str, np.ndarray]

    @classmethod
    def of(cls, scores: pd.DataFrame, *, metrics: Iterable[str]) -> "Answers":
        items, item = np.unique(scores["item"].to_numpy(dtype=str), return_inverse=True)
        subgroups, subgroup = np.unique(scores["subgroup_id"].to_numpy(dtype=str), return_inverse=True)
        values = {metric: np.full((len(items), len(subgroups)), np.nan) for metric in metrics}
        for metric, table in values.items():
            table[item, subgroup] = scores[metric].to_numpy(dtype=float)
        return cls(items, subgroups, values)


class Panel(NamedTuple):
    """`averages` [levels, subgroups] makes the levels' values of the subgroups' scores on a question; `intersections`: how many have each level."""

    items: np.ndarray
    subgroups: np.ndarray
    levels: list[str]
    averages: np.ndarray
    standardised: bool
    intersections: list[int]

    def table(self, answers: Answers, metric: str) -> np.ndarray | None:
        """A contender's value of each level on each question: [questions, levels]; None when it did not answer all of the panel's pairs."""
        if not (np.isin(self.items, answers.items).all() and np.isin(self.subgroups, answers.subgroups).all()):
            return None
        rows, columns = np.searchsorted(answers.items, self.items), np.searchsorted(answers.subgroups, self.subgroups)
        wide = answers.values[metric][np.ix_(rows, columns)]
        return None if np.isnan(wide).any() else wide @ self.averages.T


class Panels:
    """The panels of a study; contenders that answered the same pairs share one."""

    def __init__(self, subgroups: pd.DataFrame) -> None:
        self.dimensions = sorted({name for names in subgroups["dimensions"] for name in names})
        self._traits = {name: _traits(subgroups, name) for name in self.dimensions}
        self._made: dict[tuple[str, bytes], Panel | None] = {}

    def of(self, answers: Answers, dimension: str, *, metric: str) -> Panel | None:
        """None where fewer than two levels share FEWEST_QUESTIONS questions."""
        asked = ~np.isnan(answers.values[metric])
        key = dimension, asked.tobytes() + "|".join([*answers.items, *answers.subgroups]).encode()
        if key not in self._made:
            self._made[key] = _panel(answers, asked, self._traits[dimension])
        return self._made[key]


def large_levels(subgroups: pd.DataFrame, *, least: int = SHOWN_FROM) -> set[tuple[str, str]]:
    """(dimension, level) of at least so many respondents: those of a subgroup that has the level, for a level that only a held-out country or wave
    has is no subgroup by itself."""
    large = subgroups[subgroups["respondents"] >= least]
    traits = (zip(names, levels, strict=True) for names, levels in zip(large["dimensions"], large["levels"], strict=True))
    return {(str(name), str(level)) for held in traits for name, level in held}


def _traits(subgroups: pd.DataFrame, dimension: str) -> dict[str, tuple[str, str]]:
    """The level of each subgroup that has one of at least SHOWN_FROM respondents, and its partner: its other traits."""
    large = large_levels(subgroups)
    found = {}
    for name, dimensions, levels in zip(subgroups["subgroup_id"], subgroups["dimensions"], subgroups["levels"], strict=True):
        held = dict(zip(dimensions, levels, strict=True))
        level = held.pop(dimension, None)
        if level is not None and (dimension, level) in large:
            found[name] = (level, "|".join(f"{other}={of}" for other, of in held.items()))
    return found


def _panel(answers: Answers, asked: np.ndarray, traits: dict[str, tuple[str, str]]) -> Panel | None:
    having = np.array([name in traits for name in answers.subgroups], dtype=bool)
    kept = _block(asked[:, having])
    if kept is None:
        return None
    names = answers.subgroups[having][kept[1]]
    held = pd.DataFrame([traits[name] for name in names], columns=["level", "partner"])
    levels = sorted(held["level"].unique())
    if len(levels) < 2:
        return None
    averages = _standardised(held, levels)
    counts = held["level"].value_counts()
    return Panel(
        answers.items[kept[0]],
        names,
        levels,
        averages=_plain(held, levels) if averages is None else averages,
        standardised=averages is not None,
        intersections=[int(counts[level]) for level in levels],
    )


def _block(asked: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Questions and subgroups such that every one was asked of every other, as many pairs as dropping the subgroups of few questions leaves."""
    best: tuple[np.ndarray, np.ndarray] | None = None
    counts = asked.sum(axis=0)
    for least in np.unique(counts):
        subgroups = counts >= least
        questions = np.asarray(asked[:, subgroups].all(axis=1))
        enough = int(questions.sum()) >= FEWEST_QUESTIONS
        if enough and (best is None or questions.sum() * subgroups.sum() > best[0].sum() * best[1].sum()):
            best = questions, subgroups
    return best


def _standardised(held: pd.DataFrame, levels: list[str]) -> np.ndarray | None:
    """Least-squares means; None where a difference of levels cannot be told from one of partners."""
    partners = sorted(held["partner"].unique())
    of_level = (held["level"].to_numpy()[:, None] == np.array(levels, dtype=object)).astype(float)
    of_partner = (held["partner"].to_numpy()[:, None] == np.array(partners, dtype=object)).astype(float)
    design = np.concatenate([of_level, of_partner], axis=1)
    if np.linalg.matrix_rank(design) < len(levels) + len(partners) - 1:
        return None
    wanted = np.concatenate([np.eye(len(levels)), np.full((len(levels), len(partners)), 1 / len(partners))], axis=1)
    averages: np.ndarray = wanted @ np.linalg.pinv(design)
    return averages


def _plain(held: pd.DataFrame, levels: list[str]) -> np.ndarray:
    of_level = (np.array(levels, dtype=object)[:, None] == held["level"].to_numpy()).astype(float)
    averages: np.ndarray = of_level / of_level.sum(axis=1, keepdims=True)
    return averages
