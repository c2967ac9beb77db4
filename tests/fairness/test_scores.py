"""Each prediction's score, against independent implementations."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import wasserstein_distance
from sklearn.metrics import mean_absolute_error

from tasks.fairness.scores import KEYS, distances, earth_movers_distance, score_predictions

PAIR = {"item": "Q1", "subgroup_id": "sex=Male", "split": "ood_test", "topic": "Values", "scale": "ordinal", "weight_share": 0.5}


def scores_of(choice: int, *, model: str = "tuned", probabilities: Any = None, **pair: Any) -> dict[str, float]:
    """One pair with four options, target 1, and a prediction of it: all on its choice unless `probabilities` say more."""
    pairs = pd.DataFrame([{**PAIR, "code": 1, "tied_codes": [1], "shares": [0.4, 0.3, 0.2, 0.1], **pair}])
    codes = [1, 2, 3, 4]
    prediction = {
        "model": model, "reader": "likelihood", "variant": "plain", "item": "Q1", "subgroup_id": "sex=Male", "split": "ood_test",
        "codes": codes, "choice": choice,
        "probabilities": [float(code == choice) for code in codes] if probabilities is None else probabilities,
    }  # fmt: skip
    row = score_predictions(pd.DataFrame([prediction]), pairs).iloc[0]
    return {name: float(row[name]) for name in ("accuracy", "nmae", "emd")}


def test_the_target_scores_one_and_any_other_option_zero() -> None:
    assert [scores_of(choice)["accuracy"] for choice in (1, 2, 4)] == [1, 0, 0]


def test_either_of_two_tied_options_scores_one() -> None:
    assert [scores_of(choice, tied_codes=[1, 3])["accuracy"] for choice in (1, 2, 3)] == [1, 0, 1]


def test_nmae_counts_steps_on_the_scale_over_its_length() -> None:
    assert [scores_of(choice)["nmae"] for choice in (1, 2, 4)] == [0, pytest.approx(1 / 3), 1]


def test_positions_follow_the_scale_and_not_the_codes() -> None:
    """Q56 is 1 better, 3 the same, 2 worse."""
    assert list(distances(np.array([1, 3, 2]), target=2)) == [1, 0.5, 0]


def test_a_nominal_question_has_no_distance() -> None:
    scored = scores_of(2, scale="nominal")
    assert scored["accuracy"] == 0
    assert np.isnan(scored["nmae"])
    assert np.isnan(scored["emd"])


def test_chance_scores_what_it_can_expect() -> None:
    assert scores_of(1, model="chance") == {"accuracy": 0.25, "nmae": pytest.approx(0.5), "emd": pytest.approx(0.6 / 3 + 0.3 / 3 + 0.1 / 3)}


def test_trap_1_opposite_one_hot_distributions_are_a_whole_scale_apart() -> None:
    assert earth_movers_distance(np.array([1.0, 0, 0]), np.array([0, 0, 1.0])) == 1.0


def test_emd_is_the_wasserstein_distance_on_positions_between_0_and_1() -> None:
    generator = np.random.default_rng(1)
    for options in (2, 3, 4, 10):
        predicted, observed = generator.dirichlet(np.ones(options)), generator.dirichlet(np.ones(options))
        positions = np.linspace(0, 1, options)
        assert earth_movers_distance(0.7 * predicted, observed) == pytest.approx(
            wasserstein_distance(positions, positions, predicted, observed), abs=1e-9
        )


def test_nmae_is_the_scaled_mean_absolute_error() -> None:
    generator = np.random.default_rng(2)
    codes = np.arange(1, 11)
    chosen, targets = generator.choice(codes, 200), generator.choice(codes, 200)
    ours = [distances(codes, target=target)[codes == choice][0] for choice, target in zip(chosen, targets, strict=True)]
    assert np.mean(ours) == pytest.approx(mean_absolute_error(targets, chosen) / 9, abs=1e-12)


def test_trap_10_a_prediction_without_its_pair_is_an_error_and_not_dropped() -> None:
    with pytest.raises(ValueError, match="1 of 1 predictions belong to no pair"):
        scores_of(1, subgroup_id="sex=Female")


@pytest.mark.parametrize("probabilities", [[np.nan] * 4, [0.0] * 4])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_trap_10_a_prediction_that_cannot_be_measured_is_an_error_and_not_dropped(probabilities: list[float]) -> None:
    with pytest.raises(ValueError, match="1 of 1 predictions have no finite probabilities"):
        scores_of(1, probabilities=probabilities)


def test_a_pair_that_comes_twice_is_an_error() -> None:
    pairs = pd.DataFrame([{**PAIR, "code": 1, "tied_codes": [1], "shares": [0.5, 0.5]}] * 2)
    prediction = {"model": "tuned", "reader": "likelihood", "variant": "plain", "codes": [1, 2], "probabilities": [0.5, 0.5], "choice": 1, **PAIR}
    with pytest.raises(pd.errors.MergeError, match="not a many-to-one merge"):
        score_predictions(pd.DataFrame([prediction])[[*KEYS, "model", "reader", "variant", "codes", "probabilities", "choice"]], pairs)


def test_probabilities_and_shares_may_be_arrays_as_parquet_gives_them() -> None:
    as_lists = scores_of(2, probabilities=[0.1, 0.2, 0.3, 0.4])
    assert scores_of(2, probabilities=np.array([0.1, 0.2, 0.3, 0.4]), shares=np.array([0.4, 0.3, 0.2, 0.1])) == as_lists
    assert as_lists["emd"] == pytest.approx(0.3 / 3 + 0.4 / 3 + 0.3 / 3)
