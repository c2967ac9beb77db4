"""Metrics are means of scores by group; gaps are between a dimension's levels."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame

from tasks.fairness.metrics import disparities_of, measure
from tests.training.tiny import made_up_subgroups, subgroup_ids


def random_scores(questions: int = 7) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    subgroups = made_up_subgroups().set_index("subgroup_id")
    rows = [
        {
            "model": "tuned", "reader": "likelihood", "variant": "plain", "item": f"Q{item}", "subgroup_id": name, "split": "id_test",
            "topic": f"topic {item % 2}", "weight_share": subgroups.loc[name, "weight_share"], "accuracy": float(generator.integers(2)),
            "nmae": generator.random() if item else np.nan, "emd": generator.random() if item else np.nan,
        }
        for item in range(questions)
        for name in subgroup_ids()[1:]
    ]  # fmt: skip
    return pd.DataFrame(rows)


def value(metrics: pd.DataFrame, **wanted: Any) -> float:
    wanted = {"weighting": "pairs", "metric": "accuracy"} | wanted
    rows = metrics[np.logical_and.reduce([metrics[name] == each for name, each in wanted.items()])]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_group_accuracies_are_those_of_fairlearn() -> None:
    scores = random_scores()
    metrics = measure(scores, made_up_subgroups())
    by_subgroup = MetricFrame(
        metrics=lambda truth, choice: float((truth == choice).mean()),
        y_true=np.ones(len(scores)),
        y_pred=scores["accuracy"].to_numpy(),
        sensitive_features=scores["subgroup_id"],
    ).by_group
    for name in subgroup_ids()[1:]:
        assert value(metrics, dimension="subgroup", group=name) == pytest.approx(by_subgroup[name], abs=1e-12)


def test_a_level_averages_the_pairs_of_every_subgroup_that_has_it() -> None:
    scores = random_scores()
    metrics = measure(scores, made_up_subgroups())
    women = scores[scores["subgroup_id"].str.contains("sex=Female")]
    assert value(metrics, dimension="sex", group="Female") == pytest.approx(women["accuracy"].mean())
    assert value(metrics, dimension="sex", group="Female", metric="nmae") == pytest.approx(women["nmae"].mean())


def test_population_weighting_weighs_a_pair_by_its_subgroups_share() -> None:
    scores = random_scores()
    expected = np.average(scores["accuracy"], weights=scores["weight_share"])
    assert value(measure(scores, made_up_subgroups()), dimension="all", group="all", weighting="population") == pytest.approx(expected)


def test_nominal_questions_count_for_accuracy_only() -> None:
    metrics = measure(random_scores(questions=7), made_up_subgroups())
    counted = metrics[(metrics["dimension"] == "all") & (metrics["weighting"] == "pairs")].set_index("metric")["pairs"]
    assert counted.to_dict() == {"accuracy": 56, "nmae": 48, "emd": 48}


def test_no_interval_is_claimed_yet() -> None:
    assert measure(random_scores(), made_up_subgroups())[["low", "high"]].isna().all(axis=None)


def test_a_score_whose_subgroup_is_unknown_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in the subgroups table"):
        measure(random_scores(), made_up_subgroups().iloc[:3])


def test_a_gap_is_best_minus_worst_and_knows_which_way_is_better() -> None:
    scores = random_scores()
    female = scores["subgroup_id"].str.contains("sex=Female")
    scores.loc[female, ["accuracy", "nmae"]] = [1.0, 0.9]
    scores.loc[~female, ["accuracy", "nmae"]] = [0.25, 0.1]
    scores = scores[scores["subgroup_id"].str.contains("sex=")]
    gaps = disparities_of(measure(scores, made_up_subgroups()), made_up_subgroups())
    gaps = gaps[(gaps["dimension"] == "sex") & (gaps["weighting"] == "pairs")].set_index("metric")
    assert gaps.loc["accuracy", ["gap", "worst_level", "best_level"]].tolist() == [0.75, "Male", "Female"]
    assert gaps.loc["nmae", ["gap", "worst_level", "best_level"]].tolist() == [pytest.approx(0.8), "Female", "Male"]
    assert set(gaps.index) == {"accuracy", "nmae", "emd"}


def test_a_level_of_few_respondents_makes_no_gap_and_one_level_alone_has_none() -> None:
    subgroups = made_up_subgroups()
    subgroups.loc[subgroups["subgroup_id"] == "age=old", "respondents"] = 29
    gaps = disparities_of(measure(random_scores(), made_up_subgroups()), subgroups)
    assert set(gaps["dimension"]) == {"sex"}
    assert set(gaps["worst_level"]) <= {"Male", "Female"}
