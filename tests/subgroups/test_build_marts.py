"""All marts of a survey at once: against an independent computation, against the truth behind the synthetic survey, and bit for bit."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.files import FileSet, file_set
from tasks.intake.ingest import ingest
from tasks.intake.synthetic import FILE_NAME, true_distribution
from tasks.study import Study
from tasks.subgroups.marts import HALF_TABLES, TABLES, build_marts
from tasks.warehouse import database

LEVELS = {"sex": ("Female", "Male"), "age": ("16-24", "25-64", "65+"), "faith": ("None", "Other's | =", "Muslim")}
SCALES = {"Q1": (1, 2, 3, 4), "Q2": (1, 3, 2), "Q48": tuple(range(1, 11)), "Q99": (1, 0)}
FAMILY_WISE_LEVEL = 0.01  # chance that a correct survey fails over all its shares
JOINED_LEVELS = {"Other": "Other|Jew"}  # as the study joins them


class RandomSurvey:
    """600 invented respondents: skewed weights, traits that some lack, answers that some did not give."""

    def __init__(self, seed: int) -> None:
        generator = np.random.default_rng(seed)
        people = 600
        self.weights = generator.lognormal(0, 0.8, people)
        self.traits = {name: np.where(generator.random(people) < 0.1, None, generator.choice(levels, people)) for name, levels in LEVELS.items()}
        odds = {item: generator.dirichlet(np.ones(len(codes))) for item, codes in SCALES.items()}
        self.answers = {
            item: np.where(generator.random(people) < 0.2, None, generator.choice(np.array(codes, dtype=object), people, p=odds[item]))
            for item, codes in SCALES.items()
        }

    def staged(self, folder: Path) -> FileSet:
        names = [f"r{place}" for place in range(len(self.weights))]
        items = [(place, item, "Trust", "attitude", "ordinal", f"{item}?", len(codes)) for place, (item, codes) in enumerate(SCALES.items())]
        options = [(item, code, place, f"option {code}") for item, codes in SCALES.items() for place, code in enumerate(codes)]
        answers = [
            (name, item, code, None if code is not None else "no_answer")
            for item, codes in self.answers.items()
            for name, code in zip(names, codes, strict=True)
        ]
        with database.connect(folder / "survey.duckdb") as connection:
            for table, rows, columns in (
                ("items", items, "item_order item topic kind scale question k"),
                ("options", options, "item code position wording"),
                ("stg_answers", answers, "respondent_id item code missing"),
                ("people", list(zip(names, self.weights, *self.traits.values(), strict=True)), f"respondent_id weight {' '.join(LEVELS)}"),
            ):
                database.load(connection, table, pd.DataFrame(rows, columns=columns.split()))
            connection.execute(
                "create table stg_respondents as select respondent_id, 'SGP' as country, 7 as wave, weight, map_from_entries(list_filter("
                "[row('sex', sex), row('age', age), row('faith', faith)], lambda entry: entry[2] is not null)) as traits from people"
            )
        return file_set(folder, ["survey.duckdb"])

    def members(self, traits: dict[str, str]) -> np.ndarray:
        inside = np.ones(len(self.weights), dtype=bool)
        for dimension, level in traits.items():
            inside &= self.traits[dimension] == level
        return inside

    def cells(self, minimum: int) -> dict[tuple[str, str], dict[str, Any]]:
        """item, subgroup -> shares by code, n and effective n of every cell with enough valid answers."""
        subgroups = {"all": {}} | {f"{name}={level}": {name: level} for name in LEVELS for level in LEVELS[name]}
        for one, other in itertools.combinations(LEVELS, 2):
            subgroups |= {f"{one}={a}|{other}={b}": {one: a, other: b} for a, b in itertools.product(LEVELS[one], LEVELS[other])}
        found = {}
        for (name, traits), item in itertools.product(subgroups.items(), SCALES):
            rows = pd.DataFrame({"code": self.answers[item], "weight": self.weights})[self.members(traits)].dropna()
            if len(rows) >= minimum:
                sums = rows.groupby("code")["weight"].sum().reindex(SCALES[item], fill_value=0.0)
                found[(item, name)] = {
                    "shares": sums / sums.sum(),
                    "n": len(rows),
                    "effective_n": rows["weight"].sum() ** 2 / (rows["weight"] ** 2).sum(),
                }
        return found


@pytest.fixture(scope="module")
def random_study(sample_study: Study) -> Study:
    dimensions = {name: {"column": "Q260", "persona": "{level}"} for name in LEVELS}
    return Study.model_validate(sample_study.model_dump() | {"dimensions": dimensions, "items": {}, "subgroups": {"minimum_respondents": 40}})


@pytest.mark.parametrize("seed", range(3))
def test_weighted_distributions_equal_an_independent_computation_to_1e_12(random_study: Study, tmp_path: Path, seed: int) -> None:
    survey = RandomSurvey(seed)
    found = build_marts(survey.staged(tmp_path), random_study, folder=tmp_path).read("distributions")
    expected = survey.cells(minimum=40)
    assert set(zip(found["item"], found["subgroup_id"], strict=True)) == set(expected)
    for cell, rows in found.groupby(["item", "subgroup_id"]):
        item, subgroup = cell
        known = expected[(str(item), str(subgroup))]
        assert rows["code"].tolist() == list(SCALES[str(item)])
        assert rows["position"].tolist() == list(range(len(rows)))
        assert rows["share"].to_numpy() == pytest.approx(known["shares"].to_numpy(), abs=1e-12)
        assert set(rows["respondents"]) == {known["n"]}
        assert rows["effective_n"].to_numpy() == pytest.approx(known["effective_n"], rel=1e-12)


def test_equal_surveys_give_equal_files_to_the_byte(staged_sample: FileSet, sample_marts: FileSet, sample_study: Study, tmp_path: Path) -> None:
    again = build_marts(staged_sample, sample_study, folder=tmp_path / "again")
    rebuilt = ingest(staged_sample.path(FILE_NAME), section=sample_study.survey, dimensions=sample_study.dimensions, folder=tmp_path / "rebuilt")
    from_rebuilt = build_marts(rebuilt, sample_study, folder=tmp_path / "marts")
    assert again.folder != sample_marts.folder
    assert again.content_key == from_rebuilt.content_key == sample_marts.content_key


def test_staged_rows_are_ordered_so_that_sums_of_weights_do_not_depend_on_threads(staged_sample: FileSet) -> None:
    survey = next(staged_sample.path(name) for name in staged_sample.files if name.endswith(".duckdb"))
    with database.connect(survey, read_only=True) as connection:
        for table, key in (("stg_answers", "respondent_id, item"), ("stg_respondents", "respondent_id")):
            rows = connection.execute(f"select {key} from {table}").fetchall()
            assert rows == sorted(rows), table


def test_the_study_s_questions_and_no_others_are_in_every_table(sample_marts: FileSet, sample_study: Study) -> None:
    asked = set(sample_marts.read("items")["item"])
    assert len(asked) == sample_study.items.limit
    for table in ("options", "distributions", "targets", "landscape"):
        assert set(sample_marts.read(table)["item"]) == asked, table
    assert set(sample_marts.rows) == {*TABLES, *HALF_TABLES}


def test_every_parent_of_a_subgroup_and_every_parent_s_cell_exists(sample_marts: FileSet) -> None:
    """Baselines read a parent's answer to the same question; a subgroup's respondents are also its parents'."""
    subgroups, targets = sample_marts.read("subgroups"), sample_marts.read("targets")
    parents = dict(zip(subgroups["subgroup_id"], subgroups["parents"], strict=True))
    assert {len(parents[name]) for name in parents} == {0, 1, 2}
    assert {parent for names in parents.values() for parent in names} <= set(parents)
    cells = set(zip(targets["item"], targets["subgroup_id"], strict=True))
    assert {(item, parent) for item, name in cells for parent in parents[name]} <= cells


