"""Distances between predicted and observed answers of many pairs at once. Rows are pairs with equally many options, in scale order: [pairs, options].

Where two distributions are compared, each row is renormalised to 1 first.
"""

import numpy as np
from scipy.special import erf, xlogy


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


def sampling_floor(predicted: np.ndarray, observed: np.ndarray, *, effective_n: np.ndarray) -> np.ndarray:
    """What sampling `effective_n` [pairs] respondents adds to the earth mover's distance of each pair.

    A cumulative share F is observed with standard error s = sqrt(F (1 - F) / n), and a distance x is then seen as E|x + s Z| = s sqrt(2 / pi)
    exp(-x^2 / 2 s^2) + x erf(x / s sqrt 2) (folded normal: Leone, Nelson and Nottingham 1961). Where the prediction is right this is the multinomial
    floor, sum of s sqrt(2 / pi) / (K - 1); far from it, noise adds nothing. x is the observed distance less half of its noise,
    sqrt(max(x^2 - s^2 / 2, 0)): then the bias that is left, -0.2 to 0.3 s, depends least on n.
    """
    n = effective_n[:, None]
    below = (n * np.cumsum(renormalised(observed), axis=1)[:, :-1] + 0.5) / (n + 1)
    error = np.sqrt(np.clip(below * (1 - below), 0, None) / n)
    free = np.sqrt(np.maximum(_cumulative_difference(predicted, observed) ** 2 - error**2 / 2, 0))
    seen = error * np.sqrt(2 / np.pi) * np.exp(-((free / error) ** 2) / 2) + free * erf(free / error / np.sqrt(2))
    added: np.ndarray = (seen - free).sum(axis=1) / (predicted.shape[1] - 1)
    return added


def _cumulative_difference(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    difference: np.ndarray = np.cumsum(renormalised(predicted) - renormalised(observed), axis=1)[:, :-1]
    return difference
