"""Metrics are means of scores by group, with intervals; differences are over the same pairs."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame
from scipy.stats import permutation_test
from sklearn.calibration import calibration_curve

from tasks.fairness.metrics import measure, measure_by_topic
from tasks.fairness.plan import Plan
from tasks.fairness.scores import SCORES
from tests.training.tiny import made_up_subgroups, subgroup_ids

PLAN = Plan(replicates=200)


def random_scores(questions: int = 7) -> pd.DataFrame:
    generator = np.random.default_rng(3)
    subgroups = made_up_subgroups().set_index("subgroup_id")
    rows = [
        {
            "model": "tuned", "reader": "likelihood", "variant": "plain", "item": f"Q{item}", "subgroup_id": name, "split": "id_test",
            "topic": f"topic {item % 2}", "weight_share": subgroups.loc[name, "weight_share"], "accuracy": float(generator.integers(2)),
            "nmae": generator.random() if item else np.nan, "emd": generator.random() if item else np.nan, "confidence": generator.random(),
        }
        for item in range(questions)
        for name in subgroup_ids()[1:]
    ]  # fmt: skip
    scores = pd.DataFrame(rows)
    others = {name: generator.random(len(scores)) for name in SCORES if name not in scores}
    return scores.assign(**others)


def of_model(scores: pd.DataFrame, model: str, **changed: Any) -> pd.DataFrame:
    """The same pairs by another model, whose answers are right at other places."""
    shuffled = scores["accuracy"].sample(frac=1, random_state=len(model)).to_numpy()
    return scores.assign(model=model, accuracy=shuffled, **changed)


def value(metrics: pd.DataFrame, **wanted: Any) -> float:
    wanted = {"model": "tuned", "weighting": "pairs", "metric": "accuracy"} | wanted
    rows = metrics[np.logical_and.reduce([metrics[name] == each for name, each in wanted.items()])]
    assert len(rows) == 1
    return float(rows["value"].iloc[0])


def test_group_accuracies_are_those_of_fairlearn() -> None:
    scores = random_scores()
    metrics = measure(scores, made_up_subgroups(), plan=PLAN)
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
    metrics = measure(scores, made_up_subgroups(), plan=PLAN)
    women = scores[scores["subgroup_id"].str.contains("sex=Female")]
    assert value(metrics, dimension="sex", group="Female") == pytest.approx(women["accuracy"].mean())
    assert value(metrics, dimension="sex", group="Female", metric="nmae") == pytest.approx(women["nmae"].mean())


def test_population_weighting_weighs_a_pair_by_its_subgroups_share() -> None:
    scores = random_scores()
    expected = np.average(scores["accuracy"], weights=scores["weight_share"])
    assert value(measure(scores, made_up_subgroups(), plan=PLAN), dimension="all", group="all", weighting="population") == pytest.approx(expected)


def test_nominal_questions_count_for_accuracy_only() -> None:
    metrics = measure(random_scores(questions=7), made_up_subgroups(), plan=PLAN)
    counted = metrics[(metrics["dimension"] == "all") & (metrics["weighting"] == "pairs")].set_index("metric")["pairs"]
    assert {name: counted[name] for name in ("accuracy", "nmae", "emd", "total_variation")} == {
        "accuracy": 56, "nmae": 48, "emd": 48, "total_variation": 56,
    }  # fmt: skip


def test_everything_topics_and_levels_have_an_interval_and_single_subgroups_where_it_tells_the_models_apart() -> None:
    metrics = measure(random_scores(questions=12), made_up_subgroups(), plan=PLAN)
    bounds = metrics[metrics["metric"] != "calibration_error"]
    single = bounds["dimension"] == "subgroup"
    judged = single & bounds["metric"].isin(["accuracy", "nmae", "emd"]) & (bounds["weighting"] == "pairs")
    assert bounds.loc[single & ~judged, ["low", "high"]].isna().all(axis=None)
    assert bounds.loc[~single | judged, ["low", "high"]].notna().all(axis=None)
    known = bounds[~single | judged]
    assert ((known["low"] <= known["value"] + 1e-12) & (known["value"] <= known["high"] + 1e-12)).all()


def test_five_questions_at_least_make_an_interval() -> None:
    metrics = measure(random_scores(questions=9), made_up_subgroups(), plan=PLAN)
    topics = metrics[(metrics["dimension"] == "topic") & (metrics["metric"] == "accuracy")].set_index("group")["low"]
    assert topics["topic 0"].notna().all() and topics["topic 1"].isna().all()  # five questions, and four


def test_a_difference_of_two_models_is_paired_so_that_its_interval_is_narrower_than_theirs() -> None:
    scores = random_scores(questions=30)
    scores["accuracy"] = (scores["item"].str[1:].astype(int) % 3 > 0).astype(float)  # a question is right for everybody or for nobody
    better = scores.assign(accuracy=np.where(np.arange(len(scores)) % 10 == 0, 1.0, scores["accuracy"]))
    metrics = measure(pd.concat([scores.assign(model="base"), better]), made_up_subgroups(), plan=PLAN)
    rows = metrics[(metrics["dimension"] == "all") & (metrics["weighting"] == "pairs") & (metrics["metric"] == "accuracy")].set_index("model")
    assert rows.loc["tuned-base", "value"] == pytest.approx(better["accuracy"].mean() - scores["accuracy"].mean())
    width = rows["high"] - rows["low"]
    assert width["tuned-base"] < width["tuned"] / 3


def test_a_difference_over_everything_has_the_p_of_a_paired_test() -> None:
    scores = random_scores(questions=9)
    worse = scores.assign(model="base", accuracy=scores["accuracy"] * (scores["item"] > "Q2"))
    metrics = measure(pd.concat([scores, worse]), made_up_subgroups(), plan=Plan(replicates=20_000))
    tested = metrics.dropna(subset="p").set_index("metric")
    assert set(tested["model"]) == {"tuned-base"} and set(tested["group"]) == {"all"} and set(tested["weighting"]) == {"pairs"}
    assert set(tested.index) == {"accuracy", "nmae", "emd"}
    sums = (scores["accuracy"] - worse["accuracy"]).groupby(scores["item"]).sum().to_numpy()
    exact = permutation_test((sums,), np.sum, permutation_type="samples", vectorized=False, n_resamples=np.inf)
    assert tested.loc["accuracy", "p"] == pytest.approx(exact.pvalue, abs=0.01)
    assert tested.loc["emd", "p"] == 1  # no difference anywhere
    few = scores["item"] < "Q4"
    assert measure(pd.concat([scores[few], worse[few]]), made_up_subgroups(), plan=PLAN)["p"].isna().all()


def test_differences_are_taken_against_the_base_model_the_controls_and_the_baselines_that_answered() -> None:
    scores = random_scores()
    blank = of_model(scores, "tuned", variant="blank_persona").iloc[:20]
    together = pd.concat([scores, blank, of_model(scores, "base"), of_model(scores, "additive", reader="table")])
    metrics = measure(together, made_up_subgroups(), plan=PLAN)
    assert {name for name in metrics["model"] if "-" in name} == {"tuned-base", "tuned-blank_persona", "tuned-additive"}
    same = scores.iloc[:20]["accuracy"].mean() - blank["accuracy"].mean()
    assert value(metrics, model="tuned-blank_persona", dimension="all", group="all") == pytest.approx(same)


def test_skill_is_what_is_gained_of_what_the_baseline_leaves() -> None:
    scores = random_scores()
    national = of_model(scores, "national_mode", reader="table")
    metrics = measure(pd.concat([scores, national]), made_up_subgroups(), plan=PLAN)
    ours, theirs = scores["accuracy"].mean(), national["accuracy"].mean()
    found = value(metrics, dimension="all", group="all", metric="skill_national_mode")
    assert found == pytest.approx((ours - theirs) / (1 - theirs), abs=1e-12)


def test_skill_has_no_interval_where_other_questions_might_leave_nothing_to_gain() -> None:
    scores = random_scores(questions=12)
    national = scores.assign(model="national_mode", reader="table", accuracy=np.where(scores["item"] == "Q0", 0.0, 1.0))
    rows = measure(pd.concat([scores, national]), made_up_subgroups(), plan=PLAN)
    found = rows[(rows["metric"] == "skill_national_mode") & (rows["dimension"] == "all")].iloc[0]
    assert not np.isnan(found["value"]) and np.isnan(found["low"]) and np.isnan(found["high"])


def test_calibration_error_is_that_of_a_loop_over_ten_bins() -> None:
    scores = random_scores(questions=20)
    expected = 0.0
    for low in np.arange(10) / 10:
        inside = scores[(scores["confidence"] >= low) & (scores["confidence"] < low + 0.1)]
        expected += len(inside) / len(scores) * abs(inside["confidence"].mean() - inside["accuracy"].mean())
    metrics = measure(scores, made_up_subgroups(), plan=PLAN)
    assert value(metrics, dimension="all", group="all", metric="calibration_error") == pytest.approx(expected, abs=1e-9)


def test_calibration_error_is_what_scikit_learns_calibration_curve_leaves() -> None:
    scores = random_scores(questions=20)
    right, confident = calibration_curve(scores["accuracy"], scores["confidence"], n_bins=10)
    pairs = np.histogram(scores["confidence"], bins=10, range=(0, 1))[0]
    metrics = measure(scores, made_up_subgroups(), plan=PLAN)
    found = value(metrics, dimension="all", group="all", metric="calibration_error")
    assert found == pytest.approx(np.average(np.abs(right - confident), weights=pairs), abs=1e-12)


def test_accuracies_by_topic_and_subgroup_are_those_of_fairlearn_and_their_change_is_paired() -> None:
    scores, base = random_scores(questions=12), of_model(random_scores(questions=12), "base")
    by_topic = measure_by_topic(pd.concat([scores, base]), made_up_subgroups(), plan=PLAN)
    expected = [
        MetricFrame(
            metrics=lambda truth, choice: float((truth == choice).mean()),
            y_true=np.ones(len(one)), y_pred=one["accuracy"].to_numpy(), sensitive_features=one["subgroup_id"], control_features=one["topic"],
        ).by_group
        for one in (scores, base)
    ]  # fmt: skip
    accuracy = by_topic[by_topic["metric"] == "accuracy"].set_index(["model", "dimension", "group", "topic"])["value"]
    for topic in ("topic 0", "topic 1"):
        for name in subgroup_ids()[1:]:
            tuned, before = (frame[topic, name] for frame in expected)
            assert accuracy["tuned", "subgroup", name, topic] == pytest.approx(tuned, abs=1e-12)
            assert accuracy["tuned-base", "subgroup", name, topic] == pytest.approx(tuned - before, abs=1e-12)
    women = scores[scores["subgroup_id"].str.contains("sex=Female") & (scores["topic"] == "topic 1")]
    assert accuracy["tuned", "sex", "Female", "topic 1"] == pytest.approx(women["accuracy"].mean())


def test_the_same_seed_gives_the_same_table() -> None:
    scores = random_scores()
    one, other = (measure(scores, made_up_subgroups(), plan=PLAN) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)


def test_a_score_whose_subgroup_is_unknown_is_an_error() -> None:
    with pytest.raises(ValueError, match="not in the subgroups table"):
        measure(random_scores(), made_up_subgroups().iloc[:3], plan=PLAN)
