"""What sampling adds to the earth mover's distance of pairs whose cells are small.

    floor = sampling_floor(predicted, observed, effective_n=n, questions=questions, subgroups=subgroups)      [pairs]

A cumulative share F is observed with standard error s = sqrt(F (1 - F) / n). Where the prediction is right that adds s sqrt(2 / pi), the multinomial
floor; far from it, nothing. How far predictions are from the population is not known of one pair, but of a question's pairs: their differences there
have a mean m and a variance t^2, those seen t^2 + s^2. E|N(m, t^2 + s^2)| - E|N(m, t^2)| is then added (folded normal: Leone, Nelson and Nottingham
1961). A subgroup whose predictions are farther off, or nearer, than those of others has r t^2 for t^2, r as of all of its questions.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import erf

from tasks.fairness.distances import cumulative_difference, renormalised

POOLED_PAIRS = 10  # what is known of all questions counts like so many pairs of each, and what is usual like so many of a subgroup
SMALLEST = 1e-12
NEAREST = 0.05  # the least ratio of a subgroup's variance to the usual one
STEP = 0.01


class _Spread(NamedTuple):
    """Of a question's differences, at each step of the scale: [pairs, options - 1]. `seen`: a pair's squared deviation less its noise, whose
    expectation is `free` t^2; both weighted."""

    means: np.ndarray
    variances: np.ndarray
    noise: np.ndarray
    seen: np.ndarray
    free: np.ndarray
    weights: np.ndarray


class _Ratio(NamedTuple):
    """Of each pair's subgroup: r, and how much this pair moved it."""

    value: np.ndarray
    influence: np.ndarray


def sampling_floor(
    predicted: np.ndarray, observed: np.ndarray, *, effective_n: np.ndarray, questions: np.ndarray, subgroups: np.ndarray
) -> np.ndarray:
    """What `effective_n` [pairs] respondents add on average to the distance of each pair. `questions` and `subgroups` [pairs] count from 0.

    A pair's part in its subgroup's r is taken off where it stands, not spread over the subgroup (the linearisation of Deville 1999): the subgroup's
    mean stays, and what r's own noise does to it shows between questions, where intervals look for it.
    """
    spread = _by_question(predicted, observed, effective_n=effective_n, questions=questions)
    ratio = _by_subgroup(spread, subgroups)
    floor, more = (_added(spread, ratio.value + step) for step in (0, STEP))
    slope = np.bincount(subgroups, weights=(more - floor) / STEP)[subgroups]
    found: np.ndarray = floor + slope * ratio.influence
    return found


def _added(spread: _Spread, ratio: np.ndarray) -> np.ndarray:
    variances = ratio[:, None] * spread.variances
    added: np.ndarray = (_folded(spread.means, variances + spread.noise) - _folded(spread.means, variances)).mean(axis=1)
    return added


def _by_question(predicted: np.ndarray, observed: np.ndarray, *, effective_n: np.ndarray, questions: np.ndarray) -> _Spread:
    """t^2 is a moment estimate, as of a meta-analysis (DerSimonian and Laird 1986), each question moved towards all of them as by POOLED_PAIRS pairs;
    off m^2 goes what its own noise adds, the half of that where a question has one pair, which cannot tell m from t."""
    n, difference = effective_n[:, None], cumulative_difference(predicted, observed)
    below = (n * np.cumsum(renormalised(observed), axis=1)[:, :-1] + 0.5) / (n + 1)
    noise = np.clip(below * (1 - below), 0, None) / n  # s^2
    weights = 1 / (noise.mean(axis=0) + noise)
    totals = _sums(weights, questions)
    means = _sums(weights * difference, questions) / totals
    free = weights * (1 - weights / totals[questions])
    seen = weights * (difference - means[questions]) ** 2 - noise * free
    spread, measured = _sums(seen, questions), _sums(free, questions)
    usual = POOLED_PAIRS * weights.mean(axis=0)
    pooled = spread.sum(axis=0) / np.maximum(measured.sum(axis=0), SMALLEST)
    variances = np.maximum((spread + usual * pooled) / (measured + usual), 0)[questions]
    of_means = _sums(weights**2 * (variances + noise), questions) / totals**2
    sure = np.minimum(np.bincount(questions) / 2, 1)[:, None]
    middle = np.sqrt(np.maximum(means**2 - sure * of_means, 0))[questions]
    return _Spread(middle, variances, noise, seen, free, weights)


def _by_subgroup(spread: _Spread, subgroups: np.ndarray) -> _Ratio:
    """What a subgroup's pairs scatter against what they would by their questions' t^2, moved towards 1 as by POOLED_PAIRS pairs."""
    seen, usual = spread.seen.sum(axis=1), (spread.free * spread.variances).sum(axis=1)
    sums, totals = (np.maximum(np.bincount(subgroups, weights=each), least) for each, least in ((seen, -np.inf), (usual, SMALLEST)))
    pooled = POOLED_PAIRS * usual.mean() + SMALLEST
    ratio = np.maximum((sums + pooled) / (totals + pooled), NEAREST)
    influence = (seen - (sums / totals)[subgroups] * usual) / (totals + pooled)[subgroups]
    return _Ratio(ratio[subgroups], influence)


def _sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[groups, columns]"""
    return np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)


def _folded(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E|N(mean, variance)|."""
    deviation = np.sqrt(np.maximum(variance, SMALLEST))
    ratio = mean / deviation
    expected: np.ndarray = deviation * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))
    return expected
