"""Disparities: levels on one footing, what describes them, and their tests in one table."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.fairness.disparities import disparities_of
from tasks.fairness.metrics import measure
from tasks.fairness.panels import Answers, Panels
from tasks.fairness.plan import Plan
from tasks.fairness.scores import SCORES
from tests.fairness.test_metrics import random_scores
from tests.training.tiny import made_up_subgroups

PLAN = Plan(replicates=600)
LEVELS = {"sex": ("f", "m"), "age": ("young", "middle", "old"), "faith": ("none", "some")}


def large_survey() -> pd.DataFrame:
    singles = [((name, level),) for name, levels in LEVELS.items() for level in levels]
    crossed = [one + other for one in singles for other in singles if list(LEVELS).index(one[0][0]) < list(LEVELS).index(other[0][0])]
    return pd.DataFrame(
        [
            {
                "subgroup_id": "|".join(f"{name}={level}" for name, level in traits) or "all", "subgroup_order": len(traits),
                "dimensions": [name for name, _ in traits], "levels": [level for _, level in traits], "respondents": 100, "weight_share": 0.1,
            }
            for traits in [(), *singles, *crossed]
        ]
    )  # fmt: skip


def made_up_scores(generator: np.random.Generator, *, model: str, apart: float = 0.0, questions: int = 30, left_out: tuple[str, ...] = ()) -> Any:
    """Scores of every intersection; men lack `apart`, and whoever has no faith is easier to tell."""
    names = [name for name in large_survey()["subgroup_id"] if "|" in name and name not in left_out]
    rows = pd.MultiIndex.from_product([[f"Q{number:02}" for number in range(questions)], names], names=["item", "subgroup_id"]).to_frame(index=False)
    chance = 0.6 - apart * rows["subgroup_id"].str.contains("sex=m") + 0.2 * rows["subgroup_id"].str.contains("faith=none")
    values = {name: 0.7 * (generator.random(len(rows)) < chance) + 0.3 * generator.random(len(rows)) for name in SCORES}
    return rows.assign(model=model, reader="likelihood", variant="plain", split="ood_test", topic="Trust", weight_share=0.1, confidence=0.5, **values)


def disparities(*scores: pd.DataFrame) -> pd.DataFrame:
    together = pd.concat(scores, ignore_index=True)
    found = disparities_of(together, measure(together, large_survey(), plan=PLAN), large_survey(), plan=PLAN)
    return found[found["weighting"] == "standardised"].set_index(["model", "dimension", "metric"])


def test_a_gap_is_best_minus_worst_and_knows_which_way_is_better() -> None:
    scores = random_scores()
    female = scores["subgroup_id"].str.contains("sex=Female")
    scores.loc[female, ["accuracy", "nmae"]] = [1.0, 0.9]
    scores.loc[~female, ["accuracy", "nmae"]] = [0.25, 0.1]
    scores = scores[scores["subgroup_id"].str.contains("sex=")]
    subgroups = made_up_subgroups()
    gaps = disparities_of(scores, measure(scores, subgroups, plan=PLAN), subgroups, plan=PLAN)
    gaps = gaps[(gaps["dimension"] == "sex") & (gaps["weighting"] == "pairs")].set_index("metric")
    assert gaps.loc["accuracy", ["gap", "worst_level", "best_level"]].tolist() == [0.75, "Male", "Female"]
    assert gaps.loc["nmae", ["gap", "worst_level", "best_level"]].tolist() == [pytest.approx(0.8), "Female", "Male"]
    assert gaps.loc["accuracy", "sd"] == pytest.approx(0.75 / np.sqrt(2))
    assert set(gaps.index) == {"accuracy", "nmae", "emd"}


def test_a_level_of_few_respondents_makes_no_gap_and_one_level_alone_has_none() -> None:
    subgroups, scores = made_up_subgroups(), random_scores()
    subgroups.loc[subgroups["subgroup_id"].str.contains("age=old"), "respondents"] = 29
    gaps = disparities_of(scores, measure(scores, made_up_subgroups(), plan=PLAN), subgroups, plan=PLAN)
    assert set(gaps[gaps["weighting"] == "pairs"]["dimension"]) == {"sex"}
    assert set(gaps["worst_level"].dropna()) <= {"Male", "Female"}


def test_a_level_that_only_a_held_out_country_has_counts_by_its_intersections() -> None:
    subgroups, scores = made_up_subgroups(), random_scores()
    scores = scores[scores["subgroup_id"] != "age=old"]
    known = subgroups[subgroups["subgroup_id"] != "age=old"]
    gaps = disparities_of(scores, measure(scores, known, plan=PLAN), known, plan=PLAN)
    assert set(gaps[gaps["weighting"] == "pairs"]["dimension"]) == {"sex", "age"}


def test_a_planted_gap_is_found_and_the_others_are_not() -> None:
    found = disparities(made_up_scores(np.random.default_rng(1), model="tuned", apart=0.25))
    planted = found.loc[("tuned", "sex", "accuracy")]
    assert planted["p"] < 0.01 and planted["p_permuted"] < 0.01 and planted["p_gap"] < 0.01 and planted["low"] > 0
    assert planted["between"] == pytest.approx((0.7 * 0.25) ** 2 / 2, rel=0.5)
    assert planted["worst_level"] == "m"
    assert found.loc[("tuned", "age", "accuracy"), "p"] > 0.01
    assert abs(found.loc[("tuned", "age", "accuracy"), "adjusted_gap"]) < 0.06


def test_trap_11_the_spread_that_chance_gives_to_equal_levels_is_no_disparity() -> None:
    """Every dimension has a gap and a standard deviation; what is reported as a disparity is what is left of them."""
    found = disparities(made_up_scores(np.random.default_rng(8), model="tuned", questions=12))
    rows = found.xs("accuracy", level="metric").drop("faith", level="dimension")
    assert rows["gap"].max() > 0.03 and rows["sd"].max() > 0.02
    assert (rows["low"] < 0).all() and (rows["p"] > 0.05).all()


def test_a_level_held_out_with_harder_partners_is_not_taken_for_a_harder_level() -> None:
    """Women were held out with the easy partner only, men with the hard one too; both meet in the ages."""
    left_out = ("sex=f|faith=some", "sex=m|faith=none")
    scores = made_up_scores(np.random.default_rng(2), model="tuned", questions=200, left_out=left_out)
    answers, panels = Answers.of(scores, metrics=["accuracy"]), Panels(large_survey())
    panel = panels.of(answers, "sex", metric="accuracy")
    assert panel is not None and panel.standardised
    women, men = panel.table(answers, "accuracy").mean(axis=0)
    plain = [scores[scores["subgroup_id"].str.contains(f"sex={sex}")]["accuracy"].mean() for sex in "fm"]
    assert abs(women - men) < 0.03
    assert plain[0] - plain[1] > 0.025


def test_standardised_values_are_those_of_a_regression_on_levels_and_partners() -> None:
    scores = made_up_scores(np.random.default_rng(3), model="tuned", left_out=("sex=f|faith=some", "sex=m|age=old"))
    answers, panels = Answers.of(scores, metrics=["accuracy"]), Panels(large_survey())
    panel = panels.of(answers, "sex", metric="accuracy")
    assert panel is not None
    held = scores[scores["subgroup_id"].str.contains("sex=")]
    men = held["subgroup_id"].str.contains("sex=m").astype(float)
    partners = pd.get_dummies(held["subgroup_id"].str.split("|").str[1], dtype=float)
    design = np.column_stack([men, partners])
    effect = np.linalg.lstsq(design, held["accuracy"].to_numpy(), rcond=None)[0]
    values = panel.table(answers, "accuracy").mean(axis=0)
    assert values == pytest.approx([effect[1:].mean(), effect[1:].mean() + effect[0]], abs=1e-12)


def test_an_effect_is_what_a_level_is_from_the_mean_of_all_and_pairs_are_its_own() -> None:
    scores = made_up_scores(np.random.default_rng(3), model="tuned", apart=0.3, left_out=("sex=f|faith=some", "sex=m|age=old"))
    rows = measure(scores, large_survey(), plan=PLAN)
    rows = rows[(rows["weighting"] == "standardised") & (rows["dimension"] == "sex")].set_index(["metric", "group"])
    values = rows.loc["accuracy", "value"]
    assert rows.loc["accuracy_effect", "value"].to_dict() == pytest.approx((values - values.mean()).to_dict())
    assert rows.loc[("accuracy_effect", "m"), "high"] < 0 < rows.loc[("accuracy_effect", "f"), "low"]
    assert rows.loc["accuracy", "pairs"].to_dict() == {"f": 30 * 4, "m": 30 * 4}


def test_a_level_over_partners_that_it_was_not_asked_with_stays_between_0_and_1() -> None:
    scores = made_up_scores(np.random.default_rng(3), model="tuned", left_out=("sex=m|faith=some", "sex=m|age=old", "sex=m|age=young"))
    easy = scores["subgroup_id"].str.contains("faith=some|age=old|age=young").astype(float)
    scores = scores.assign(accuracy=np.where(scores["subgroup_id"].str.contains("sex=m"), 1.0, easy))
    rows = measure(scores, large_survey(), plan=PLAN)
    rows = rows[(rows["weighting"] == "standardised") & (rows["dimension"] == "sex")].set_index(["metric", "group"])
    assert rows.loc[("accuracy", "m"), "value"] == 1.0
    assert rows.loc[("accuracy_effect", "m"), "value"] == pytest.approx(0.5)


def test_levels_that_share_no_partner_average_their_own_and_it_is_said() -> None:
    left_out = tuple(name for name in large_survey()["subgroup_id"] if name.startswith("sex=f|age") or name.startswith("sex=m|faith"))
    scores = made_up_scores(np.random.default_rng(4), model="tuned", left_out=left_out)
    answers = Answers.of(scores, metrics=["accuracy"])
    panel = Panels(large_survey()).of(answers, "sex", metric="accuracy")
    assert panel is not None and not panel.standardised
    women = scores[scores["subgroup_id"].str.contains("sex=f")]["accuracy"].mean()
    assert panel.table(answers, "accuracy").mean(axis=0)[0] == pytest.approx(women)


def test_only_questions_that_all_of_a_panel_were_asked_count() -> None:
    scores = made_up_scores(np.random.default_rng(5), model="tuned")
    few = scores[~((scores["subgroup_id"] == "sex=f|age=old") & (scores["item"] > "Q24"))]
    panels = Panels(large_survey())
    panel = panels.of(Answers.of(few, metrics=["accuracy"]), "sex", metric="accuracy")
    assert panel is not None and (len(panel.items), len(panel.subgroups)) in {(25, 10), (30, 9)}
    assert panels.of(Answers.of(scores[scores["item"] < "Q04"], metrics=["accuracy"]), "sex", metric="accuracy") is None


def test_a_change_is_tested_and_adjusted_over_its_family() -> None:
    generator = np.random.default_rng(6)
    base, tuned = made_up_scores(generator, model="base"), made_up_scores(generator, model="tuned", apart=0.3)
    found = disparities(base, tuned)
    change = found.loc["tuned-base"]
    assert len(change) == 9 and change[["p", "p_holm", "p_bh", "p_wider"]].notna().all(axis=None)
    assert (change["p_holm"] >= change["p_bh"]).all() and (change["p_bh"] >= change["p"]).all()
    assert found.drop("tuned-base")["p_holm"].isna().all()
    assert change.loc[("sex", "accuracy"), "p_holm"] < 0.05
    assert not change.loc[("sex", "accuracy"), "no_wider"]
    gaps = found["gap"]
    for dimension, metric in change.index:
        expected = gaps["tuned", dimension, metric] - gaps["base", dimension, metric]
        assert gaps["tuned-base", dimension, metric] == pytest.approx(expected)


def test_without_training_there_is_no_family() -> None:
    found = disparities(made_up_scores(np.random.default_rng(7), model="base"))
    assert set(found.index.get_level_values("model")) == {"base"}
    assert found["p_holm"].isna().all() and found["no_wider"].isna().all()
