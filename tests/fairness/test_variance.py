"""The variance between levels: against an analysis of variance, and by simulation (benchmarks/statistics.py: a larger one)."""

from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from tasks.fairness.variance import between_levels, change_between_levels, component, noise_of_means, permuted

DRAWS = 300


def made_up_table(generator: np.random.Generator, *, levels: int = 5, questions: int = 40, apart: float = 0.0) -> np.ndarray:
    """Mean scores of four intersections per level and question; `apart`: the standard deviation of the levels' true means."""
    difficulty = generator.uniform(0.2, 0.8, size=(questions, 1, 1))
    effects = np.linspace(-1, 1, levels) / np.linspace(-1, 1, levels).std(ddof=1) * apart / 0.8
    right = generator.random((questions, levels, 4)) < difficulty + effects[None, :, None]
    return (0.8 * right + 0.2 * generator.random(right.shape)).mean(axis=2)


@cache
def simulated(studies: int, apart: float) -> np.ndarray:
    """low, high and p of the component, its value, and the permutation's p: [studies, 5]."""
    generator = np.random.default_rng(11)
    rows = []
    for _ in range(studies):
        table = made_up_table(generator, apart=apart)
        found = between_levels(table, draws=DRAWS, generator=generator)
        rows.append([found.low, found.high, found.p, found.value, permuted(table, draws=DRAWS, generator=generator)])
    return np.array(rows)


@pytest.mark.parametrize("levels", [2, 3, 7])
def test_the_component_is_that_of_statsmodels_two_way_analysis_of_variance(levels: int) -> None:
    table = made_up_table(np.random.default_rng(levels), levels=levels)
    rows = pd.DataFrame(table).rename_axis("question").reset_index().melt("question", var_name="level", value_name="score")
    squares = anova_lm(ols("score ~ C(question) + C(level)", data=rows).fit())["mean_sq"]
    assert component(table) == pytest.approx((squares["C(level)"] - squares["Residual"]) / len(table), abs=1e-12)


def test_the_permutation_s_p_is_scipys() -> None:
    table = made_up_table(np.random.default_rng(8), levels=3, questions=20, apart=0.06)

    def spread(*levels: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.var([level.mean(axis=axis) for level in levels], axis=0)

    theirs = stats.permutation_test(
        list(table.T), spread, permutation_type="samples", n_resamples=5000, vectorized=True, alternative="greater", rng=np.random.default_rng(9)
    )
    assert 0.01 < theirs.pvalue < 0.5
    assert permuted(table, draws=5000, generator=np.random.default_rng(10)) == pytest.approx(theirs.pvalue, abs=0.03)


def test_of_two_levels_p_is_the_paired_t_test_s() -> None:
    table = made_up_table(np.random.default_rng(3), levels=2, apart=0.03)
    found = between_levels(table, draws=20_000, generator=np.random.default_rng(4))
    assert found.p == pytest.approx(stats.ttest_rel(table[:, 0], table[:, 1]).pvalue, abs=0.012)


def test_nothing_changes_when_all_levels_of_a_question_are_easier_or_levels_change_their_order() -> None:
    table = made_up_table(np.random.default_rng(5))
    easier = table + np.random.default_rng(6).random((len(table), 1))
    assert component(easier) == pytest.approx(component(table), abs=1e-12)
    assert component(table[:, ::-1]) == pytest.approx(component(table), abs=1e-12)


def test_equal_levels_have_a_component_around_zero_whose_interval_covers_it() -> None:
    low, high, p, value, again = simulated(400, 0.0).T
    assert abs(value.mean()) < 3 * value.std() / 20
    assert (value < 0).mean() > 0.4
    assert ((low <= 0) & (high >= 0)).mean() == pytest.approx(0.95, abs=0.03)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert stats.kstest(again, "uniform").pvalue > 0.01


def test_unequal_levels_are_found_and_the_interval_covers_their_variance() -> None:
    low, high, p, value, _ = simulated(200, 0.06).T
    assert value.mean() == pytest.approx(0.06**2, rel=0.1)
    assert ((low <= 0.06**2) & (high >= 0.06**2)).mean() == pytest.approx(0.95, abs=0.045)
    assert (p < 0.05).mean() > 0.8


@pytest.mark.parametrize(("before", "after"), [(0.0, 0.0), (0.05, 0.05), (0.02, 0.08)])
def test_the_interval_of_a_change_covers_it(before: float, after: float) -> None:
    generator = np.random.default_rng(12)
    change, covered, wider = after**2 - before**2, [], []
    for _ in range(150):
        tables = made_up_table(generator, apart=before), made_up_table(generator, apart=after)
        found = change_between_levels(*tables, margin=0.02, draws=DRAWS, generator=generator)
        covered.append(found.component.low <= change <= found.component.high)
        wider.append(found.p_wider)
    assert np.mean(covered) > 0.89
    assert (np.mean(np.array(wider) < 0.05) < 0.03) == (after > before)


@pytest.mark.parametrize("noise", [None, 0.05, 0.08])
@pytest.mark.parametrize("before", [0.0, 0.05])
def test_what_widened_by_just_the_margin_is_seldom_called_no_wider(before: float, noise: float | None) -> None:
    """In one of twenty; where levels hardly differ it was nearly one of five, as the null was fitted to the base model alone."""
    generator = np.random.default_rng(13)
    tables = [[_noisy(generator, apart=apart, noise=noise) for apart in (before, before + 0.02)] for _ in range(200)]
    found = [change_between_levels(*pair, margin=0.02, draws=DRAWS, generator=generator).p_wider for pair in tables]
    assert np.mean(np.array(found) < 0.05) < 0.11


def _noisy(generator: np.random.Generator, *, apart: float, noise: float | None) -> np.ndarray:
    if noise is None:
        return made_up_table(generator, apart=apart)
    effects = np.linspace(-1, 1, 5)
    table: np.ndarray = effects / effects.std(ddof=1) * apart + noise * generator.standard_normal((60, 5))
    return table


def test_the_noise_of_means_has_the_covariance_that_tables_scatter_with() -> None:
    generator = np.random.default_rng(14)
    means = np.array([made_up_table(generator).mean(axis=0) for _ in range(3000)])
    seen = np.cov((means - means.mean(axis=1, keepdims=True)).T)
    drawn = np.mean([np.cov(noise_of_means(made_up_table(generator), draws=500, generator=generator).T) for _ in range(40)], axis=0)
    assert drawn == pytest.approx(seen, abs=0.15 * seen.max())
