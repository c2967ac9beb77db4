"""Distances between predicted and observed answers of many pairs at once. Rows are pairs with equally many options, in scale order: [pairs, options].

Where two distributions are compared, each row is renormalised to 1 first.
"""

import numpy as np
from scipy.special import erf, xlogy

POOLED_PAIRS = 10  # what is known of all questions counts like so many pairs of each
SMALLEST = 1e-12


def renormalised(rows: np.ndarray) -> np.ndarray:
    """NaN where there is nothing to divide: an answer that could not be read."""
    totals = rows.sum(axis=1, keepdims=True)
    shares: np.ndarray = np.divide(rows, totals, out=np.full(rows.shape, np.nan), where=totals > 0)
    return shares


def steps_from(positions: np.ndarray, *, options: int) -> np.ndarray:
    """Normalised absolute error of choosing each option where the target stands at `positions` [pairs]: |difference| / (K - 1), in [0, 1]."""
    steps: np.ndarray = np.abs(np.arange(options) - positions[:, None]) / (options - 1)
    return steps


def earth_movers_distance(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """sum over the scale of |cumulative difference| / (K - 1), in [0, 1].

    The one-dimensional Wasserstein-1 distance on positions scaled to [0, 1] (Rubner et al. 2000).
    """
    moved: np.ndarray = np.abs(_cumulative_difference(predicted, observed)).sum(axis=1) / (predicted.shape[1] - 1)
    return moved


def total_variation(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Half the sum of absolute differences, in [0, 1] (Levin and Peres, Markov Chains and Mixing Times, 2017, prop. 4.2)."""
    distance: np.ndarray = np.abs(renormalised(predicted) - renormalised(observed)).sum(axis=1) / 2
    return distance


def jensen_shannon(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """The root of the Jensen-Shannon divergence in bits, a distance in [0, 1] (Endres and Schindelin 2003)."""
    one, other = renormalised(predicted), renormalised(observed)
    middle = (one + other) / 2
    nats = (xlogy(one, one) + xlogy(other, other)).sum(axis=1) / 2 - xlogy(middle, middle).sum(axis=1)
    distance: np.ndarray = np.sqrt(np.maximum(nats, 0) / np.log(2))
    return distance


def sampling_floor(predicted: np.ndarray, observed: np.ndarray, *, effective_n: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """What sampling `effective_n` [pairs] respondents adds on average to the earth mover's distance of each pair. `questions` count from 0.

    A cumulative share F is observed with standard error s = sqrt(F (1 - F) / n). Where the prediction is right that adds s sqrt(2 / pi), the
    multinomial floor; far from it, nothing. How far predictions are from the population is not known of one pair, but of a question's pairs: their
    differences there have a mean m and a variance t^2, those seen t^2 + s^2. E|N(m, t^2 + s^2)| - E|N(m, t^2)| is then added (folded normal: Leone,
    Nelson and Nottingham 1961): right on average where all of a question's cells are predicted equally well, whatever their n. t^2 is a moment
    estimate, as of a meta-analysis (DerSimonian and Laird 1986), each question moved towards all of them as by POOLED_PAIRS pairs; off m^2 goes what
    its own noise adds, the half of that where a question has one pair, which cannot tell m from t.
    """
    n, difference = effective_n[:, None], _cumulative_difference(predicted, observed)
    below = (n * np.cumsum(renormalised(observed), axis=1)[:, :-1] + 0.5) / (n + 1)
    noise = np.clip(below * (1 - below), 0, None) / n  # s^2: [pairs, options - 1]
    weights = 1 / (noise.mean(axis=0) + noise)
    totals = _by_question(weights, questions)
    means = _by_question(weights * difference, questions) / totals
    free = 1 - weights / totals[questions]  # of a pair's deviation from its question's mean
    spread = _by_question(weights * ((difference - means[questions]) ** 2 - noise * free), questions)
    measured = _by_question(weights * free, questions)
    usual = POOLED_PAIRS * weights.mean(axis=0)
    pooled = spread.sum(axis=0) / np.maximum(measured.sum(axis=0), SMALLEST)
    variances = np.maximum((spread + usual * pooled) / (measured + usual), 0)[questions]
    of_means = _by_question(weights**2 * (variances + noise), questions) / totals**2
    sure = np.minimum(np.bincount(questions) / 2, 1)[:, None]
    middle = np.sqrt(np.maximum(means**2 - sure * of_means, 0))[questions]
    added = _folded(middle, variances + noise) - _folded(middle, variances)
    floor: np.ndarray = added.sum(axis=1) / (predicted.shape[1] - 1)
    return floor


def _by_question(values: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Sums: [questions, columns]."""
    return np.stack([np.bincount(questions, weights=column) for column in values.T], axis=1)


def _folded(mean: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """E|N(mean, variance)|."""
    deviation = np.sqrt(np.maximum(variance, SMALLEST))
    ratio = mean / deviation
    expected: np.ndarray = deviation * np.sqrt(2 / np.pi) * np.exp(-(ratio**2) / 2) + mean * erf(ratio / np.sqrt(2))
    return expected


def _cumulative_difference(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.cumsum(renormalised(predicted) - renormalised(observed), axis=1)[:, :-1]
    return difference
