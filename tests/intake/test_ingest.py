import json
from pathlib import Path

import duckdb
import pandas as pd
import pyreadstat
import pytest

from tasks.errors import InputError, StepError
from tasks.files import FileSet
from tasks.intake import ingest as ingest_module
from tasks.intake.codebook import CODEBOOKS_FOLDER
from tasks.intake.ingest import ingest, published_report
from tasks.study import DimensionSection, SurveySection
from tasks.warehouse.database import connect, violations
from tests.intake.conftest import NUMERIC, TEXT

pytestmark = pytest.mark.usefixtures("codebook")


@pytest.fixture
def take(tmp_path, dimensions):
    def take_in(survey: Path, *, folder: str = "surveys", dimensions: dict[str, DimensionSection] = dimensions, **section) -> FileSet:
        return ingest(survey, section=SurveySection(**section), dimensions=dimensions, folder=tmp_path / folder)

    return take_in


def query(survey: FileSet, statement: str) -> list[tuple]:
    with connect(survey.path(next(name for name in survey.files if name.endswith(".duckdb"))), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def broken(survey: FileSet, check: str, **parameters) -> list[dict]:
    with connect(survey.path(next(name for name in survey.files if name.endswith(".duckdb"))), read_only=True) as connection:
        return violations(connection, check, **parameters).to_dict("records")


def report(survey: FileSet) -> dict:
    return json.loads(survey.path(next(name for name in survey.files if name.endswith(".json"))).read_text())


def respondents(survey: FileSet) -> list[tuple]:
    rows = query(survey, "select split_part(respondent_id, '-', 2), country, wave, year, weight, traits from stg_respondents")
    return [(*row[:5], dict(row[5])) for row in rows]


def answers(survey: FileSet) -> list[tuple]:
    return query(survey, "select split_part(respondent_id, '-', 2), item, code, missing from stg_answers order by all")


def test_a_file_of_codes_becomes_respondents_and_answers(take, write_csv):
    survey = take(write_csv(NUMERIC))
    assert respondents(survey) == [
        ("1", "SGP", 7, 2020, 0.5, {"sex": "Male", "age_group": "16-24", "religion": "Muslim"}),
        ("2", "SGP", 7, 2020, 1.5, {"sex": "Female", "age_group": "65+"}),
        ("3", "SGP", 7, 2020, 1.0, {"sex": "Female"}),
    ]
    assert answers(survey) == [
        ("1", "Q1", 1, None),
        ("1", "Q2", None, "dont_know"),
        ("1", "Q48", 1, None),
        ("2", "Q1", 2, None),
        ("2", "Q2", 0, None),
        ("2", "Q48", 10, None),
        ("3", "Q1", 1, None),
        ("3", "Q2", 3, None),
        ("3", "Q48", None, "no_answer"),
    ]


def test_a_file_of_labels_becomes_the_same_tables(take, write_xlsx, dimensions):
    ethnicity = DimensionSection(column="Q290", persona="{level}")
    survey = take(write_xlsx([*TEXT, TEXT[0]]), dimensions=dimensions | {"ethnicity": ethnicity})
    assert respondents(survey)[0] == (
        *("1", "USA", 7, 2017, 1.0),
        {"sex": "Male", "age_group": "16-24", "religion": "Other", "ethnicity": "White, non-Hispanic"},
    )
    assert [row for row in answers(survey) if row[0] == "2"] == [("2", "Q1", 2, None), ("2", "Q48", 7, None)]


def test_fielded_options_are_those_answered_and_every_point_of_a_ten_point_scale(take, write_csv):
    survey = take(write_csv(NUMERIC))
    assert query(survey, "select item, kind, scale, question, k from items") == [
        ("Q1", "attitude", "ordinal", "Question Q1?", 2),
        ("Q2", "attitude", "ordinal", "Question Q2?", 2),
        ("Q48", "attitude", "ordinal", "Question Q48?", 10),
    ]
    assert query(survey, "select * from options where item <> 'Q48'") == [
        ("Q1", 1, 0, "our Very important"),
        ("Q1", 2, 1, "our Rather important"),
        ("Q2", 0, 0, "our Hard to say"),
        ("Q2", 3, 1, "our Disagree"),
    ]
    assert query(survey, "select code, position from options where item = 'Q48'") == [(code, code - 1) for code in range(1, 11)]


def test_an_item_of_one_answered_option_is_no_question(take, write_csv):
    rows = [row | {"Q1": "1", "Q48": "-4"} for row in NUMERIC]
    assert query(take(write_csv(rows)), "select item from items") == [("Q2",)]


def test_every_cell_that_is_used_is_kept_as_text(take, write_csv):
    survey = take(write_csv(NUMERIC))
    sha = report(survey)["file_sha256"]
    used = [{code: cell for code, cell in row.items() if code not in ("version", "B_COUNTRY", "Q290")} for row in NUMERIC]
    rows = query(survey, f"select respondent_id, {', '.join(used[0])} from raw_responses")
    assert rows == [(f"{sha[:12]}-{number}", *row.values()) for number, row in enumerate(used, start=1)]


def test_the_report_says_what_was_read_and_by_which_rules(take, write_csv):
    survey = take(write_csv([*NUMERIC, NUMERIC[0] | {"Q1": "77"}]))
    found = report(survey)
    assert found.pop("file_sha256")
    assert found.pop("rules") == {"bands": 3, "code": 14, "levels": 1, "missing": 5, "unknown": 1}
    assert found == {
        "file": "survey.csv",
        "format": "Csv",
        "levels_not_there": {},
        "codebook": "7",
        "synthetic": True,
        "version": "SYNTHETIC 1",
        "wave": 7,
        "country": "SGP",
        "country_name": "Singapore",
        "year": 2020,
        "respondents": 4,
        "populations": [{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020, "respondents": 4}],
        "weighted": True,
        "weight_column": "W_WEIGHT",
        "items": 3,
        "quarantined": 1,
        "dimensions": {"sex": {"Male": 2, "Female": 2}, "age_group": {"16-24": 2, "65+": 1}, "religion": {"Muslim": 2}},
    }


def test_what_the_codebook_does_not_know_is_quarantined_and_the_check_names_the_column(take, write_csv):
    survey = take(write_csv([NUMERIC[0], NUMERIC[1] | {"Q1": "Allways", "Q289": "77"}, NUMERIC[2] | {"Q1": "2"}]))
    assert query(survey, "select * from quarantine") == [
        ("Q1", "Allways", "not an option of the item in the codebook", 1),
        ("Q289", "77", "not a level of the dimension religion", 1),
    ]
    assert ("2", "Q1", None, "quarantined") in answers(survey)
    assert broken(survey, "assert_answer_quarantine_within_limit", quarantine_limit=0.3) == [
        {"item": "Q1", "quarantined": 1, "answers": 3, "share": pytest.approx(1 / 3)}
    ]
    assert broken(survey, "assert_respondent_quarantine_within_limit", quarantine_limit=0.3) == [
        {"dimension": "religion", "column": "Q289", "quarantined": 1, "respondents": 2, "share": 0.5}
    ]
    assert broken(survey, "assert_answer_quarantine_within_limit", quarantine_limit=0.4) == []


def test_respondents_without_a_positive_weight_are_quarantined_and_counted(take, write_csv):
    weights = ("0", "", "heavy", "nan", "1.5")
    survey = take(write_csv([NUMERIC[number % 2] | {"W_WEIGHT": weight} for number, weight in enumerate(weights)]))
    assert [(row[0], row[4]) for row in respondents(survey)] == [("5", 1.5)]
    reason = "not a positive number: the respondent is left out"
    assert query(survey, "select * from quarantine") == [("W_WEIGHT", cell, reason, 1) for cell in ("", "0", "heavy", "nan")]
    assert broken(survey, "assert_weight_quarantine_within_limit", quarantine_limit=0.5) == [{"quarantined": 4, "respondents": 5, "share": 0.8}]


def test_a_weight_column_without_any_positive_number_is_refused_and_leaves_nothing(take, write_csv, tmp_path):
    with pytest.raises(InputError, match="none of the 3 weights in W_WEIGHT is a positive number"):
        take(write_csv([row | {"W_WEIGHT": "-1"} for row in NUMERIC]))
    assert list((tmp_path / "surveys").iterdir()) == []


def test_a_missing_weight_column_is_refused_unless_the_study_takes_none(take, write_csv):
    path = write_csv([{key: cell for key, cell in row.items() if key != "W_WEIGHT"} for row in NUMERIC])
    with pytest.raises(InputError, match="no weight column W_WEIGHT.*set survey.weight to none"):
        take(path)
    survey = take(path, weight="none")
    assert [row[4] for row in respondents(survey)] == [1.0, 1.0, 1.0]
    assert (report(survey)["weighted"], report(survey)["weight_column"]) == (False, None)


def test_a_missing_dimension_column_is_named_with_its_near_ones(take, write_csv):
    rows = [{("Q290A" if key == "Q290" else key): cell for key, cell in row.items()} for row in NUMERIC]
    with pytest.raises(InputError) as refusal:
        take(write_csv(rows), dimensions={"ethnicity": DimensionSection(column="Q290", persona="{level}")})
    assert "has no column Q290, which the dimension 'ethnicity' needs (near it: Q290A" in str(refusal.value)


@pytest.mark.parametrize(
    ("section", "found"),
    [
        (DimensionSection(column="Q289", persona="{level}", levels={"Jewish": "Other"}), "names 'Jewish', no level of Q289 (None, Jew, Muslim)"),
        (DimensionSection(column="Q262", persona="{level}", bands=(25, 16)), "is [25, 16], expected lower bounds that grow"),
    ],
)
def test_levels_and_bands_that_cannot_be_meant_are_refused(take, write_csv, section, found):
    with pytest.raises(InputError) as refusal:
        take(write_csv(NUMERIC), dimensions={"any": section})
    assert found in str(refusal.value)


def test_only_the_chosen_country_is_taken_and_rows_keep_their_number_in_the_file(take, write_csv):
    survey = take(write_csv([TEXT[0], *NUMERIC]), country="sgp")
    assert [row[:2] for row in respondents(survey)] == [("2", "SGP"), ("3", "SGP"), ("4", "SGP")]
    assert broken(survey, "assert_respondent_is_of_the_country", countries=["SGP"]) == []
    assert len(broken(survey, "assert_respondent_is_of_the_country", countries=["USA"])) == 1


@pytest.mark.parametrize(
    ("country", "found"), [(None, "has 2 countries: SGP \\(3 respondents\\), USA \\(1 respondents\\)"), ("FRA", "FRA is not in the file")]
)
def test_a_country_that_is_not_chosen_or_not_there_is_refused_with_the_list(take, write_csv, country, found):
    with pytest.raises(InputError, match=found):
        take(write_csv([TEXT[0], *NUMERIC]), country=country)


def test_a_column_may_serve_two_dimensions_and_an_item_that_is_a_dimension_is_no_question(take, write_csv):
    sections = {
        "age": DimensionSection(column="Q262", persona="{level}", bands=(18, 50)),
        "adult": DimensionSection(column="Q262", persona="{level}", bands=(18,)),
        "family": DimensionSection(column="Q1", persona="{level}", levels={"1": "close", "2": None}),
    }
    survey = take(write_csv(NUMERIC), dimensions=sections)
    assert [row[5] for row in respondents(survey)] == [
        {"age": "18-49", "adult": "18+", "family": "close"},
        {"age": "50+", "adult": "18+"},
        {"family": "close"},
    ]
    assert query(survey, "select item from items") == [("Q2",), ("Q48",)]


def test_every_check_on_raw_and_staging_passes_on_a_clean_file(take, write_csv):
    survey = take(write_csv(NUMERIC))
    for check in (
        *("assert_respondent_is_unique", "assert_respondent_traits_are_mapped", "assert_weight_is_positive", "assert_answer_is_code_or_missing"),
        *("assert_answer_is_fielded", "assert_answer_of_each_respondent", "assert_answer_options_are_ranked"),
    ):
        assert broken(survey, check) == []


@pytest.mark.parametrize(
    ("damage", "check", "rows"),
    [
        ("insert into stg_respondents from stg_respondents limit 1", "assert_respondent_is_unique", [{"repeated": 1}]),
        ("update stg_respondents set weight = 0", "assert_weight_is_positive", [{"respondents": 3}]),
        (
            "update stg_respondents set traits = map(['sex'], ['Sideways'])",
            "assert_respondent_traits_are_mapped",
            [{"dimension": "sex", "level": "Sideways", "respondents": 3}],
        ),
        ("update stg_answers set code = null where item = 'Q1'", "assert_answer_is_code_or_missing", [{"item": "Q1", "answers": 3}]),
        ("update stg_answers set code = 3 where item = 'Q1'", "assert_answer_is_fielded", [{"item": "Q1", "code": 3, "answers": 3}]),
        (
            "insert into stg_answers from stg_answers where item = 'Q1' limit 1",
            "assert_answer_of_each_respondent",
            [{"item": "Q1", "answers": 4, "answering": 3}],
        ),
        ("update options set position = position + 1 where item = 'Q1'", "assert_answer_options_are_ranked", [{"item": "Q1", "k": 2, "options": 2}]),
    ],
)
def test_each_check_finds_the_damage_it_is_for(take, write_csv, damage, check, rows):
    survey = take(write_csv(NUMERIC))
    with connect(survey.path(next(name for name in survey.files if name.endswith(".duckdb")))) as connection:
        connection.execute(damage)
        found = violations(connection, check).dropna(axis="columns").to_dict("records")
    assert found == rows


def test_the_same_inputs_make_the_same_name_and_other_choices_another(take, write_csv):
    path = write_csv(NUMERIC)
    first = take(path)
    assert set(take(path, quarantine_limit=0.1).files) == set(first.files)
    renamed = path.rename(path.with_name("other name.csv"))
    assert len(first.files) == 2
    assert set(take(renamed, weight="none").files) != set(first.files)


def test_a_damaged_database_is_built_anew(take, write_csv):
    path = write_csv(NUMERIC)
    database = (first := take(path)).path(next(name for name in first.files if name.endswith(".duckdb")))
    with connect(database) as connection:
        before = connection.execute("select respondent_id, weight from stg_respondents order by all").fetchall()
        connection.execute("update stg_respondents set weight = 99")
    assert not first.holds()
    take(path)
    with connect(database, read_only=True) as connection:
        assert connection.execute("select respondent_id, weight from stg_respondents order by all").fetchall() == before


def test_a_database_is_rebuilt_when_its_report_was_never_written(take, write_csv):
    first = take(write_csv(NUMERIC))
    first.path(next(name for name in first.files if name.endswith(".json"))).unlink()
    again = take(first.path("../survey.csv"))
    assert set(again.files) == set(first.files)
    assert again.holds()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), duckdb.TransactionException("Failed to commit: No space left on device")])
