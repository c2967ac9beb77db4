"""Several tests at once: adjusted p-values."""

from collections.abc import Callable

import numpy as np


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's (1979) step-down: the family-wise error stays below the level, whatever the dependence. NaN stays out of the family."""
    return _adjusted(p, _holm)


def benjamini_hochberg(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's (1995) step-up: the expected share of false discoveries stays below the level. NaN stays out of the family."""
    return _adjusted(p, _benjamini_hochberg)


def _holm(ordered: np.ndarray) -> np.ndarray:
    return np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1))


def _benjamini_hochberg(ordered: np.ndarray) -> np.ndarray:
    ranks = np.arange(1, len(ordered) + 1)
    return np.minimum.accumulate((ordered * len(ordered) / ranks)[::-1])[::-1]


def _adjusted(p: np.ndarray, rule: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted[order] = np.minimum(rule(p[order]), 1)
    return adjusted
