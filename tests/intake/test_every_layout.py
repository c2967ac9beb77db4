"""The synthetic survey in the layout of every wave: the same respondents, weights, traits and answers from each, under each wave's own codes."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.intake.codebook import CODEBOOKS_FOLDER, INTEGRATED, load_codebook
from tasks.intake.ingest import ingest, read_report
from tasks.intake.layout import SHAPES, Shape
from tasks.study import DimensionSection, SurveySection
from tasks.warehouse.database import connect
from tests.intake.writers import csv_of_codes, survey

SEVENTH = SHAPES[0]
RESPONDENTS = 250
NUMBER = {6: 6, 5: 5, 4: 4, INTEGRATED: 7, 7: 7}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return survey(tmp_path_factory.mktemp("synthetic")).head(RESPONDENTS)


def shared_items(shape: Shape) -> dict[str, str]:
    """Wave-7 item -> the same question in the other codebook, where both have the same codes."""
    theirs = {item.integrated: item for item in load_codebook(shape.codebook).items.values() if item.integrated}
    ours = load_codebook(7).items.values()
    codes = {item.item: {option.code for option in item.options} for item in [*ours, *theirs.values()]}
    pairs = [(item.item, theirs[item.integrated].item) for item in ours if item.integrated in theirs]
    return {one: other for one, other in pairs if codes[one] == codes[other]}


def written_as(table: pd.DataFrame, shape: Shape) -> pd.DataFrame:
    """The survey's columns under the codes of another wave, in a year of that wave."""
    renamed = {SEVENTH.weight: shape.weight, **dict(zip(SEVENTH.dimensions.values(), shape.dimensions.values(), strict=True))}
    places = {shape.country[-1]: "702", shape.year: str(shape.years[0])} | ({shape.wave: "7"} if shape.codebook == INTEGRATED else {})
    items = {one: other for one, other in shared_items(shape).items() if one in table}
    return table[[*renamed, *items]].rename(columns=renamed | items).assign(**places)


def staged(table: pd.DataFrame, shape: Shape, folder: Path, **section: object) -> tuple[list[tuple], list[tuple], dict]:
    """Respondents and answers of a Csv, items under their wave-7 codes, and the intake report."""
    path = csv_of_codes(";")(table, folder / "survey.csv")
    bands = {"bands": (16, 25, 35, 45, 55, 65)}
    dimensions = {
        name: DimensionSection(column=column, persona="{level}", **(bands if name == "age" else {}))
        for name, column in shape.dimensions.items()
        if name != "ethnicity"  # its numbers have a vocabulary in wave 7 only
    }
    made = ingest(path, section=SurveySection(**section), dimensions=dimensions, folder=folder)
    ours = {other: one for one, other in shared_items(shape).items()}
    with connect(next(made.path(name) for name in made.files if name.endswith(".duckdb")), read_only=True) as connection:
        respondents = connection.execute("select split_part(respondent_id, '-', 2), country, wave, weight, traits from stg_respondents").fetchall()
        answers = connection.execute("select split_part(respondent_id, '-', 2), item, code, missing from stg_answers").fetchall()
    kept = [(row, ours.get(item, item), code, missing) for row, item, code, missing in answers if item in ours]
    return sorted(respondents, key=str), sorted(kept, key=str), read_report(made)


@pytest.mark.parametrize("shape", SHAPES[1:], ids=lambda shape: shape.name)
def test_each_layout_gives_the_same_respondents_and_answers(table: pd.DataFrame, tmp_path: Path, shape: Shape) -> None:
    shared = [item for item in shared_items(shape) if item in table]
    respondents, answers, _ = staged(table, SEVENTH, tmp_path)
    theirs, their_answers, report = staged(written_as(table, shape), shape, tmp_path)
    assert [(row, country, weight, traits) for row, country, _, weight, traits in theirs] == [
        (row, country, weight, traits) for row, country, _, weight, traits in respondents
    ]
    assert {wave for _, _, wave, *_ in theirs} == {NUMBER[shape.codebook]}
    assert len(shared) > 20
    assert their_answers == [answer for answer in answers if answer[1] in shared]
    assert (report["wave"], report["year"], report["weighted"], report["quarantined"]) == (NUMBER[shape.codebook], shape.years[0], True, 0)


