"""Intervals of ratios of sums by a bootstrap that draws whole questions: all answers to a question stand or fall together.

weights = question_weights(60, replicates=2000, generator=generator)
low, high = ratio_interval(numerators, denominators, weights=weights)         [questions, columns] each

A replicate is how often each question was drawn, so 2,000 of them are one matrix product (Davison and Hinkley, Bootstrap Methods, 1997, ch. 2.4).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr, stdtrit

FEWEST_QUESTIONS = 5
COLUMNS_AT_ONCE = 128


class Interval(NamedTuple):
    """Bounds by column; NaN where fewer than FEWEST_QUESTIONS questions are in it."""

    low: np.ndarray
    high: np.ndarray


def question_weights(questions: int, *, replicates: int, generator: np.random.Generator) -> np.ndarray:
    """How often each replicate draws each question: [replicates, questions], rows sum to `questions`."""
    return generator.multinomial(questions, np.full(questions, 1 / questions), size=replicates).astype(float)


def ratio_interval(numerators: np.ndarray, denominators: np.ndarray, *, weights: np.ndarray, level: float = 0.95) -> Interval:
    """Of sum numerators / sum denominators in each column: expanded percentiles of the replicates.

    With m questions the usual percentiles are too narrow by sqrt((m - 1) / m) and a t for a normal quantile; taken further out at
    Phi(sqrt(m / (m - 1)) t(m - 1)) they are not (Hesterberg 2015, What Teachers Should Know About the Bootstrap, section 5.3).
    """
    parts = [slice(start, start + COLUMNS_AT_ONCE) for start in range(0, numerators.shape[1], COLUMNS_AT_ONCE)]
    bounds = [_bounds(numerators[:, part], denominators[:, part], weights=weights, level=level) for part in parts]
    return Interval(*(np.concatenate(side) for side in zip(*bounds, strict=True))) if bounds else Interval(np.empty(0), np.empty(0))


def ratio_replicates(numerators: np.ndarray, denominators: np.ndarray, *, weights: np.ndarray) -> np.ndarray:
    """The ratio of each replicate: [columns, replicates]; that of all questions where a replicate has none of a column's."""
    sums, totals = numerators.T @ weights.T, denominators.T @ weights.T
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios: np.ndarray = sums / totals
        found = numerators.sum(axis=0) / denominators.sum(axis=0)
    columns, replicates = np.nonzero(totals == 0)
    ratios[columns, replicates] = found[columns]
    return ratios


def _bounds(numerators: np.ndarray, denominators: np.ndarray, *, weights: np.ndarray, level: float) -> Interval:
    ordered = ratio_replicates(numerators, denominators, weights=weights)
    ordered.sort(axis=1)
    questions = (denominators != 0).sum(axis=0)
    few = np.maximum(questions, 2)
    tail = ndtr(np.sqrt(few / (few - 1)) * stdtrit(few - 1, (1 - level) / 2))
    low, high = (np.where(questions >= FEWEST_QUESTIONS, _quantile(ordered, share), np.nan) for share in (tail, 1 - tail))
    return Interval(low, high)


def _quantile(ordered: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The quantile of each sorted row at a share of its own, as numpy's `linear`."""
    places = shares * (ordered.shape[1] - 1)
    below = np.floor(places).astype(int)
    rows = np.arange(len(ordered))
    one, other = ordered[rows, below], ordered[rows, np.minimum(below + 1, ordered.shape[1] - 1)]
    quantiles: np.ndarray = one + (places - below) * (other - one)
    return quantiles
