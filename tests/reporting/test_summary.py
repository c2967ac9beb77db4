"""summary.json: its arithmetic, its shape, and the headline table made from it. Runs are made up (conftest.py)."""

import json

import pandas as pd
import pytest
from rich.console import Console

from tasks.errors import StepError
from tasks.reporting.contents import Statistic
from tasks.reporting.summary import Facts, headline_rows, headline_table, persona_changes_answer, write_summary
from tasks.reporting.views import skill
from tests.reporting.asked_otherwise import add_evidence, resummarised

NULL_BOUNDS = {"low": None, "high": None}


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def answers(variant, choices):
    items = [f"Q{place}" for place in range(len(choices))]
    columns = {"model": "tuned", "reader": "likelihood", "variant": variant, "split": "ood_test", "subgroup_id": "sex=Female"}
    return pd.DataFrame({"item": items, "choice": choices}).assign(**columns)


def test_the_summary_has_the_keys_that_the_design_names(made_up_run):
    summary = summary_of(made_up_run())
    assert list(summary) == [
        "study", "run_id", "synthetic", "reader", "survey", "pairs", "base", "tuned", "baselines", "controls", "skill", "skill_to_ceiling",
        "differences", "target_certainty", "ceiling", "answers", "agreement", "robustness", "landscape", "disparity", "overlap", "gates", "seconds",
        "judge", "server",
    ]  # fmt: skip
    assert set(summary["pairs"]) == {"total", "train", "id_test", "ood_test", "subgroups", "questions", "certain", "unlike_country"}
    assert summary["base"]["accuracy"]["ood_test"] == {"value": 0.31, **NULL_BOUNDS}
    assert summary["baselines"]["additive"]["accuracy"]["ood_test"] == {"value": 0.67, **NULL_BOUNDS}
    assert summary["controls"]["blank_persona"]["accuracy"]["ood_test"] == {"value": 0.57, **NULL_BOUNDS}
    assert summary["ceiling"] is None and summary["synthetic"] is True


def test_pairs_are_counted_by_split(made_up_run):
    folder = made_up_run()
    pairs = pd.read_parquet(folder / "tables" / "pairs.parquet")
    counted = summary_of(folder)["pairs"]
    assert counted["total"] == len(pairs) == counted["train"] + counted["id_test"] + counted["ood_test"]
    assert counted["questions"] == 6


def test_skill_is_the_share_of_the_baselines_errors_that_are_avoided(made_up_run):
    reached = summary_of(made_up_run())["skill"]
    assert reached["tuned"]["national_mode"]["ood_test"]["value"] == pytest.approx((0.62 - 0.58) / (1 - 0.58))
    assert reached["base"]["additive"]["ood_test"]["value"] == pytest.approx((0.31 - 0.67) / (1 - 0.67))


def test_skill_is_null_where_the_baseline_leaves_under_two_points_to_gain():
    assert skill(Statistic(0.99), Statistic(0.981)) is None
    assert skill(None, Statistic(0.5)) is None
    assert skill(Statistic(0.75), Statistic(0.5)) == 0.5


def test_the_persona_changes_the_answers_that_differ_from_the_blank_persona():
    predictions = pd.concat([answers("plain", [1, 2, 3, 4]), answers("blank_persona", [1, 2, 3, 1]), answers("permuted_persona", [4, 4, 4, 3])])
    assert persona_changes_answer(predictions, model="tuned") == {"id_test": None, "ood_test": {"value": 0.25, **NULL_BOUNDS}}


def test_a_base_only_run_has_no_tuned_numbers(made_up_run):
    summary = summary_of(made_up_run(trained=False))
    assert "tuned" not in summary and "tuned" not in summary["skill"]
    assert summary["controls"]["order0"] is None
    assert summary["controls"]["persona_changes_answer"] == {"id_test": None, "ood_test": None}
    assert summary["disparity"]["sex"]["base"] and summary["disparity"]["sex"]["change"] is None


def test_a_gap_changes_by_the_difference_of_tuned_and_base(made_up_run):
    gap = summary_of(made_up_run())["disparity"]["religion"]
    assert gap["change"]["value"] == pytest.approx(gap["tuned"]["value"] - gap["base"]["value"])


def test_a_run_without_predictions_gets_no_summary(made_up_run):
    folder = made_up_run(without=("predictions",))
    (folder / "summary.json").unlink()
    with pytest.raises(StepError, match="lacks predictions"):
        write_summary(folder, Facts("made-up", "run", {}, {}, {}))
    assert not (folder / "summary.json").exists()


def test_the_headline_names_models_controls_and_baselines_with_accuracy_and_skill(made_up_run):
    rows = {row["answers by"]: row for row in headline_rows(summary_of(made_up_run()))}
    assert list(rows) == [
        "Tuned model", "Base model", "Tuned, blank persona", "Tuned, permuted persona", "Tuned on everybody only", "National mode", "Parent mode",
        "Additive", "Chance",
    ]  # fmt: skip
    assert rows["Tuned model"]["ood_test accuracy"] == "62.0%" and rows["Tuned model"]["ood_test skill"] == "+0.10"


