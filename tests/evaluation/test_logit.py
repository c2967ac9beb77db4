"""The logit against scikit-learn's, and its choice of a penalty."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.evaluation.logit import STRENGTHS, design_of, fit_logit


def made_up(options: int, *, spread: float, respondents: int = 6, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """One-hot traits of 60 profiles [profiles, traits], and weighted counts of their answers [profiles, options]."""
    generator = np.random.default_rng(seed)
    features = np.column_stack([np.eye(size)[generator.integers(0, size, 60)] for size in (2, 6, 4)])
    logits = features @ generator.normal(0, spread, (12, options)) + np.linspace(0, 1, options)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    counts = np.stack([generator.multinomial(respondents, row) for row in shares]) * generator.uniform(0.5, 2, (60, 1))
    return features, counts


def by_sklearn(features: np.ndarray, counts: np.ndarray, *, strength: float) -> np.ndarray:
    """One row per profile and option, weighing as often as it was chosen. Of two options scikit-learn penalises the difference, whose square is
    twice the sum of both squares."""
    options = counts.shape[1]
    rows, answers = np.repeat(np.arange(len(features)), options), np.tile(np.arange(options), len(features))
    chosen = counts.ravel() > 0
    model = LogisticRegression(C=(2 if options == 2 else 1) / strength, tol=1e-12, max_iter=20_000)
    return model.fit(features[rows[chosen]], answers[chosen], sample_weight=counts.ravel()[chosen]).predict_proba(features)


@pytest.mark.parametrize(("options", "strength"), [(2, 1.0), (3, 0.3), (4, 8.0), (10, 2.0)])
def test_it_fits_what_scikit_learn_fits(options: int, strength: float) -> None:
    features, counts = made_up(options, spread=0.7)
    design = design_of(features)
    found = fit_logit(counts, design, strength=strength).shares(design)
    assert found == pytest.approx(by_sklearn(features, counts, strength=strength), abs=1e-5)


def test_the_penalty_falls_as_the_traits_matter_more() -> None:
    strengths = [
        fit_logit(counts, design_of(features)).strength
        for features, counts in (made_up(4, spread=spread, respondents=40) for spread in (0.1, 0.5, 2.0))
    ]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[1] == pytest.approx(1 / 0.5**2, rel=0.7), "the coefficients' variance was 0.25"
    assert all(STRENGTHS[0] <= strength <= STRENGTHS[1] for strength in strengths)


def test_the_penalty_is_the_one_under_which_the_counts_are_likeliest() -> None:
    """The marginal likelihood of a binary logit by Laplace's approximation, written out."""
    features, counts = made_up(2, spread=0.6, respondents=30)
    design = design_of(features)

    def evidence(strength: float) -> float:
        fitted = fit_logit(counts, design, strength=strength)
        shares, weights = fitted.shares(design), fitted.coefficients[:, 1] - fitted.coefficients[:, 0]
        penalty = np.diag([0.0, *[strength / 2] * 12])
        hessian = (design.rows * (counts.sum(axis=1) * shares[:, 0] * shares[:, 1])[:, None]).T @ design.rows + penalty
        likelihood = float((counts * np.log(shares)).sum()) - weights @ penalty @ weights / 2
        return likelihood + 6 * np.log(strength) - np.linalg.slogdet(hessian)[1] / 2

    chosen = fit_logit(counts, design).strength
    assert evidence(chosen) >= max(evidence(chosen * factor) for factor in (0.5, 0.7, 1.4, 2.0)) - 1e-6


def test_an_option_that_nobody_chose_gets_no_share() -> None:
    features, counts = made_up(3, spread=0.5)
    counts[:, 1] = 0
    design = design_of(features)
    shares = fit_logit(counts, design).shares(design)
    assert (shares[:, 1] == 0).all()
    assert shares.sum(axis=1) == pytest.approx(1)
    assert shares[:, [0, 2]] == pytest.approx(fit_logit(counts[:, [0, 2]], design).shares(design))


def test_where_all_chose_one_option_it_has_the_whole_share() -> None:
    features, counts = made_up(3, spread=0.5)
    counts[:, 1:] = 0
    design = design_of(features)
    assert fit_logit(counts, design).shares(design)[:, 0] == pytest.approx(1)