def test_a_failure_in_mid_build_leaves_no_file(take, write_csv, monkeypatch, tmp_path, error):
    def full(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(ingest_module, "_report", full)
    with pytest.raises(StepError, match="cannot write .*No space left on device"):
        take(write_csv(NUMERIC))
    assert list((tmp_path / "surveys").iterdir()) == []


def test_tables_needed_only_for_building_are_gone(take, write_csv):
    tables = query(take(write_csv(NUMERIC)), "select table_name from information_schema.tables order by all")
    assert [name for (name,) in tables] == [
        "codebook_options",
        "items",
        "options",
        "quarantine",
        "raw_responses",
        "stg_answers",
        "stg_respondents",
        "value_map",
    ]


@pytest.mark.parametrize(
    ("counts", "told"),
    [
        ({"a": 50, "b": 40}, {"a": 50, "b": 40}),
        ({"a": 50, "b": 40, "c": 5}, {"a": 50}),  # 5 would be what 95 respondents leave
        ({"a": 50, "b": 40, "c": 20, "d": 15}, {"a": 50, "b": 40}),
        ({"a": 5}, {}),
    ],
)
def test_small_levels_are_not_told_nor_what_would_give_them_away(counts, told):
    report = {"country": "SGP", "dimensions": {"religion": counts}}
    assert published_report(report, least=30) == {"country": "SGP", "dimensions": {"religion": told}}
    assert published_report({}, least=30) == {}


def test_of_several_files_a_manifest_tells_the_levels_of_all_together_only():
    levels = {"religion": {"None": 80, "Muslim": 40}}
    report = {"dimensions": levels, "files": [{"file": "a.csv", "dimensions": {"religion": {"None": 79, "Muslim": 9}}}]}
    assert published_report(report, least=30) == {"dimensions": levels, "files": [{"file": "a.csv"}]}


def test_a_finer_column_refines_a_dimension_and_leaves_the_others_their_level(take, write_csv):
    rows = [NUMERIC[0] | {"Q289CS9": "90101000"}, NUMERIC[1] | {"Q289CS9": "0"}, NUMERIC[2] | {"Q289CS9": "SG: Sikh"}]
    refine = {"column": "Q289CS9", "levels": {90101000: "Taoist", "Sikh": "Sikh"}}
    religion = DimensionSection(column="religion", persona="{level}", refine=refine)
    survey = take(write_csv(rows), dimensions={"religion": religion})
    assert [row[5] for row in respondents(survey)] == [{"religion": "Taoist"}, {"religion": "None"}, {"religion": "Sikh"}]
    assert report(survey)["rules"]["refine"] == 3
    assert broken(survey, "assert_respondent_quarantine_within_limit", quarantine_limit=0.001) == []


def test_a_dimension_may_be_named_by_what_it_is_or_by_a_column_for_each_wave(take, write_csv):
    sections = {
        "sex": DimensionSection(column="sex", persona="{level}"),
        "faith": DimensionSection(column={7: "Q289", "integrated": "F025"}, persona="{level}"),
    }
    assert [row[5] for row in respondents(take(write_csv(NUMERIC), dimensions=sections))][0] == {"sex": "Male", "faith": "Muslim"}
    with pytest.raises(InputError, match=r"is of wave 7, and dimensions.faith.column names a column for 6 or integrated only. Add 7 to it"):
        take(write_csv(NUMERIC), dimensions={"faith": DimensionSection(column={6: "V144G", "integrated": "F025"}, persona="{level}")})


def test_of_a_later_wave_nobody_knows_which_column_holds_what(write_csv, tmp_path):
    later = write_csv([row | {"A_YEAR": "2025"} for row in NUMERIC])
    book = tmp_path / "mine.csv"
    book.write_bytes((CODEBOOKS_FOLDER / "wave7.csv").read_bytes())

    def take_in(column):
        sections = {"sex": DimensionSection(column=column, persona="{level}", levels={"1": "Male", "2": "Female"})}
        return ingest(later, section=SurveySection(), dimensions=sections, folder=tmp_path / "surveys", codebook=book)

    with pytest.raises(InputError, match=r"is of wave 8, of which it is not known which column holds sex.*dimensions.sex.column=\{8: CODE\}"):
        take_in("sex")
    assert [row[2] for row in respondents(take_in({8: "Q260"}))] == [8, 8, 8]


@pytest.mark.parametrize(
    ("refine", "found"),
    [
        ({"column": "Q289CS9", "levels": {"90101000": "Taoist", "Taoits": "Taoist"}}, "refine.levels names 'Taoits', which Q289CS9 does not have"),
        ({"column": "religion", "levels": {"5": "Muslim"}}, "refine.column is Q289, the dimension's own"),
    ],
)
def test_a_refinement_that_would_change_nothing_is_refused(take, write_csv, refine, found):
    rows = [row | {"Q289CS9": "90101000"} for row in NUMERIC]
    with pytest.raises(InputError) as refusal:
        take(write_csv(rows), dimensions={"religion": DimensionSection(column="religion", persona="{level}", refine=refine)})
    assert found in str(refusal.value)


def test_codes_that_nobody_explains_are_refused_and_those_that_the_file_labels_are_not(take, write_csv, tmp_path):
    rows = [row | {"Q290": "840001"} for row in NUMERIC]
    ethnicity = {"ethnicity": DimensionSection(column="ethnicity", persona="{level}")}
    with pytest.raises(InputError, match=r"Q290 \(ethnicity\) holds codes such as 840001, and neither the file nor the codebook says what they mean"):
        take(write_csv(rows), dimensions=ethnicity)
    frame = pd.DataFrame(rows).astype({"Q290": float, "Q1": float})
    pyreadstat.write_sav(frame, tmp_path / "labelled.sav", variable_value_labels={"Q290": {840001: "US: White, non-Hispanic"}})
    found = [row[5] for row in respondents(take(tmp_path / "labelled.sav", dimensions=ethnicity))]
    assert found == [{"ethnicity": "White, non-Hispanic"}] * 3