def test_where_questions_are_unseen_skill_is_over_the_topic_prior(made_up_run):
    folder = made_up_run()
    metrics = pd.read_parquet(folder / "tables" / "metrics.parquet")
    national = (metrics["model"] == "national_mode") & (metrics["split"] == "ood_test")
    metrics.loc[national, "model"] = "topic_prior"
    metrics.to_parquet(folder / "tables" / "metrics.parquet")
    facts = json.loads((folder / "manifest.json").read_text())
    summary = write_summary(folder, Facts(facts["study_name"], facts["run_id"], facts["survey"], {}, {}))
    rows = {row["answers by"]: row for row in headline_rows(summary)}
    assert rows["Tuned model"]["ood_test skill"] == "+0.10" and rows["National mode"]["ood_test accuracy"] == "–"
    assert "the topic prior (ood_test), the national mode (id_test)" in str(headline_table(summary).caption)


def test_accuracy_by_population_share_is_in_the_summary(made_up_run):
    folder = made_up_run()
    path = folder / "tables" / "metrics.parquet"
    metrics = pd.read_parquet(path)
    tuned = metrics[(metrics["model"] == "tuned") & (metrics["variant"] == "plain")]
    pd.concat([metrics, tuned.assign(weighting="population", value=tuned["value"] + 0.01)]).to_parquet(path)
    assert resummarised(folder)["tuned"]["accuracy_population"]["ood_test"]["value"] == pytest.approx(0.63)


def test_the_skill_to_the_ceiling_is_what_was_measured(made_up_run):
    folder = made_up_run()
    metrics = pd.read_parquet(folder / "tables" / "metrics.parquet")
    whole = (metrics["model"] == "tuned") & (metrics["group"] == "all") & (metrics["metric"] == "accuracy") & (metrics["variant"] == "plain")
    measured = metrics[whole & (metrics["split"] == "ood_test")].assign(metric="skill_additive_to_ceiling", value=-0.3)
    pd.concat([metrics, measured]).to_parquet(folder / "tables" / "metrics.parquet")
    reached = resummarised(folder)["skill_to_ceiling"]
    assert reached["tuned"]["additive"] == {"id_test": None, "ood_test": {"value": -0.3, **NULL_BOUNDS}}
    assert reached["base"]["additive"] == {"id_test": None, "ood_test": None}


def test_the_terminal_table_says_synthetic_and_unweighted(made_up_run):
    console = Console(width=140, record=True)
    console.print(headline_table(summary_of(made_up_run(weighted=False))))
    text = console.export_text()
    assert "SYNTHETIC" in text and "UNWEIGHTED" in text and "National mode" in text


def with_tests(folder):
    """The run's tables with an interval, a paired difference and the tests of the disparity by sex; and the summary of them."""
    metrics, disparities = (pd.read_parquet(folder / "tables" / f"{name}.parquet") for name in ("metrics", "disparities"))
    whole = (metrics["model"] == "tuned") & (metrics["group"] == "all") & (metrics["metric"] == "accuracy") & (metrics["variant"] == "plain")
    metrics.loc[whole, ["low", "high"]] = [0.55, 0.7]
    gained = metrics[whole].assign(model="tuned-base", value=0.31, low=0.25, high=0.37, p=0.002)
    skill_row = metrics[whole].assign(metric="skill_national_mode", value=0.1, low=-0.02, high=0.2)
    pd.concat([metrics, gained, skill_row]).to_parquet(folder / "tables" / "metrics.parquet")
    row = {"split": "ood_test", "reader": "likelihood", "variant": "plain", "weighting": "standardised", "dimension": "sex", "metric": "accuracy"}
    tested = [
        row | {"model": "base", "between": -0.0001, "low": -0.0004, "high": 0.0009, "p": 0.6, "p_permuted": 0.41, "sd": 0.05},
        row | {"model": "tuned", "between": 0.0003, "low": -0.0001, "high": 0.0016, "p": 0.04, "p_permuted": 0.05, "standardised": False},
        row | {"model": "tuned-base", "between": 0.0004, "low": 0.0001, "high": 0.0009, "p": 0.01, "p_holm": 0.03, "p_bh": 0.02, "p_wider": 0.5,
               "no_wider": False},
    ]  # fmt: skip
    pd.concat([disparities, pd.DataFrame(tested)]).to_parquet(folder / "tables" / "disparities.parquet")
    facts = json.loads((folder / "manifest.json").read_text())
    return write_summary(folder, Facts(facts["study_name"], facts["run_id"], facts["survey"], {}, {"passed": 1, "failed": 0}))


