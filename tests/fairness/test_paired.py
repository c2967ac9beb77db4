"""Two runs over the same pairs, against SciPy's permutation test and by simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import permutation_test

from tasks.fairness.paired import paired_tests, sign_flip_p
from tasks.fairness.plan import Plan


def scores(values: np.ndarray) -> pd.DataFrame:
    """[questions, subgroups]"""
    rows = [(f"Q{q}", f"g{g}", value) for (q, g), value in np.ndenumerate(values)]
    return pd.DataFrame(rows, columns=["item", "subgroup_id", "accuracy"]).assign(nmae=lambda frame: 1 - frame["accuracy"], emd=np.nan)


def test_p_is_that_of_an_exact_permutation_test() -> None:
    generator = np.random.default_rng(3)
    sums = generator.normal(0.4, 1, size=9)
    exact = permutation_test((sums,), np.sum, permutation_type="samples", vectorized=False, n_resamples=np.inf)
    assert sign_flip_p(sums, replicates=40_000, generator=generator) == pytest.approx(exact.pvalue, abs=0.01)


def test_under_equal_runs_p_is_uniform_and_the_interval_covers_zero() -> None:
    """1,000 comparisons of 30 questions whose answers stand or fall together."""
    generator, found = np.random.default_rng(5), []
    for number in range(1000):
        questions = generator.normal(size=(30, 1))
        one, other = (((questions + generator.normal(size=(30, 1)) + generator.normal(size=(30, 8))) > 0).astype(float) for _ in range(2))
        (test, _) = paired_tests({"A": scores(one), "B": scores(other)}, plan=Plan(replicates=300, seed=number))
        found.append((test.p <= 0.05, test.p <= 0.5, test.low <= 0 <= test.high))
    small, half, covered = np.mean(found, axis=0)
    assert 0.03 < small < 0.075
    assert 0.45 < half < 0.56
    assert 0.93 < covered < 0.97


def test_only_common_pairs_count_and_what_has_no_distance_is_left_out() -> None:
    one, other = scores(np.zeros((6, 3))), scores(np.ones((6, 3)))
    tests = paired_tests({"A": one, "B": other[other["subgroup_id"] != "g2"]}, plan=Plan(replicates=500))
    assert [(test.metric, test.difference, test.pairs, test.questions) for test in tests] == [("accuracy", 1.0, 12, 6), ("nmae", -1.0, 12, 6)]
    assert paired_tests({"A": one, "B": other.assign(item="other " + other["item"])}, plan=Plan()) == []


def test_few_questions_are_not_tested_and_p_is_adjusted_over_all_tests() -> None:
    few = paired_tests({"A": scores(np.zeros((3, 2))), "B": scores(np.ones((3, 2)))}, plan=Plan(replicates=300))
    assert all(np.isnan(test.p) and np.isnan(test.p_holm) for test in few)
    generator = np.random.default_rng(1)
    runs = {name: scores((generator.random((20, 4)) < share).astype(float)) for name, share in (("A", 0.2), ("B", 0.8), ("C", 0.8))}
    tests = paired_tests(runs, plan=Plan(replicates=999))
    assert all(test.p_holm >= test.p for test in tests)
    assert {(test.one, test.other) for test in tests if test.p_holm < 0.05} == {("A", "B"), ("A", "C")}
