"""What sampling adds to the earth mover's distance, against draws from populations that are known."""

import numpy as np
import pytest

from tasks.fairness.distances import earth_movers_distance
from tasks.fairness.floor import sampling_floor

PAIRS, SUBGROUPS = 4800, 40


def drawn(*, strays: np.ndarray, n: np.ndarray, questions: np.ndarray, seed: int = 12) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, predictions that stray from it by a pair's `strays` on the logit scale, and a survey's shares: [pairs, 4] each."""
    generator = np.random.default_rng(seed)
    truth = np.exp(generator.normal(size=(questions.max() + 1, 4))[questions] + 0.3 * generator.normal(size=(len(questions), 4)))
    truth /= truth.sum(axis=1, keepdims=True)
    predicted = truth * np.exp(strays[:, None] * generator.normal(size=truth.shape))
    return truth, predicted, generator.multinomial(n, truth) / n[:, None]


@pytest.mark.parametrize("n", [30, 100, 300])
@pytest.mark.parametrize("moved", [0.0, 0.05, 0.1, 0.3])
def test_less_what_sampling_adds_the_distance_is_nearly_that_of_the_population(moved: float, n: int) -> None:
    """Over surveys of one population: within 0.3 of a cumulative share's standard error; seen raw, it is up to 0.8 too large."""
    generator = np.random.default_rng(8)
    truth, alike = np.array([0.15, 0.3, 0.35, 0.2]), np.zeros(4000, dtype=int)
    predicted = np.tile(truth + moved * np.array([-0.5, -0.5, 0.5, 0.5]), (4000, 1))
    observed = generator.multinomial(n, truth, size=4000) / n
    seen = earth_movers_distance(predicted, observed)
    floor = sampling_floor(predicted, observed, effective_n=np.full(4000, float(n)), questions=alike, subgroups=alike)
    true = earth_movers_distance(predicted[:1], truth[None])[0]
    below = np.cumsum(truth)[:-1]
    error = np.sqrt(below * (1 - below) / n).mean()
    assert (seen - floor).mean() == pytest.approx(true, abs=0.3 * error)
    assert abs((seen - floor).mean() - true) < max(abs(seen.mean() - true), 0.2 * error)


@pytest.mark.parametrize(("pairs", "allowed"), [(1, 0.01), (3, 0.006), (8, 0.005), (400, 0.004)])
@pytest.mark.parametrize("strays", [0.1, 0.4, 0.8])
def test_small_and_large_cells_that_are_predicted_equally_well_are_equally_far_off(strays: float, pairs: int, allowed: float) -> None:
    """So many pairs of a question, cells of 30 and of 400 respondents; seen raw, the small ones seem to be farther off by 0.012 to 0.04."""
    questions = np.repeat(np.arange(PAIRS // pairs), pairs)
    subgroups = np.random.default_rng(1).permutation(np.arange(PAIRS) % SUBGROUPS)
    n = np.where(subgroups < SUBGROUPS / 2, 30, 400)
    truth, predicted, observed = drawn(strays=np.full(PAIRS, strays), n=n, questions=questions)
    floor = sampling_floor(predicted, observed, effective_n=n.astype(float), questions=questions, subgroups=subgroups)
    beyond = earth_movers_distance(predicted, observed) - floor - earth_movers_distance(predicted, truth)
    assert beyond[n == 30].mean() == pytest.approx(0, abs=allowed) and beyond[n == 400].mean() == pytest.approx(0, abs=0.003)


@pytest.mark.parametrize("strays", [0.2, 0.8])
def test_subgroups_that_are_predicted_better_or_worse_keep_more_of_their_difference(strays: float) -> None:
    """A quarter of the subgroups, cells of 30, stray less or more than the others' 0.5: of what is lost with one t^2 for all, a third to a tenth of
    the difference, half is kept at least."""
    questions, subgroups = (each.ravel() for each in np.divmod(np.arange(60 * SUBGROUPS), SUBGROUPS))
    other = subgroups < SUBGROUPS / 4
    n = np.where(other, 30, 120)
    differences = []
    for seed in range(8):
        truth, predicted, observed = drawn(strays=np.where(other, strays, 0.5), n=n, questions=questions, seed=seed)
        floors = [
            sampling_floor(predicted, observed, effective_n=n.astype(float), questions=questions, subgroups=known)
            for known in (subgroups, np.zeros_like(subgroups))
        ]
        seen = earth_movers_distance(predicted, observed)
        scores = (earth_movers_distance(predicted, truth), *(seen - floor for floor in floors))
        differences.append([score[other].mean() - score[~other].mean() for score in scores])
    true, found, with_one = np.mean(differences, axis=0)
    assert abs(found - true) < 0.6 * abs(with_one - true) < 0.25 * abs(true)


def test_the_noise_of_a_subgroups_ratio_is_in_its_pairs() -> None:
    """Means of a level's pairs scatter from survey to survey as they do between questions: else intervals, which look there, would be too narrow."""
    questions, subgroups = (each.ravel() for each in np.divmod(np.arange(60 * SUBGROUPS), SUBGROUPS))
    strays, n = np.where(subgroups == 0, 0.4, 0.5), np.full(len(questions), 30)
    means, errors = [], []
    for seed in range(300):
        _, predicted, observed = drawn(strays=strays, n=n, questions=questions, seed=seed)
        floor = sampling_floor(predicted, observed, effective_n=n.astype(float), questions=questions, subgroups=subgroups)
        scores = (earth_movers_distance(predicted, observed) - floor)[subgroups == 0]
        means.append(scores.mean())
        errors.append(scores.std(ddof=1) / np.sqrt(60))
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)