def test_intervals_differences_and_tests_of_the_tables_are_in_the_summary(made_up_run):
    summary = with_tests(made_up_run())
    assert summary["tuned"]["accuracy"]["ood_test"] == {"value": 0.62, "low": 0.55, "high": 0.7}
    assert summary["differences"]["tuned-base"]["accuracy"]["ood_test"] == {"value": 0.31, "low": 0.25, "high": 0.37, "p": 0.002}
    assert summary["skill"]["tuned"]["national_mode"]["ood_test"] == {"value": 0.1, "low": -0.02, "high": 0.2}
    sex = summary["disparity"]["sex"]
    assert sex["between"]["base"] == pytest.approx({"value": -0.01, "low": -0.02, "high": 0.03, "p": 0.6, "p_permuted": 0.41})
    assert sex["sd"]["base"] == 0.05
    change = sex["between"]["change"]
    assert change["value"] == pytest.approx(sex["between"]["tuned"]["value"] - sex["between"]["base"]["value"])
    assert change["low"] < change["value"] < change["high"] and change["low"] == pytest.approx(0.00015**0.5 - 0.00005**0.5)
    assert sex["standardised"] is False
    assert (sex["p_holm"], sex["no_wider"]) == (0.03, False)
    assert "between" not in summary["disparity"]["religion"]


def test_the_certainty_of_targets_is_a_ceiling_only_where_their_respondents_were_not_seen(made_up_run):
    folder = made_up_run()
    metrics = pd.read_parquet(folder / "tables" / "metrics.parquet")
    national = (metrics["model"] == "national_mode") & (metrics["group"] == "all") & (metrics["metric"] == "accuracy")
    pd.concat([metrics, metrics[national].assign(model="ceiling", value=0.8)]).to_parquet(folder / "tables" / "metrics.parquet")
    facts = json.loads((folder / "manifest.json").read_text())
    kept, disjoint = (
        write_summary(folder, Facts(facts["study_name"], facts["run_id"], facts["survey"], {}, {}, overlap=overlap))
        for overlap in ("keep", "disjoint")
    )
    assert kept["ceiling"] is None and kept["target_certainty"]["ood_test"]["value"] == 0.8
    assert disjoint["ceiling"]["ood_test"]["value"] == 0.8


def test_what_the_tables_say_of_words_readers_judge_and_server_is_in_the_summary(made_up_run):
    folder = made_up_run()
    summary = add_evidence(folder)
    assert summary == summary_of(folder)
    assert summary["robustness"][1] | {"spearman": None, "change": -0.05} == summary["robustness"][1]  # what is no number is null
    assert summary["agreement"][0]["unread_other"] == 4
    assert summary["judge"]["kappa"] == 0.7 and summary["judge"]["usable"] and summary["judge"]["by"][2]["bias"] == -0.12
    assert summary["server"]["failed_attempts"] == {"HTTP 429": 3}
    assert summary["server"]["spent"]["requests"] == 240 and list(summary["server"]["steps"]) == ["calibration", "test_pairs"]
    assert summary["answers"]["base"] == {
        "answers": summary["pairs"]["id_test"] + summary["pairs"]["ood_test"],
        "outside": pytest.approx(0.4),
        "unread": 0,
        "precision": ["float32"],
    }


def test_free_answers_are_scored_on_the_same_pairs_as_the_usual_ones(made_up_run):
    folder = made_up_run()
    found = add_evidence(folder)["tuned"]["open_ended"]
    pairs = pd.read_parquet(folder / "tables" / "pairs.parquet").set_index(["item", "subgroup_id", "split"])["code"]
    judged = pd.read_parquet(folder / "predictions" / "tuned_open_ended.parquet").set_index(["item", "subgroup_id", "split"])["choice"]
    targets = pairs.loc[judged.index]
    assert found["accuracy"]["value"] == pytest.approx((judged == targets).mean())
    assert found["accuracy_with_options"]["value"] == pytest.approx((targets == 2).mean())  # the usual choice is always 2
    assert found["accuracy"]["low"] <= found["accuracy"]["value"] <= found["accuracy"]["high"]
    assert (found["pairs"], found["none"], found["names_option"]) == (len(judged), (judged == -1).sum(), 1)


def test_the_landscape_of_the_summary_has_intervals_and_what_sampling_alone_gives(made_up_run):
    folder = made_up_run()
    path = folder / "tables" / "landscape.parquet"
    scored = pd.read_parquet(path).assign(mds_expected=0.3, low=0.2, high=0.4, mds_sampling=0.1)
    scored.to_parquet(path)
    numbers = {"questions": 2, "mds": 0.35, "mds_expected": 0.3, "low": 0.25, "high": 0.36, "mds_sampling": 0.1}
    places = [("All topics", "sex"), ("All topics", "all"), ("Trust", "sex"), ("Trust", "all")]
    pd.DataFrame([{"topic": topic, "dimension": name, **numbers} for topic, name in places]).to_parquet(
        folder / "tables" / "landscape_topics.parquet"
    )
    found = resummarised(folder)["landscape"]
    whole = scored[scored["dimension"] == "all"]
    interval = {"value": 0.35, "expected": 0.3, "low": 0.25, "high": 0.36, "sampling": 0.1}
    assert found["dimensions"] == {"sex": interval, "all": interval}
    assert found["topics"] == {"Trust": interval | {"questions": 2}}
    assert found["most_contested"][0]["value"] == whole["mds"].max() and found["least_contested"][0]["value"] == whole["mds"].min()
    assert found["most_contested"][0] | {"low": 0.2, "high": 0.4, "sampling": 0.1} == found["most_contested"][0]
