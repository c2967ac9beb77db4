"""The overlap audit: against a computation from respondents in pandas, and where the answer is known beforehand."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.evaluation.baselines import score_baselines
from tasks.evaluation.predictions import predictions_frame, write_predictions
from tasks.fairness.kin import kin_of
from tasks.fairness.overlap import Tables, as_metrics, audit, write_overlap
from tasks.fairness.plan import Plan
from tasks.fairness.replications import compare
from tasks.files import FileSet
from tasks.prompting.pairs import build_pairs
from tasks.study import Study, load_study
from tasks.study_split import SplitSection
from tasks.subgroups.marts import build_marts
from tasks.warehouse import database
from tests.subgroups.test_build_marts import LEVELS, SCALES, RandomSurvey

PLAN = Plan(replicates=200)
STUDY = load_study("sample")
KEEP, DISJOINT = SplitSection(), SplitSection(overlap="disjoint")
POPULATIONS = [{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020}]
CELL = ["item", "subgroup_id"]
ITEMS = [f"Q{number}" for number in range(40)]
UNSEEN = "sex=F|age=old"


# Where the answer is known


def made_up_tables(national: np.ndarray, cells: dict[str, np.ndarray], *, parents: dict[str, np.ndarray]) -> Tables:
    """One unseen cell, its two parents and everybody: shares by half [questions, options] of each; everybody's are the same in both halves."""
    shares = {"all": dict.fromkeys("AB", national), UNSEEN: cells, "sex=F": parents, "age=old": dict.fromkeys("AB", national)}
    rows = [
        (half, item, name, code, code, of_half[half][place, code])
        for name, of_half in shares.items()
        for half in "AB"
        for place, item in enumerate(ITEMS)
        for code in range(national.shape[1])
    ]
    half_distributions = pd.DataFrame(rows, columns=["half", *CELL, "code", "position", "share"])
    half_targets = modes(half_distributions, ["half", *CELL])
    distributions = half_distributions.groupby([*CELL, "code", "position"], as_index=False)["share"].mean()
    lists = distributions.groupby(CELL).agg(codes=("code", np.array), shares=("share", np.array)).reset_index()
    asked = modes(distributions, CELL).merge(lists, on=CELL).assign(topic="Trust", respondents=80, mode_certainty=0.9)
    asked["split"] = np.where(asked["subgroup_id"] == UNSEEN, "ood_test", "train")
    asked["subgroup_order"] = asked["subgroup_id"].map({"all": 0, "sex=F": 1, "age=old": 1, UNSEEN: 2})
    subgroups = pd.DataFrame({"subgroup_id": list(shares), "parents": [[], ["sex=F", "age=old"], ["all"], ["all"]], "respondents": 160})
    traits = [[trait.split("=") for trait in name.split("|")] if "=" in name else [] for name in shares]
    subgroups["dimensions"], subgroups["levels"] = ([[trait[place] for trait in held] for held in traits] for place in (0, 1))
    subgroups["unseen"], subgroups["subgroup_order"] = False, [len(held) for held in traits]
    subgroups["dimension"] = [" x ".join(held) or "all" for held in subgroups["dimensions"]]
    items = pd.DataFrame({"item": ITEMS, "topic": "Trust", "question": [f"Question {item}" for item in ITEMS], "scale": "ordinal", "k": 4})
    return Tables(asked, distributions, modes(distributions, CELL), half_distributions, half_targets, subgroups, items)


