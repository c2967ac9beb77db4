"""An L2 multinomial logit on counts, whose penalty the data choose.

    fitted = fit_logit(counts, design_of(features))
    fitted.shares(design)                               # p(option | features): [rows, options]

Rows are distinct sets of features, so that a survey of thousands costs no more than its few hundred combinations of traits.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.linalg import helmert
from scipy.special import softmax, xlogy

STRENGTHS = (0.05, 500.0)  # of the penalty: log-odds with a standard deviation from 4.5 down to 0.04
FIRST_STRENGTH = 4.0
UPDATES = 12
SETTLED = 0.02  # relative change of the strength
NEWTON_STEPS, TOLERANCE = 50, 1e-9


@dataclass(frozen=True)
class Design:
    """`rows`: features behind a constant, [rows, 1 + features]; `products`: for each row all products of two of them, [rows, (1 + features)^2]."""

    rows: np.ndarray
    products: sparse.csr_array

    @property
    def columns(self) -> int:
        return int(self.rows.shape[1])


@dataclass(frozen=True)
class Logit:
    """`coefficients` [1 + features, options], the constant first; they sum to zero over the options. `strength`: lambda of the penalty."""

    coefficients: np.ndarray
    strength: float

    def shares(self, design: Design) -> np.ndarray:
        found: np.ndarray = softmax(design.rows @ self.coefficients, axis=1)
        return found


def design_of(features: np.ndarray) -> Design:
    """`features` [rows, features], mostly zeros."""
    rows = np.column_stack([np.ones(len(features)), features])
    sparse_rows = [sparse.csr_array(row[None, :]) for row in rows]
    return Design(rows, sparse.csr_array(sparse.vstack([sparse.kron(row, row) for row in sparse_rows])))


def fit_logit(counts: np.ndarray, design: Design, *, strength: float | None = None) -> Logit:
    """Maximise sum of counts * log p(option | row) - strength / 2 * sum of squared coefficients, the constant's left out.

    `counts` [rows, options], weighted. Without a `strength` it is the one under which the counts are likeliest, coefficients being normal with
    variance 1 / strength (empirical Bayes): by MacKay's fixed point, strength = gamma / sum of squares, where gamma = sum of 1 - strength * (inverse
    Hessian's diagonal) is how many coefficients the data determine (MacKay 1992, Bayesian interpolation). An option that nobody chose gets no share.
    """
    chosen = counts.sum(axis=0) > 0
    problem = _Problem(counts[:, chosen], design)
    start = np.zeros((design.columns, problem.contrasts.shape[0]))
    shares = problem.counts.sum(axis=0) / problem.counts.sum()
    start[0] = problem.contrasts @ np.log(shares)
    found, used = (problem.solve(start, strength), strength) if strength is not None else problem.solve_by_evidence(start)
    coefficients = np.full((design.columns, counts.shape[1]), 0.0)
    coefficients[0, ~chosen] = -np.inf
    coefficients[:, chosen] = found @ problem.contrasts
    return Logit(coefficients, used)


class _Problem:
    """In orthonormal contrasts of the options (Helmert), K - 1 of them, the penalty is the same and nothing is free: coefficients that are penalised
    alike for all options sum to zero over them."""

    def __init__(self, counts: np.ndarray, design: Design) -> None:
        self.counts, self.design = counts, design
        self.totals = counts.sum(axis=1)
        self.contrasts = helmert(counts.shape[1]) if counts.shape[1] > 1 else np.zeros((0, 1))
        self._upper = np.triu_indices(len(self.contrasts))

    def solve_by_evidence(self, start: np.ndarray) -> tuple[np.ndarray, float]:
        found, strength = start, FIRST_STRENGTH
        for _ in range(UPDATES if start.size else 0):
            found = self.solve(found, strength)
            penalised = np.repeat(np.arange(self.design.columns) > 0, start.shape[1])
            spread = np.diag(np.linalg.inv(self._hessian(found, strength)))[penalised]
            determined = float(np.sum(1 - strength * spread))
            updated = float(np.clip(determined / max(float(np.sum(found[1:] ** 2)), 1e-12), *STRENGTHS))
            settled = abs(updated - strength) <= SETTLED * strength
            strength = updated
            if settled:
                break
        return self.solve(found, strength), strength

    def solve(self, start: np.ndarray, strength: float) -> np.ndarray:
        """Newton's method with halved steps where a whole one does not lower the loss."""
        found, loss = start, self._loss(start, strength)
        for _ in range(NEWTON_STEPS if start.size else 0):
            gradient = self._gradient(found, strength)
            step = np.linalg.solve(self._hessian(found, strength), gradient.ravel()).reshape(found.shape)
            decrease, size = float((gradient * step).sum()), 1.0
            if decrease < TOLERANCE:
                break
            while (lower := self._loss(found - size * step, strength)) > loss - 1e-4 * size * decrease and size > 1e-6:
                size /= 2
            found, loss = found - size * step, lower
        return found

    def _shares(self, found: np.ndarray) -> np.ndarray:
        shares: np.ndarray = softmax(self.design.rows @ found @ self.contrasts, axis=1)
        return shares

    def _loss(self, found: np.ndarray, strength: float) -> float:
        return float(strength / 2 * np.sum(found[1:] ** 2) - np.sum(xlogy(self.counts, np.maximum(self._shares(found), 1e-300))))

    def _gradient(self, found: np.ndarray, strength: float) -> np.ndarray:
        over = self._shares(found) * self.totals[:, None] - self.counts
        gradient: np.ndarray = self.design.rows.T @ over @ self.contrasts.T
        gradient[1:] += strength * found[1:]
        return gradient

    def _hessian(self, found: np.ndarray, strength: float) -> np.ndarray:
        """[columns * contrasts, columns * contrasts], over the coefficients in the order of `found`."""
        shares, size = self._shares(found), len(self.contrasts)
        means = shares @ self.contrasts.T
        one, other = self._upper
        products = shares @ (self.contrasts[one] * self.contrasts[other]).T - means[:, one] * means[:, other]
        summed = self.design.products.T @ (products * self.totals[:, None])  # [columns^2, pairs of contrasts]
        columns = self.design.columns
        blocks = np.empty((columns, columns, size, size))
        blocks[:, :, one, other] = blocks[:, :, other, one] = summed.reshape(columns, columns, -1)
        hessian: np.ndarray = blocks.transpose(0, 2, 1, 3).reshape(columns * size, columns * size)
        hessian[np.arange(size, columns * size), np.arange(size, columns * size)] += strength
        return hessian
