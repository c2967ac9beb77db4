"""The whole measuring step on the sample survey's pairs and the baselines' predictions of them."""

import numpy as np
import pytest

from tasks.evaluation.baselines import score_baselines
from tasks.evaluation.microdata import read_microdata
from tasks.evaluation.predictions import write_predictions
from tasks.fairness.metrics import write_metrics
from tasks.fairness.plan import Plan, plan_of
from tasks.files import FileSet
from tasks.intake.ingest import read_report
from tasks.prompting.pairs import build_pairs
from tasks.study import Study, load_study

PLAN = Plan(replicates=200)


@pytest.fixture(scope="module")
def measured(staged_sample: FileSet, sample_marts: FileSet, sample_study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    folder = tmp_path_factory.mktemp("measured")
    pairs = build_pairs(sample_marts, sample_study, populations=read_report(staged_sample)["populations"], folder=folder)
    tables = (pairs.read("pairs"), sample_marts.read("subgroups"), sample_marts.read("items"))
    baselines = score_baselines(*tables, study=sample_study, microdata=read_microdata(staged_sample, sample_marts, sample_study))
    # The additive baseline stands in for a tuned model, the country's mode for its base.
    models = {"tuned": "additive", "base": "national_mode"}
    stand_ins = [baselines[baselines["model"] == name].assign(model=model, reader="likelihood") for model, name in models.items()]
    written = [write_predictions(rows, name=f"p{place}", folder=folder) for place, rows in enumerate([baselines, *stand_ins])]
    return write_metrics(pairs, sample_marts, written, plan=PLAN, folder=folder)


def test_every_number_that_a_report_needs_is_there(measured: FileSet) -> None:
    metrics = measured.read("metrics")
    whole = metrics[(metrics["dimension"] == "all") & (metrics["weighting"] == "pairs") & (metrics["split"] == "ood_test")]
    found = whole.set_index(["model", "metric"])["value"]
    assert found["tuned", "accuracy"] == found["additive", "accuracy"]
    assert found["tuned-base", "accuracy"] == pytest.approx(found["additive", "accuracy"] - found["national_mode", "accuracy"])
    gained = (found["additive", "accuracy"] - found["national_mode", "accuracy"]) / (1 - found["national_mode", "accuracy"])
    assert found["tuned", "skill_national_mode"] == pytest.approx(gained)
    assert 0.5 < found["ceiling", "accuracy"] < 1
    for name in ("parent_mode", "additive_micro", "nearest_subgroup", "chance"):
        gained = (found["tuned", "accuracy"] - found[name, "accuracy"]) / (1 - found[name, "accuracy"])
        assert found["tuned", f"skill_{name}"] == pytest.approx(gained)
        left = found["ceiling", "accuracy"] - found[name, "accuracy"]
        assert (("tuned", f"skill_{name}_to_ceiling") in found) == (left >= 0.02)
        if left >= 0.02:
            assert found["tuned", f"skill_{name}_to_ceiling"] == pytest.approx((found["tuned", "accuracy"] - found[name, "accuracy"]) / left)
    bounded = whole[(whole["model"] == "tuned") & whole["metric"].str.startswith("skill_")].set_index("metric")
    assert not np.isnan(bounded.loc["skill_chance", "low"]) and not np.isnan(bounded.loc["skill_chance_to_ceiling", "low"])
    assert ("tuned", "skill_chance_to_ceiling") in found and ("tuned", "skill_additive_micro_to_ceiling") not in found
    assert found["tuned", "equivalent_n"] > found["base", "equivalent_n"] > 0
    assert found["tuned", "accuracy_certain"] > found["tuned", "accuracy"]
    assert found["base", "accuracy_differs"] == 0  # by its definition: those pairs' targets are not the country's mode


def test_every_value_lies_in_its_interval_and_every_key_is_there_once(measured: FileSet) -> None:
    metrics, disparities = measured.read("metrics"), measured.read("disparities")
    key = ["model", "split", "reader", "variant", "weighting", "dimension"]
    assert not metrics.duplicated([*key, "group", "metric"]).any()
    assert not disparities.duplicated([*key, "metric"]).any()
    bounded = metrics.dropna(subset=["low", "high"])
    assert len(bounded) > 1000
    assert ((bounded["low"] <= bounded["value"] + 1e-9) & (bounded["value"] <= bounded["high"] + 1e-9)).mean() > 0.99
    assert (disparities["low"].dropna() <= disparities["high"].dropna()).all()


def test_changes_on_unseen_subgroups_are_one_family(measured: FileSet) -> None:
    disparities = measured.read("disparities")
    family = disparities[disparities["p_holm"].notna()]
    assert set(family["model"]) == {"tuned-base"} and set(family["split"]) == {"ood_test"} and set(family["weighting"]) == {"standardised"}
    assert len(family) == 3 * family["dimension"].nunique() >= 9


def test_a_study_says_how_uncertainty_is_computed() -> None:
    study = load_study("sample", overrides=["fairness.margin=0.03", "fairness.replicates=500"])
    assert plan_of(study) == Plan(replicates=500, margin=0.03, seed=study.seed)