def test_of_a_time_series_one_country_and_wave_is_taken(table: pd.DataFrame, tmp_path: Path) -> None:
    shape = SHAPES[-1]
    whole = written_as(table, shape)
    whole.loc[:99, "S002VS"] = "6"
    whole.loc[100:119, "S003"] = "840"
    respondents, _, report = staged(whole, shape, tmp_path, country="SGP", wave=6)
    assert len(respondents) == report["respondents"] == 100
    with pytest.raises(InputError, match=r"SGP is in waves 6 \(100 respondents\), 7 \(130 respondents\). Choose one with --set survey.wave=7"):
        staged(whole, shape, tmp_path, country="SGP")
    assert report["year"] == shape.years[0]
    with pytest.raises(InputError, match=r"expected wave 3 \(survey.wave\)"):
        staged(whole, shape, tmp_path, country="SGP", wave=3)


def test_a_wave_6_file_without_a_weight_is_unweighted_and_says_so_and_any_other_is_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    sixth = SHAPES[1]
    respondents, _, report = staged(written_as(table, sixth).drop(columns=sixth.weight), sixth, tmp_path)
    assert (report["weighted"], report["weight_column"]) == (False, None)
    assert {weight for *_, weight, _ in respondents} == {1.0}
    for shape in (SHAPES[0], SHAPES[2]):
        with pytest.raises(InputError, match=f"has no weight column {shape.weight}"):
            staged(written_as(table, shape).drop(columns=shape.weight), shape, tmp_path)


def test_a_study_of_another_wave_is_told_where_that_wave_has_its_dimensions(table: pd.DataFrame, tmp_path: Path) -> None:
    path = csv_of_codes(";")(written_as(table, SHAPES[1]), tmp_path / "survey.csv")
    dimensions = {"age_group": DimensionSection(column="Q262", persona="{level}", bands=(16, 65))}
    with pytest.raises(InputError, match="no column Q262, which the dimension 'age_group' needs.* The file is of wave 6, which has it in V242"):
        ingest(path, section=SurveySection(), dimensions=dimensions, folder=tmp_path)


def test_waves_of_a_time_series_may_be_periods_and_what_is_no_wave_is_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    shape = SHAPES[-1]
    whole = written_as(table, shape)
    whole.loc[:99, "S002VS"], whole.loc[:99, "S020"] = "2010-2014", "2012"
    whole.loc[100:, "S002VS"] = "2017-2022"
    respondents, _, report = staged(whole, shape, tmp_path, wave=6)
    assert (len(respondents), report["wave"], report["year"]) == (100, 6, 2012)
    for cell in ("-4", "lately"):
        with pytest.raises(InputError, match=f"S002VS holds '{cell}', expected numbers of waves"):
            staged(whole.assign(S002VS=cell), shape, tmp_path, wave=6)
    with pytest.raises(InputError, match=r"no S002VS or S002 \(wave\)"):
        staged(whole.drop(columns="S002VS"), shape, tmp_path, wave=6)
    assert staged(whole.rename(columns={"S002VS": "S002"}), shape, tmp_path, wave=6)[2]["wave"] == 6


def test_a_codebook_of_the_users_is_for_a_later_wave_only(table: pd.DataFrame, tmp_path: Path) -> None:
    book = tmp_path / "mine.csv"
    shutil.copyfile(CODEBOOKS_FOLDER / "wave7.csv", book)
    dimensions = {"sex": DimensionSection(column="Q260", persona="{level}")}

    def take(changed: pd.DataFrame, codebook: Path | None) -> dict:
        path = csv_of_codes(";")(changed, tmp_path / "survey.csv")
        return read_report(ingest(path, section=SurveySection(), dimensions=dimensions, folder=tmp_path, codebook=codebook))

    shutil.copyfile(CODEBOOKS_FOLDER / "wave7_respondents.csv", tmp_path / "mine_respondents.csv")
    assert take(table.assign(A_YEAR="2025"), book)["wave"] == 8
    assert take(table.assign(A_YEAR="2030", A_WAVE="9"), book)["wave"] == 9
    with pytest.raises(InputError, match="a file of wave 7, which has a codebook of its own: leave --codebook out"):
        take(table, book)
    with pytest.raises(InputError, match="a file of wave 6, which has a codebook of its own"):
        take(written_as(table, SHAPES[1]), book)
    with pytest.raises(InputError, match="A_WAVE holds '7', expected one number from 8 on"):
        take(table.assign(A_YEAR="2025", A_WAVE="7"), book)
    with pytest.raises(InputError, match="needs a codebook of its own: draft one"):
        take(table.assign(A_YEAR="2025"), None)
