"""What sampling adds to the earth mover's distance of pairs whose cells are small.

    floor = sampling_floor(predicted, observed, effective_n=n, questions=questions, subgroups=subgroups)      [pairs]

A cumulative share F is observed with standard error s = sqrt(F (1 - F) / n). Where the prediction is right that adds s sqrt(2 / pi), the multinomial
floor; far from it, nothing. How far predictions are from the population is not known of one pair, but of a question's pairs: their differences there
have a mean m and a variance t^2, those seen t^2 + s^2. E|N(m, t^2 + s^2)| - E|N(m, t^2)| is then added (folded normal: Leone, Nelson and Nottingham
1961). A subgroup whose predictions are farther off, or nearer, than those of others has r t^2 for t^2, r as of all of its questions.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import erf

from tasks.fairness.distances import cumulative_difference, renormalised

POOLED_PAIRS = 10  # what is known of all questions counts like so many pairs of each
PRIOR = 1.0  # r is expected to be 1, with this standard deviation
NEAREST = 0.05  # the least r
SMALLEST = 1e-12
STEP = 0.01


class _Spread(NamedTuple):
    """Of differences on questions with equally many options: m, t^2 and s^2 at each step of the scale [pairs, options - 1]; and over the steps a
    pair's squared deviation less what its noise adds, what t^2 lets expect of it, and that noise [pairs]."""

    means: np.ndarray
    variances: np.ndarray
    noise: np.ndarray
    seen: np.ndarray
    usual: np.ndarray
    doubt: np.ndarray


class _Ratio(NamedTuple):
    """Of each pair's subgroup: r, and how much this pair moved it."""

    value: np.ndarray
    influence: np.ndarray


def sampling_floor(
    predicted: Sequence[np.ndarray], observed: Sequence[np.ndarray], *, effective_n: np.ndarray, questions: np.ndarray, subgroups: np.ndarray
) -> np.ndarray:
    """What `effective_n` [pairs] respondents add to the distance of each pair, right in the mean over a subgroup's pairs: [pairs].

    `predicted` and `observed`: a pair's shares, of as many options as its question has. `questions` and `subgroups` [pairs] count from 0.

    A single pair's value means little: what it did to its subgroup's r is taken off where it stands, not spread over the subgroup (the linearisation
    of Deville 1999). So the subgroup's mean stays, and what r's own noise does to it shows between questions, where intervals look for it.
    """
    sizes = np.array([len(shares) for shares in predicted])
    parts = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    spreads = [
        _by_question(
            np.stack([predicted[place] for place in part.tolist()]), np.stack([observed[place] for place in part.tolist()]),
            effective_n=effective_n[part], questions=np.unique(questions[part], return_inverse=True)[1],
        )
        for part in parts
    ]  # fmt: skip
    order = np.argsort(np.concatenate(parts), kind="stable")
    seen, usual, doubt = (np.concatenate([getattr(spread, name) for spread in spreads])[order] for name in ("seen", "usual", "doubt"))
    ratio = _by_subgroup(seen, usual, doubt, subgroups)
    floor, more = (
        np.concatenate([_added(spread, ratio.value[part] + step) for spread, part in zip(spreads, parts, strict=True)])[order] for step in (0, STEP)
    )
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
    # How a pair's difference varies around its question's mean, in which it is itself; alone it does not.
    told = np.where((np.bincount(questions) > 1)[questions][:, None], weights, 0)
    own = 1 - 2 * weights / totals[questions]
    free = told * (own + (_sums(weights**2, questions) / totals**2)[questions])
    doubt = told * (own * noise + (_sums(weights**2 * noise, questions) / totals**2)[questions])
    seen = told * (difference - means[questions]) ** 2 - doubt
    spread, measured = _sums(seen, questions), _sums(free, questions)
    usual = POOLED_PAIRS * weights.mean(axis=0)
    pooled = spread.sum(axis=0) / np.maximum(measured.sum(axis=0), SMALLEST)
    variances = np.maximum((spread + usual * pooled) / (measured + usual), 0)[questions]
    of_means = _sums(weights**2 * (variances + noise), questions) / totals**2
    sure = np.minimum(np.bincount(questions) / 2, 1)[:, None]
    middle = np.sqrt(np.maximum(means**2 - sure * of_means, 0))[questions]
    return _Spread(middle, variances, noise, seen.mean(axis=1), (free * variances).mean(axis=1), doubt.mean(axis=1))


def _by_subgroup(seen: np.ndarray, usual: np.ndarray, doubt: np.ndarray, subgroups: np.ndarray) -> _Ratio:
    """r by empirical Bayes: what a subgroup's pairs scatter against what they would by their questions' t^2, moved towards 1 as far as it is noise.

    A pair's squared deviation has the variance 2 (t^2 + s^2)^2, so r has that over the pairs' t^4; against PRIOR^2, as in a normal model with known
    variances. Near the truth, where t^2 is little beside s^2, r stays at 1.
    """
    sums, totals = np.bincount(subgroups, weights=seen), np.bincount(subgroups, weights=usual)
    average = max(float(usual.mean()), SMALLEST)
    pooled = 2 * (average + float(doubt.mean())) ** 2 / (average * PRIOR**2)
    ratio = (sums + pooled) / (totals + pooled)
    moves = (ratio > NEAREST) & (totals > SMALLEST)
    alone = np.divide(sums, totals, out=np.zeros_like(sums), where=moves)
    influence = np.where(moves[subgroups], (seen - alone[subgroups] * usual) / (totals + pooled)[subgroups], 0)
    return _Ratio(np.maximum(ratio, NEAREST)[subgroups], influence)


def _sums(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """[groups, columns]"""
    return np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)


def _folded(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E|N(mean, variance)|."""
    deviation = np.sqrt(np.maximum(variance, SMALLEST))
    ratio = mean / deviation
    expected: np.ndarray = deviation * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))
    return expected
