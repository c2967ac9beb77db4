"""Adjusted p-values, against other implementations and a worked example."""

import numpy as np
import pytest
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

from tasks.fairness.multiplicity import benjamini_hochberg, holm


@pytest.mark.parametrize("seed", range(3))
def test_benjamini_and_hochberg_s_is_scipy_s_to_1e_12(seed: int) -> None:
    p = np.random.default_rng(seed).random(12) ** 2
    assert benjamini_hochberg(p) == pytest.approx(false_discovery_control(p), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_both_are_those_of_statsmodels_to_1e_12(seed: int) -> None:
    p = np.random.default_rng(seed).random(12) ** 2
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], abs=1e-12)
    assert benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1], abs=1e-12)


def test_holm_by_hand() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_that_was_not_made_is_not_in_the_family() -> None:
    assert holm(np.array([0.01, np.nan, 0.04])) == pytest.approx([0.02, np.nan, 0.04], nan_ok=True)
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()
