"""Distances between distributions, against scipy and popfidelity."""

import numpy as np
import popfidelity.metrics
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from tasks.fairness.distances import earth_movers_distance, jensen_shannon, steps_from, total_variation


def random_rows(seed: int, options: int, rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Predicted (not summing to 1) and observed shares, some of them zero."""
    generator = np.random.default_rng(seed)
    predicted, observed = generator.dirichlet(np.full(options, 0.7), rows), generator.dirichlet(np.full(options, 0.7), rows)
    observed[::3, 0] = 0
    return 0.7 * predicted, observed


@pytest.mark.parametrize("options", [2, 3, 4, 10])
def test_distances_are_those_of_scipy_to_1e_9(options: int) -> None:
    predicted, observed = random_rows(options, options)
    places = np.linspace(0, 1, options)
    pairs = list(zip(predicted / predicted.sum(axis=1, keepdims=True), observed / observed.sum(axis=1, keepdims=True), strict=True))
    assert earth_movers_distance(predicted, observed) == pytest.approx([wasserstein_distance(places, places, *pair) for pair in pairs], abs=1e-9)
    assert jensen_shannon(predicted, observed) == pytest.approx([jensenshannon(*pair, base=2) for pair in pairs], abs=1e-9)
    # scipy has no total variation: the largest difference in probability of any set of options.
    assert total_variation(predicted, observed) == pytest.approx([np.maximum(one - other, 0).sum() for one, other in pairs], abs=1e-9)


@pytest.mark.parametrize("options", [2, 3, 4, 10])
def test_distances_are_those_of_popfidelity_to_1e_9(options: int) -> None:
    predicted, observed = random_rows(options, options)
    observed, whole = (rows / rows.sum(axis=1, keepdims=True) for rows in (observed, predicted))
    ours = {"normalised_wasserstein": earth_movers_distance, "total_variation": total_variation}
    for name, distance in ours.items():
        assert distance(predicted, observed) == pytest.approx(popfidelity.metrics.distance(observed, whole, name), abs=1e-9), name
    theirs = popfidelity.metrics.distance(observed, whole, "js_distance", base=2)
    assert jensen_shannon(predicted, observed) == pytest.approx(theirs, abs=1e-9)


def test_trap_1_opposite_one_hot_distributions_are_a_whole_scale_apart() -> None:
    opposite = np.array([[1.0, 0, 0]]), np.array([[0, 0, 1.0]])
    assert [float(distance(*opposite)[0]) for distance in (earth_movers_distance, total_variation, jensen_shannon)] == [1, 1, 1]


def test_steps_follow_the_places_on_the_scale() -> None:
    assert steps_from(np.array([2, 0]), options=3).tolist() == [[1, 0.5, 0], [0, 0.5, 1]]