def test_no_table_that_leaves_the_survey_has_a_respondent_in_it(sample_marts: FileSet) -> None:
    for table in TABLES:
        frame = sample_marts.read(table)
        assert "respondent_id" not in frame.columns
        if "respondents" in frame.columns:
            assert frame["respondents"].min() >= 30, table


def true_shares(marts: FileSet) -> pd.DataFrame:
    """distributions with `truth`: the share that the model behind the synthetic survey has."""
    subgroups = marts.read("subgroups").set_index("subgroup_id")
    traits = {
        name: {dimension: JOINED_LEVELS.get(level, level) for dimension, level in zip(row["dimensions"], row["levels"], strict=True)}
        for name, row in subgroups.iterrows()
    }
    shares, targets = marts.read("distributions"), marts.read("targets")
    truth = {cell: true_distribution(cell[0], traits[cell[1]]) for cell in zip(targets["item"], targets["subgroup_id"], strict=True)}
    return shares.assign(truth=[truth[row["item"], row["subgroup_id"]][row["code"]] for row in shares.to_dict("records")])


def test_subgroup_shares_are_within_sampling_error_of_the_truth(sample_marts: FileSet) -> None:
    """Hoeffding's bound for weighted answers, at a family-wise level; and the errors are as large as sampling makes them, no larger."""
    shares = true_shares(sample_marts)
    bound = np.sqrt(np.log(2 * len(shares) / FAMILY_WISE_LEVEL) / (2 * shares["effective_n"]))
    errors = shares["share"] - shares["truth"]
    assert len(shares) > 10_000
    assert (errors.abs() < bound).all()
    common = shares[shares["truth"].between(0.05, 0.95)]
    squared = errors[common.index] ** 2 / (common["truth"] * (1 - common["truth"]) / common["effective_n"])
    assert squared.mean() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"subgroups": {"minimum_respondents": 5000}},
            "no item has 5000 valid answers of every country and wave .* Lower subgroups.minimum_respondents",
        ),
        ({"items": {"include": ["Q6", "Q9999"]}}, "items.include lists Q9999"),
    ],
)
def test_a_study_that_leaves_nothing_is_refused_and_leaves_no_file(
    staged_sample: FileSet, sample_study: Study, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    study = Study.model_validate(sample_study.model_dump() | change)
    with pytest.raises(InputError, match=message):
        build_marts(staged_sample, study, folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_survey_is_only_read(staged_sample: FileSet, sample_study: Study, tmp_path: Path) -> None:
    build_marts(staged_sample, sample_study, folder=tmp_path)
    assert staged_sample.holds()
