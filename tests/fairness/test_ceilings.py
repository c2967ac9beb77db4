"""The ceiling is met by an oracle, and a survey of n respondents is worth n respondents; on made-up populations."""

from functools import cache

import numpy as np
import pandas as pd
import pytest

from tasks.fairness.ceilings import SIZES, ceiling_scores, equivalent_sizes, survey_curve
from tasks.fairness.plan import Plan
from tasks.subgroups.certainty import posterior_table
from tests.subgroups.test_certainty import made_up_answers, made_up_subgroups


@cache
def surveyed(seed: int = 21, questions: int = 120) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Pairs of the 16 intersections with 40 respondents each; the population's mode of each; and the mode of 30 fresh respondents."""
    generator = np.random.default_rng(seed)
    frames, truths = [], []
    for number in range(questions):
        sample, truth = made_up_answers(generator, options=4, spread=0.4)
        rows = pd.MultiIndex.from_product([made_up_subgroups()["subgroup_id"], range(4)], names=["subgroup_id", "code"]).to_frame(index=False)
        n = np.repeat([640.0, *[320.0] * 2, *[80.0] * 8, *[40.0] * 16], 4)
        frames.append(rows.assign(item=f"Q{number:03}", position=rows["code"], share=sample.ravel(), effective_n=n))
        truths.append(truth[11:])
    distributions = pd.concat(frames, ignore_index=True)
    table = posterior_table(distributions, made_up_subgroups()).assign(share=distributions["share"])
    small = table[table["subgroup_id"].str.contains("|", regex=False)]
    cells = [column.to_numpy().reshape(-1, 4) for column in (small["share"], small["posterior"], small["mode_probability"])]
    target = cells[0].argmax(axis=1)
    pairs = small.iloc[::4][["item", "subgroup_id"]].assign(
        split="ood_test", topic="Trust", weight_share=0.1, differs=True, code=target, codes=[list(range(4))] * len(target), posterior=list(cells[1]),
        mode_certainty=cells[2][np.arange(len(target)), target],
    )  # fmt: skip
    population = np.concatenate(truths)
    fresh = generator.multinomial(30, population) + 0.5 * generator.random(population.shape)
    return pairs, population.argmax(axis=1), fresh.argmax(axis=1)


def test_the_ceiling_is_met_by_an_oracle_that_knows_the_population_and_none_of_the_respondents() -> None:
    pairs, mode, _ = surveyed()
    assert (pairs["code"] == mode).mean() == pytest.approx(ceiling_scores(pairs)["accuracy"].mean(), abs=0.02)


def test_a_fresh_survey_of_30_respondents_is_worth_30_respondents() -> None:
    pairs, _, fresh = surveyed()
    accuracy = float((pairs["code"] == fresh).mean())
    whole = {"split": "ood_test", "dimension": "all", "group": "all", "metric": "accuracy", "weighting": "pairs"}
    metrics = pd.DataFrame([whole | {"model": "tuned", "value": accuracy, "low": accuracy - 0.02, "high": accuracy + 0.02}])
    found = equivalent_sizes(metrics, pairs, plan=Plan()).iloc[0]
    assert found["metric"] == "equivalent_n"
    assert 21 < found["value"] < 42
    assert found["low"] < found["value"] < found["high"]


def test_more_respondents_predict_better_up_to_the_ceiling() -> None:
    pairs, _, _ = surveyed()
    curve = survey_curve(pairs, generator=np.random.default_rng(1))
    assert (np.diff(curve.accuracies) > 0).all()
    assert curve.accuracies[0] == pytest.approx(0.25)
    assert curve.accuracies[-1] == pytest.approx(pairs["mode_certainty"].mean(), abs=0.01)
    assert curve.size_of(np.array([0.1, 1.0])).tolist() == [0, pytest.approx(SIZES[-1])]


def test_a_model_without_an_accuracy_s_bounds_has_none_in_respondents() -> None:
    pairs, _, _ = surveyed()
    assert np.isnan(survey_curve(pairs, generator=np.random.default_rng(2)).size_of(np.array([np.nan])))[0]
