"""Which files, code and parameters made which file."""

import sqlite3
from pathlib import Path

import pytest

from tasks.files import FileSet
from tasks.lineage import Lineage, Step, read_by, told_to
from tasks.policy import content_key
from tasks.study import Study, load_study

SURVEY = FileSet(folder="surveys", files={"survey.csv": "aa"})
MARTS = FileSet(folder="run", files={"tables/subgroups.parquet": "bb", "tables/targets.parquet": "cc"})
STEP = Step("1", "small", "build the tables", 3, "commit", {"survey.csv": "aa"}, {"seed": 1}, reused=False)


def build(staged: FileSet, more: list[FileSet], study: Study, limit: int, folder: Path) -> None: ...


@pytest.fixture
def lineage(tmp_path: Path) -> Lineage:
    return Lineage(tmp_path)


def test_a_file_is_traced_to_what_made_it(lineage: Lineage, tmp_path: Path) -> None:
    lineage.record(STEP, MARTS)
    with sqlite3.connect(tmp_path / "registry.sqlite") as registry:
        query = "select study, run_id, step, version, code, inputs, parameters from lineage where sha256 = 'cc'"
        assert registry.execute(query).fetchall() == [("small", "1", "build the tables", 3, "commit", '{"survey.csv": "aa"}', '{"seed": 1}')]


def test_a_reused_result_names_the_run_that_made_it(lineage: Lineage) -> None:
    lineage.record(STEP, MARTS)
    lineage.record(STEP._replace(run_id="2"), MARTS.model_copy(update={"files": {"tables/subgroups.parquet": "other"}}))
    lineage.record(STEP._replace(run_id="3", reused=True), MARTS)
    (row,) = lineage.table("3")
    assert row["made in run"] == "1"
    assert (row["step"], row["made"], row["of"], row["code"]) == ("build the tables", "subgroups, targets", "survey.csv", "commit")
    (row,) = lineage.table("2")
    assert row["made in run"] == "2"


def test_a_retry_that_reuses_its_own_result_leaves_the_first_word(lineage: Lineage) -> None:
    lineage.record(STEP, MARTS)
    lineage.record(STEP._replace(reused=True, code="later"), MARTS)
    (row,) = lineage.table("1")
    assert (row["made in run"], row["code"]) == ("1", "commit")


def test_a_step_that_is_done_again_replaces_what_it_made(lineage: Lineage) -> None:
    lineage.record(STEP, MARTS)
    lineage.record(STEP, MARTS.model_copy(update={"files": {"tables/targets.parquet": "dd"}}))
    assert lineage.contents(["1"]) == {"aa", "dd"}
    assert lineage.names(["1"]) == {"tables/targets.parquet"}
    assert lineage.runs() == {"1"}


def test_what_a_step_reads_and_is_told_is_known_from_its_call() -> None:
    study = load_study("sample", overrides=["seed=7"])
    arguments = (SURVEY, [MARTS], study, 12)
    assert read_by(arguments) == SURVEY.files | MARTS.files
    told = told_to(build, arguments, key=content_key("tables", version=1, sections=("seed",)))
    assert told == {"study": {"seed": 7}, "limit": "12"}


def test_two_files_of_one_name_are_both_told() -> None:
    other = SURVEY.model_copy(update={"folder": "elsewhere", "files": {"survey.csv": "zz"}})
    assert read_by(([SURVEY, other],)) == {"survey.csv": "aa", "elsewhere/survey.csv": "zz"}
