from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.intake.formats import opened
from tasks.intake.layout import Country, Layout, country_name, country_of, recognise
from tests.intake.conftest import NUMERIC, TEXT


def layout_of(path: Path) -> Layout:
    with opened(path) as raw:
        return recognise(raw)


def test_a_wave_7_file_is_recognised_without_a_wave_column(write_csv):
    layout = layout_of(write_csv(NUMERIC))
    assert (layout.wave, layout.codebook, layout.version, layout.synthetic, layout.weight_column) == (7, 7, "SYNTHETIC 1", True, "W_WEIGHT")
    assert layout.countries == {"SGP": Country("Singapore", 2020, 3)}


def test_countries_are_listed_the_largest_first_and_named_alike_in_codes_and_labels(write_csv):
    rows = [TEXT[0], *NUMERIC, TEXT[1] | {"B_COUNTRY_ALPHA": "XYZ", "B_COUNTRY": "Nowhere"}]
    layout = layout_of(write_csv(rows))
    assert layout.countries == {
        "SGP": Country("Singapore", 2020, 3),
        "USA": Country("the United States", 2017, 1),
        "XYZ": Country("XYZ", 2017, 1),
    }


def test_a_file_without_the_weight_has_no_weight_column_even_if_others_are_called_weight(write_csv):
    rows = [{**{key: cell for key, cell in NUMERIC[0].items() if key != "W_WEIGHT"}, "SECVALWGT": "1", "WEIGHT1A": "1"}]
    assert layout_of(write_csv(rows)).weight_column is None


V_CODES = {"V2": "United States", "B_COUNTRY_ALPHA": "-4", "V4": "Very important"}
SERIES = {"COUNTRY_ALPHA": "DEU", "S003": "276", "S020": "1997", "S017": "1", "S002VS": "3", "X001": "1", "A001": "1"}
WAVES = [
    (V_CODES | {"V240": "Male", "V242": "30", "V262": "2011"}, 6, "USA", 2011, None),
    ({"V2": "702", "V258": "1.5", "V4": "1", "V240": "1", "V242": "30", "V262": "2012"}, 6, "SGP", 2012, "V258"),
    ({"V2": "392", "V259": "1", "V4": "1", "V235": "1", "V237": "30", "V260": "2005"}, 5, "JPN", 2005, "V259"),
    ({"V2": "Viet Nam", "V245": "1", "V4": "1", "V223": "1", "V225": "30", "V246": "2001"}, 4, "VNM", 2001, "V245"),
    (
        {"COUNTRY_ALPHA": "DEU", "S003": "276", "S020": "1997", "S017": "1", "S002VS": "3", "X001": "1", "A001": "1"},
        "integrated",
        "DEU",
        1997,
        "S017",
    ),
]


@pytest.mark.parametrize(("row", "codebook", "country", "year", "weight"), WAVES)
def test_each_wave_is_known_by_the_column_of_its_year_and_its_country_by_code_number_or_name(write_csv, row, codebook, country, year, weight):
    layout = layout_of(write_csv([row]))
    assert (layout.codebook, list(layout.countries), layout.countries[country].year, layout.weight_column) == (codebook, [country], year, weight)


def test_a_time_series_tells_the_waves_of_each_country(write_csv):
    layout = layout_of(write_csv([SERIES, SERIES | {"S002VS": "5", "S020": "2006"}, SERIES | {"COUNTRY_ALPHA": "JPN", "S003": "392"}]))
    assert {name: country.waves for name, country in layout.countries.items()} == {"DEU": {3: 1, 5: 1}, "JPN": {3: 1}}


def test_countries_are_known_by_code_number_and_name():
    assert [country_of(text) for text in ("SGP", "702", "702.0", " Singapore", "united states", "the Netherlands", "XYZ")] == [
        *("SGP", "SGP", "SGP", "SGP", "USA", "NLD", "XYZ")
    ]
    assert [country_of(text) for text in ("-4", "Nowhere", "12345", "7.5", "")] == [None] * 5


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"V2": "702", "V4": "1", "V240": "1", "V262": "2019"}, "V262 holds '2019', and wave 6 was in the field from 2010 to 2016"),
        (
            {"V2": "702", "V4": "1", "V223": "1"},
            "no column holds the year of the survey, expected one of A_YEAR (wave 7), V262 (wave 6)",
        ),
        ({"V2": "702", "V4": "1", "V262": "2012"}, "no V240 (sex) and no V242 (age)"),
        ({"Q1": "1", "Q260": "1", "A_YEAR": "2020"}, "not wave 7: no B_COUNTRY_ALPHA or B_COUNTRY (country)"),
        ({"B_COUNTRY_ALPHA": "SGP", "A_YEAR": "2020", "Q1": "1"}, "not wave 7: no Q260 (sex) and no Q262 (age)"),
        (
            NUMERIC[0] | {"A_YEAR": "2025"},
            "a later wave numbers its questions anew and needs a codebook of its own: draft one with",
        ),
        (NUMERIC[0] | {"A_YEAR": "2012"}, "A_YEAR holds '2012', and wave 7 was in the field from 2017 to 2023"),
        (NUMERIC[0] | {"A_WAVE": "6"}, "A_WAVE holds '6'; the codebook is wave 7"),
        (NUMERIC[0] | {"Q1P": "4"}, "the inverted twin of the cross-national file"),
        (NUMERIC[0] | {"B_COUNTRY_ALPHA": "702X"}, "B_COUNTRY_ALPHA holds '702X', expected codes such as SGP"),
    ],
)
def test_another_wave_or_layout_is_refused_with_the_reason(write_csv, row, reason):
    with pytest.raises(InputError) as refusal:
        layout_of(write_csv([row]))
    assert reason in str(refusal.value)


def test_a_country_is_named_as_a_sentence_has_it():
    assert [country_name(country) for country in ("USA", "SGP", "MDA", "XYZ")] == ["the United States", "Singapore", "Moldova", "XYZ"]


def test_a_country_may_be_known_by_its_number_alone(write_csv):
    layout = layout_of(write_csv([{key: cell for key, cell in row.items() if key != "B_COUNTRY_ALPHA"} for row in NUMERIC]))
    assert (layout.country_column, layout.cells) == ("B_COUNTRY", {"SGP": ("702",)})