def modes(shares: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    top = shares.loc[shares.groupby(keys)["share"].idxmax(), [*keys, "code"]].reset_index(drop=True)
    return top.assign(tied_codes=[np.array([code]) for code in top["code"]])


def audited(tables: Tables, *, split: SplitSection = KEEP, predictions: pd.DataFrame | None = None) -> pd.Series:
    kin = pd.DataFrame({"subgroup_id": [UNSEEN], "third": [None]})
    asked = score_baselines(tables.asked, tables.subgroups, tables.items, study=STUDY) if predictions is None else predictions
    found = audit(tables, asked, kin, study=STUDY.model_copy(update={"split": split}), plan=PLAN)
    return found.query("group == 'all'").set_index(["model", "targets"])["value"]


def drawn(generator: np.random.Generator, truth: np.ndarray, respondents: int) -> dict[str, np.ndarray]:
    return {half: generator.multinomial(respondents, truth) / respondents for half in "AB"}


@pytest.fixture
def known() -> pd.Series:
    """A cell of 20 respondents in each half, in a huge country; one of its parents is the cell itself, the other is the country."""
    generator = np.random.default_rng(5)
    national = generator.dirichlet(np.full(4, 2.0), size=len(ITEMS))
    cell = drawn(generator, national, 20)
    return audited(
        made_up_tables(national, cell, parents={half: 0.4 * shares + 0.6 * np.eye(4)[shares.argmax(axis=1)] for half, shares in cell.items()})
    )


def test_the_national_mode_of_a_huge_survey_owes_nothing_to_overlap(known: pd.Series) -> None:
    assert known["national_mode", "effect"] == 0
    assert known["national_mode", "same"] == known["national_mode", "other"] > 0.5


def test_a_parent_that_is_the_cell_itself_owes_to_overlap_all_that_a_fresh_survey_lacks(known: pd.Series) -> None:
    assert known["parent_mode", "same"] == 1
    assert known["parent_mode", "other"] == known["fresh_cell", "other"] < 0.9
    assert known["parent_mode", "effect"] == pytest.approx(1 - known["fresh_cell", "other"])


def test_a_model_is_tested_on_both_halves_only_where_it_learned_from_one() -> None:
    generator = np.random.default_rng(6)
    national = generator.dirichlet(np.ones(4), size=len(ITEMS))
    tables = made_up_tables(national, drawn(generator, national, 20), parents=dict.fromkeys("AB", national))
    half = {name: rows[rows["subgroup_id"] == UNSEEN] for name, rows in tables.half_targets.groupby("half")}
    test = tables.asked[tables.asked["split"] == "ood_test"]
    learned = predictions_frame(test, list(np.eye(4)[half["A"]["code"].to_numpy()]), model="tuned", reader="likelihood")
    everything = pd.concat([score_baselines(tables.asked, tables.subgroups, tables.items, study=STUDY), learned], ignore_index=True)
    assert set(audited(tables, predictions=everything)["tuned"].index) == {"study"}
    agree = float((half["A"]["code"].to_numpy() == half["B"]["code"].to_numpy()).mean())
    found = audited(tables, split=DISJOINT, predictions=everything)["tuned"]
    assert (found["same"], found["other"], found["effect"]) == (1, pytest.approx(agree), pytest.approx(1 - agree))
    swapped = audited(tables, split=SplitSection(overlap="disjoint", swapped=True), predictions=everything)["tuned"]
    assert (swapped["same"], swapped["other"]) == (pytest.approx(agree), 1)


def test_a_guess_scores_what_it_can_expect_as_in_the_metrics() -> None:
    generator = np.random.default_rng(7)
    national = generator.dirichlet(np.ones(4), size=len(ITEMS))
    tables = made_up_tables(national, drawn(generator, national, 20), parents=dict.fromkeys("AB", national))
    baselines = score_baselines(tables.asked, tables.subgroups, tables.items, study=STUDY)
    assert audited(tables, predictions=baselines)["chance"]["study"] == pytest.approx(0.25)


def test_replications_average_over_swapped_halves() -> None:
    row = {"model": "tuned", "reader": "likelihood", "targets": "effect", "group": "all", "low": np.nan, "high": np.nan, "pairs": 9, "directions": 1}
    rows = compare([as_metrics(pd.DataFrame([row | {"value": value}])) for value in (0.04, 0.08)])
    assert (rows["metric"].tolist(), rows["value"].tolist(), rows["split"].tolist()) == (["overlap_effect"], [pytest.approx(0.06)], ["ood_test"])


# Against respondents


@pytest.fixture(scope="module")
def survey() -> RandomSurvey:
    return RandomSurvey(3)


def study_of(sample_study: Study, **split: Any) -> Study:
    dimensions = {name: {"column": "Q260", "persona": "{level}"} for name in LEVELS}
    smaller = {"items": {}, "subgroups": {"minimum_respondents": 24}, "split": split, "dimensions": dimensions}
    return Study.model_validate(sample_study.model_dump() | smaller)


@pytest.fixture(scope="module")
def staged(survey: RandomSurvey, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return survey.staged(tmp_path_factory.mktemp("random"))


def halves_of(staged: FileSet, seed: int) -> np.ndarray:
    """A or B of r0, r1, ..."""
    with database.connect(attach={"survey": staged.only()}) as connection:
        connection.execute("set search_path = 'memory,survey'")
        database.build(connection, "marts/halves", seed=str(seed))
        halves = connection.execute("select respondent_id, half from halves").df()
    return halves.sort_values("respondent_id", key=lambda names: names.str[1:].astype(int))["half"].to_numpy()


def shares_of(survey: RandomSurvey, item: str, inside: np.ndarray) -> np.ndarray:
    rows = pd.DataFrame({"code": survey.answers[item], "weight": survey.weights})[inside].dropna()
    sums = rows.groupby("code")["weight"].sum().reindex(SCALES[item], fill_value=0.0)
    return (sums / sums.sum()).to_numpy()


def clearer(parents: list[np.ndarray]) -> np.ndarray:
    return max(parents, key=lambda shares: float(np.diff(np.sort(shares)[-2:])[0]))


def test_the_audit_equals_a_computation_from_respondents(survey: RandomSurvey, staged: FileSet, sample_study: Study, tmp_path: Path) -> None:
    """id_test takes a parent's cell here and there: those cells are not in the comparison, whose rules are kept simple."""
    study = study_of(sample_study, held_out=0.5, id_test=1e-6, validation=1e-6)
    marts = build_marts(staged, study, folder=tmp_path)
    pairs = build_pairs(marts, study, populations=POPULATIONS, folder=tmp_path)
    said = score_baselines(pairs.read("pairs"), marts.read("subgroups"), marts.read("items"), study=study)
    predictions = write_predictions(said, name="baselines", folder=tmp_path)
    made = write_overlap(pairs, marts, [predictions], study=study, plan=PLAN, folder=tmp_path).read("overlap")
    asked, halves = pairs.read("pairs"), halves_of(staged, study.seed)
    right: dict[str, list[bool]] = {}
    for item, name in asked.loc[asked["split"] == "ood_test", CELL].itertuples(index=False):
        traits = parsed(name)
        answered = np.array([code is not None for code in survey.answers[item]])
        members = survey.members(traits) & answered
        if min((members & (halves == half)).sum() for half in "AB") < 12:
            continue
        for learned, other in itertools.permutations("AB"):
            part = {half: halves == half for half in "AB"}
            parents = [shares_of(survey, item, survey.members({dimension: level}) & part[learned]) for dimension, level in traits.items()]
            whole = shares_of(survey, item, part[learned])
            choices = {
                "national_mode": whole.argmax(),
                "parent_mode": clearer(parents).argmax(),
                "additive": (np.prod(parents, axis=0) / whole).argmax(),
                "fresh_cell": shares_of(survey, item, members & part[learned]).argmax(),
            }
            for model, choice in choices.items():
                for targets, half in (("same", learned), ("other", other)):
                    right.setdefault(f"{model} {targets}", []).append(choice == shares_of(survey, item, members & part[half]).argmax())
    found = made.query("group == 'all'").set_index(["model", "targets"])
    assert len(right["additive other"]) > 60
    for name, hits in right.items():
        if name != "fresh_cell same":
            assert found.loc[tuple(name.split()), ["value", "pairs"]].tolist() == [pytest.approx(np.mean(hits), abs=1e-12), len(hits) // 2], name


def parsed(name: str) -> dict[str, str]:
    """`Other's | =` is a level, too."""
    levels = itertools.chain.from_iterable(((dimension, level) for level in named) for dimension, named in LEVELS.items())
    return {dimension: level for dimension, level in levels if f"|{dimension}={level}|" in f"|{name}|"}


def test_training_and_testing_a_half_each_shows_in_every_pair(staged: FileSet, sample_study: Study, tmp_path: Path) -> None:
    """Trained cells have half A's answers, tested ones half B's, swapped the other way round; and each half has the minimum."""
    for swapped in (False, True):
        study = study_of(sample_study, overlap="disjoint", swapped=swapped)
        marts = build_marts(staged, study, folder=tmp_path / str(swapped))
        pairs = build_pairs(marts, study, populations=POPULATIONS, folder=tmp_path / str(swapped)).read("pairs")
        halves = marts.read("half_targets", under="halves").set_index([*CELL, "half"])
        assert halves["respondents"].min() >= 24 and set(pairs["split"]) == {"train", "validation", "id_test", "ood_test"}
        for row in pairs.to_dict("records"):
            half = "AB"[row["split"].endswith("_test") != swapped]
            known = halves.loc[(row["item"], row["subgroup_id"], half)]
            assert (row["code"], row["respondents"], row["margin"]) == (known["code"], known["respondents"], known["margin"])
            assert row["shares"].max() == pytest.approx(known["share"])


# How near


def test_the_nearest_trained_subgroup_is_the_one_that_shares_most_respondents_and_ancestors_are_not_another() -> None:
    cells = [("all", 0, "train"), ("a=1", 1, "train"), ("b=1", 1, "train"), ("c=1", 1, "id_test"), ("c=1", 1, "train"), ("a=1|b=1", 2, "ood_test")]
    asked = pd.DataFrame(cells, columns=["subgroup_id", "subgroup_order", "split"])
    asked = asked.assign(item=["Q1", "Q1", "Q1", "Q1", "Q2", "Q1"], respondents=50)
    subgroups = pd.DataFrame(
        {"subgroup_id": ["all", "a=1", "b=1", "c=1", "a=1|b=1"], "parents": [[], ["all"], ["all"], ["all"], ["a=1", "b=1"]], "respondents": 60}
    )
    kinship = pd.DataFrame(
        [("a=1|b=1", "a=1", 1.0, 0.25), ("a=1", "a=1|b=1", 0.25, 0.25), ("a=1|b=1", "b=1", 1.0, 0.2), ("b=1", "a=1|b=1", 0.2, 0.2),
         ("a=1|b=1", "c=1", 0.9, 0.4), ("c=1", "a=1|b=1", 0.42, 0.4), ("a=1|b=1", "all", 1.0, 0.9)],
        columns=["subgroup_id", "other_id", "part", "jaccard"],
    )  # fmt: skip
    row = kin_of(asked, subgroups, kinship, section=KEEP).iloc[0]
    assert (row["nearest"], row["distance"], row["in_another"]) == ("c=1", 0.6, 0.9)
    assert (row["in_trained_parents"], row["part_of_parent"]) == (1.0, 0.25) and pd.isna(row["third"])
    assert kin_of(asked, subgroups, kinship, section=DISJOINT).iloc[0]["in_trained_parents"] == 0
    untrained = asked.assign(split=asked["split"].where(asked["item"] != "Q1", "ood_test"))
    held_out = kin_of(untrained[untrained["subgroup_id"] != "all"], subgroups, kinship, section=SplitSection(kind="unseen_question"))
    of = held_out.set_index("subgroup_id")
    assert of["in_trained_parents"].max() == 0 and of.loc["c=1", ["nearest", "distance"]].tolist() == ["c=1", 0.0]
