"""Distances between predicted and observed answers of many pairs at once. Rows are pairs with equally many options, in scale order: [pairs, options].

Where two distributions are compared, each row is renormalised to 1 first.
"""

import numpy as np
from scipy.special import xlogy


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
    moved: np.ndarray = np.abs(cumulative_difference(predicted, observed)).sum(axis=1) / (predicted.shape[1] - 1)
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


def cumulative_difference(predicted: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Predicted less observed at each step of the scale: [pairs, options - 1]."""
    difference: np.ndarray = np.cumsum(renormalised(predicted) - renormalised(observed), axis=1)[:, :-1]
    return difference
