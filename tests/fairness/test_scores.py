"""Each prediction's score, against independent implementations."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error

from tasks.fairness.scores import KEYS, METRICS, RESTRICTED, SCORES, score_predictions
from tasks.subgroups.certainty import mode_probabilities

PAIR = {
    "item": "Q1", "subgroup_id": "sex=Male", "split": "ood_test", "topic": "Values", "scale": "ordinal", "weight_share": 0.5,
    "effective_n": 40.0, "mode_certainty": 0.95, "differs": True,
}  # fmt: skip


def scores_of(choice: int, *, model: str = "tuned", probabilities: Any = None, **pair: Any) -> dict[str, float]:
    """One pair with four options, target 1, and a prediction of it: all on its choice unless `probabilities` say more."""
    asked = {**PAIR, "code": 1, "tied_codes": [1], "shares": [0.4, 0.3, 0.2, 0.1], "posterior": [16.0, 12.0, 8.0, 4.0], **pair}
    pairs = pd.DataFrame([asked])
    codes = [1, 2, 3, 4]
    prediction = {
        "model": model, "reader": "likelihood", "variant": "plain", "item": "Q1", "subgroup_id": "sex=Male", "split": "ood_test",
        "codes": codes, "choice": choice,
        "probabilities": [float(code == choice) for code in codes] if probabilities is None else probabilities,
    }  # fmt: skip
    row = score_predictions(pd.DataFrame([prediction]), pairs).iloc[0]
    return {name: float(row[name]) for name in SCORES}


def test_the_target_scores_one_and_any_other_option_zero() -> None:
    assert [scores_of(choice)["accuracy"] for choice in (1, 2, 4)] == [1, 0, 0]


def test_either_of_two_tied_options_scores_one() -> None:
    assert [scores_of(choice, tied_codes=[1, 3])["accuracy"] for choice in (1, 2, 3)] == [1, 0, 1]


def test_nmae_counts_steps_on_the_scale_over_its_length() -> None:
    assert [scores_of(choice)["nmae"] for choice in (1, 2, 4)] == [0, pytest.approx(1 / 3), 1]


def test_a_nominal_question_has_no_distance() -> None:
    scored = scores_of(2, scale="nominal")
    assert scored["accuracy"] == 0
    assert np.isnan(scored["nmae"])
    assert np.isnan(scored["emd"])


def test_chance_scores_what_it_can_expect() -> None:
    scored = scores_of(1, model="chance")
    expected = {"accuracy": 0.25, "nmae": pytest.approx(0.5), "emd": pytest.approx(0.6 / 3 + 0.3 / 3 + 0.1 / 3)}
    assert {name: scored[name] for name in METRICS} == expected
    assert scored["accuracy_adjusted"] == pytest.approx(0.25)


def asked(options: int, *, target: int = 1, **changed: Any) -> dict[str, Any]:
    return {**PAIR, "code": target, "tied_codes": [target], "shares": [1 / options] * options, "posterior": [4.0] * options, **changed}


def answered(options: int, choice: int, **changed: Any) -> dict[str, Any]:
    lists = {"codes": list(range(1, options + 1)), "probabilities": [1 / options] * options}
    return {"model": "tuned", "reader": "likelihood", "variant": "plain", "choice": choice, **lists, **{key: PAIR[key] for key in KEYS}, **changed}


def test_nmae_is_the_scaled_mean_absolute_error() -> None:
    generator = np.random.default_rng(2)
    chosen, targets = generator.integers(1, 11, 200), generator.integers(1, 11, 200)
    pairs = [asked(10, target=int(target), item=f"Q{place}") for place, target in enumerate(targets)]
    predictions = [answered(10, int(choice), item=f"Q{place}") for place, choice in enumerate(chosen)]
    ours = score_predictions(pd.DataFrame(predictions), pd.DataFrame(pairs))["nmae"]
    assert ours.mean() == pytest.approx(mean_absolute_error(targets, chosen) / 9, abs=1e-12)


def test_questions_with_few_and_with_many_options_may_stand_in_any_order() -> None:
    pairs = pd.DataFrame([asked(10, item="Q1"), asked(4, item="Q2"), asked(10, item="Q3")])
    predictions = pd.DataFrame([answered(10, 3, item="Q1"), answered(4, 4, item="Q2"), answered(10, 1, item="Q3")])
    assert score_predictions(predictions, pairs)["nmae"].tolist() == pytest.approx([2 / 9, 1, 0])


def test_trap_10_a_prediction_without_its_pair_is_an_error_and_not_dropped() -> None:
    with pytest.raises(ValueError, match="1 of 1 predictions belong to no pair"):
        scores_of(1, subgroup_id="sex=Female")


@pytest.mark.parametrize("probabilities", [[np.nan] * 4, [0.0] * 4])
@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_trap_10_a_prediction_that_cannot_be_measured_is_an_error_and_not_dropped(probabilities: list[float]) -> None:
    with pytest.raises(ValueError, match="1 of 1 predictions have no finite probabilities"):
        scores_of(1, probabilities=probabilities)


def test_an_answer_that_could_not_be_read_is_wrong_as_far_off_as_can_be_and_compared_with_no_distribution() -> None:
    score = scores_of(-1, probabilities=[0.0, 0.0, 0.0, 0.0])
    assert (score["accuracy"], score["nmae"]) == (0.0, 1.0)
    assert np.isnan([score["emd"], score["total_variation"], score["jensen_shannon"]]).all()


def test_a_pair_that_comes_twice_is_an_error() -> None:
    pairs = pd.DataFrame([{**PAIR, "code": 1, "tied_codes": [1], "shares": [0.5, 0.5], "posterior": [20.0, 20.0]}] * 2)
    prediction = {"model": "tuned", "reader": "likelihood", "variant": "plain", "codes": [1, 2], "probabilities": [0.5, 0.5], "choice": 1, **PAIR}
    with pytest.raises(pd.errors.MergeError, match="not a many-to-one merge"):
        score_predictions(pd.DataFrame([prediction])[[*KEYS, "model", "reader", "variant", "codes", "probabilities", "choice"]], pairs)


def test_probabilities_and_shares_may_be_arrays_as_parquet_gives_them() -> None:
    as_lists = scores_of(2, probabilities=[0.1, 0.2, 0.3, 0.4])
    assert scores_of(2, probabilities=np.array([0.1, 0.2, 0.3, 0.4]), shares=np.array([0.4, 0.3, 0.2, 0.1])) == as_lists
    assert as_lists["emd"] == pytest.approx(0.3 / 3 + 0.4 / 3 + 0.3 / 3)


def test_the_adjusted_scores_are_those_expected_of_the_population_where_the_choices_tell_nothing_of_the_cells() -> None:
    """A model that says the same to all subgroups of a question."""
    posterior = np.random.default_rng(4).gamma(3, 6, size=(30, 4))
    names = [f"sex=Male|age={place}" for place in range(30)]
    pairs = pd.DataFrame([asked(4, subgroup_id=name, posterior=list(row)) for name, row in zip(names, posterior, strict=True)])
    scored = score_predictions(pd.DataFrame([answered(4, 2, subgroup_id=name) for name in names]), pairs)
    certain = mode_probabilities(posterior)
    assert scored["accuracy_adjusted"].mean() == pytest.approx(certain[:, 1].mean(), abs=0.02)
    expected = certain @ [1 / 3, 0, 1 / 3, 2 / 3]
    assert scored["nmae_adjusted"].mean() == pytest.approx(expected.mean(), abs=0.02)


def test_a_pair_whose_target_is_uncertain_is_in_neither_of_the_restricted_accuracies() -> None:
    assert all(np.isnan(scores_of(1, mode_certainty=0.89)[name]) for name in RESTRICTED)
    usual = scores_of(1, differs=False)
    assert usual["accuracy_certain"] == 1 and np.isnan(usual["accuracy_differs"])
    assert scores_of(2)["accuracy_differs"] == 0


def test_an_answer_that_was_not_understood_is_wrong_and_as_far_off_as_can_be() -> None:
    scored = scores_of(-1, probabilities=[0.25] * 4)
    assert (scored["accuracy"], scored["nmae"], scored["accuracy_adjusted"], scored["nmae_adjusted"]) == (0, 1, 0, 1)
