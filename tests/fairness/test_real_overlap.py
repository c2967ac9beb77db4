"""The overlap audit on the real wave-7 file of the United States: make test-real FILE=... COUNTRY=USA. Skipped for other files, and without one.

An earlier computation on this file, with other code and other random halves, is reproduced: within 0.5 points where all respondents count in what is
learned and in what is tested, within 1.5 where they are disjoint.
"""

import os
from pathlib import Path

import pytest

from tasks.evaluation.baselines import score_baselines
from tasks.evaluation.predictions import write_predictions
from tasks.fairness.overlap import write_overlap
from tasks.fairness.plan import Plan
from tasks.intake.ingest import ingest, read_report
from tasks.prompting.pairs import build_pairs
from tasks.study import load_study
from tasks.subgroups.marts import build_marts

FILE = os.environ.get("VALUESCAPE_REAL_FILE", "")
PUBLISHED = {
    "study": {"national_mode": 0.815, "parent_mode": 0.870, "additive": 0.895},
    "other": {"national_mode": 0.779, "parent_mode": 0.797, "additive": 0.786, "fresh_cell": 0.764},
}
WITHIN = {"study": 0.005, "other": 0.015}
EVERY_INTERSECTION = [
    "items.limit=null", "items.kinds=[attitude, behaviour, experience, knowledge]", "split.held_out=0.999", "split.id_test=1.0e-9",
    "split.validation=1.0e-9",
]  # fmt: skip


@pytest.mark.skipif(not FILE or os.environ.get("VALUESCAPE_REAL_COUNTRY") != "USA", reason="needs VALUESCAPE_REAL_FILE, and its country USA")
def test_the_published_table_of_the_united_states_is_reproduced(tmp_path: Path) -> None:
    study = load_study("country", overrides=[f"survey.file={FILE}", "survey.country=USA", *EVERY_INTERSECTION])
    staged = ingest(Path(FILE), section=study.survey, dimensions=study.dimensions, folder=tmp_path)
    populations = read_report(staged)["populations"]
    if [population["wave"] for population in populations] != [7]:
        pytest.skip("the table is of the United States, wave 7")
    marts = build_marts(staged, study, folder=tmp_path)
    pairs = build_pairs(marts, study, populations=populations, folder=tmp_path)
    said = score_baselines(pairs.read("pairs"), marts.read("subgroups"), marts.read("items"), study=study)
    predictions = write_predictions(said, name="baselines", folder=tmp_path)
    audit = write_overlap(pairs, marts, [predictions], study=study, plan=Plan(replicates=200), folder=tmp_path).read("overlap")
    found = audit[audit["group"] == "all"].set_index(["targets", "model"])["value"]
    for targets, published in PUBLISHED.items():
        for model, accuracy in published.items():
            assert found[targets, model] == pytest.approx(accuracy, abs=WITHIN[targets]), (targets, model)
