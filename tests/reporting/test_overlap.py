"""The section on overlap and distance: what it says of an invented audit, and of a run that has none."""

import json

import pandas as pd
import pytest

from tasks.reporting import charts
from tasks.reporting.report import write_report
from tasks.reporting.summary import Facts, write_summary
from tests.reporting.test_report import Page


@pytest.fixture(autouse=True)
def undrawn(monkeypatch):
    monkeypatch.setattr(charts, "draw", lambda chart, **_: "")


def page_of(folder):
    return Page(write_report(folder).read_text(encoding="utf-8"))


def with_audit(folder):
    """The made-up run with an invented audit: a model that learned from one half, and baselines that learned from each in turn."""
    rows = [
        {
            "model": model,
            "reader": "table",
            "targets": targets,
            "group": group,
            "value": value,
            "low": value - 0.02,
            "high": value + 0.02,
            "pairs": 90,
        }
        | {"directions": 1 if model == "tuned" or targets == "study" else 2}
        for model, same, other in (("tuned", 0.66, 0.61), ("additive", 0.87, 0.79), ("national_mode", 0.78, 0.78))
        for group in ("all", "near", "middle", "far")
        for targets, value in (("study", same), ("same", same), ("other", other), ("effect", same - other))
    ]
    kin = {"subgroup_id": ["a", "b"], "pairs": [10, 30], "in_trained_parents": [1.0, 1.0], "part_of_parent": [0.2, 0.6], "distance": [0.5, 0.9]}
    pd.DataFrame(rows).to_parquet(folder / "tables" / "overlap.parquet")
    pd.DataFrame(kin).to_parquet(folder / "tables" / "overlap_subgroups.parquet")
    facts = json.loads((folder / "manifest.json").read_text())
    return write_summary(folder, Facts(facts["study_name"], facts["run_id"], facts["survey"], {}, {"passed": 1, "failed": 0}))


def test_the_overlap_s_effect_and_the_distances_are_shown_and_what_was_not_swapped_is_said(made_up_run):
    folder = made_up_run()
    summary = with_audit(folder)["overlap"]
    assert summary["accuracy"]["additive"]["effect"] == {"value": pytest.approx(0.08), "low": pytest.approx(0.06), "high": pytest.approx(0.1)}
    assert (summary["in_trained_parents"], summary["part_of_parent"], summary["swapped"]) == (
        1.0, pytest.approx(0.5), {"tuned": False, "additive": True, "national_mode": True}
    )  # fmt: skip
    text = page_of(folder).text
    assert "100.0% of the respondents behind the tested answers also count in trained answers of a parent" in text
    assert "+8.0 (+6.0 to +10.0)" in text and "Near" in text
    assert "not swapped and averaged within this table: Tuned model (replications: 2 would swap the halves)" in text


def test_replications_of_swapped_halves_are_in_the_summary(made_up_run):
    folder = made_up_run()
    row = {"model": "tuned", "split": "ood_test", "reader": "table", "variant": "plain", "weighting": "pairs", "dimension": "all"}
    row |= {"metric": "overlap_effect", "replications": 2, "value": 0.06, "sd": 0.01, "low": 0.01, "high": 0.11}
    pd.DataFrame([row]).to_parquet(folder / "tables" / "replications.parquet")
    assert with_audit(folder)["overlap"]["over_replications"] == {"tuned": {"effect": {"value": 0.06, "low": 0.01, "high": 0.11}}}
    assert "over the replications, which swap the halves, see summary.json" in page_of(folder).text


def test_a_run_without_an_audit_says_so(made_up_run):
    assert "This run has no audit of the overlap between trained and tested respondents." in page_of(made_up_run()).text
