"""The bootstrap by question, against numpy and a loop, and its coverage."""

import numpy as np
import pytest
from scipy import stats

from tasks.fairness.intervals import question_weights, ratio_interval, ratio_replicates


def sums(seed: int, *, questions: int = 12, columns: int = 5) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.random((questions, columns)), generator.integers(1, 9, (questions, columns)).astype(float)


def test_a_replicate_is_the_ratio_of_the_questions_that_it_drew() -> None:
    numerators, denominators = sums(1)
    weights = question_weights(12, replicates=20, generator=np.random.default_rng(2))
    found = ratio_replicates(numerators, denominators, weights=weights)
    for place, drawn in enumerate(weights.astype(int)):
        again = np.repeat(np.arange(12), drawn)
        assert len(again) == 12
        assert found[:, place] == pytest.approx(numerators[again].sum(axis=0) / denominators[again].sum(axis=0), abs=1e-12)


def test_the_bounds_are_numpy_s_percentiles_at_expanded_levels() -> None:
    numerators, denominators = sums(3)
    weights = question_weights(12, replicates=500, generator=np.random.default_rng(4))
    found = ratio_interval(numerators, denominators, weights=weights)
    tail = stats.norm.cdf(np.sqrt(12 / 11) * stats.t.ppf(0.025, 11))
    replicates = ratio_replicates(numerators, denominators, weights=weights)
    assert np.array(found) == pytest.approx(np.quantile(replicates, [tail, 1 - tail], axis=1), abs=1e-12)


def test_few_questions_make_no_interval_and_a_replicate_without_any_is_the_whole_s() -> None:
    numerators, denominators = sums(5)
    numerators[:4, 0], denominators[:4, 0] = 0, 0
    numerators[4:, 1], denominators[4:, 1] = 0, 0
    weights = question_weights(12, replicates=300, generator=np.random.default_rng(6))
    low, high = ratio_interval(numerators, denominators, weights=weights)
    assert np.isnan([low[1], high[1]]).all() and np.isfinite([low[0], high[0]]).all()
    assert np.isfinite(ratio_replicates(numerators, denominators, weights=weights)).all()


def test_columns_do_not_depend_on_how_many_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    numerators, denominators = sums(7, columns=40)
    weights = question_weights(12, replicates=200, generator=np.random.default_rng(8))
    whole = ratio_interval(numerators, denominators, weights=weights)
    monkeypatch.setattr("tasks.fairness.intervals.COLUMNS_AT_ONCE", 7)
    assert np.array(ratio_interval(numerators, denominators, weights=weights)) == pytest.approx(np.array(whole), abs=1e-12)


def test_the_interval_of_an_accuracy_covers_it_where_answers_to_a_question_go_together() -> None:
    """20 questions, 30 subgroups; the bootstrap of pairs, which takes them for independent, covers far less often."""
    generator = np.random.default_rng(9)
    weights = question_weights(20, replicates=400, generator=generator)
    difficulty = generator.beta(2, 1, size=(600, 20))
    right = generator.binomial(30, difficulty).T.astype(float)  # [questions, studies]
    low, high = ratio_interval(right, np.full_like(right, 30.0), weights=weights)
    assert ((low <= 2 / 3) & (high >= 2 / 3)).mean() == pytest.approx(0.95, abs=0.03)
    value = right.sum(axis=0) / 600
    naive = 1.96 * np.sqrt(value * (1 - value) / 600)
    assert (np.abs(value - 2 / 3) <= naive).mean() < 0.75
