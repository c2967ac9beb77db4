from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.intake.formats import opened
from tasks.intake.layout import Country, Layout, country_names, recognise
from tests.intake.conftest import NUMERIC, TEXT


def layout_of(path: Path) -> Layout:
    with opened(path) as raw:
        return recognise(raw)


def test_a_wave_7_file_is_recognised_without_a_wave_column(write_csv):
    layout = layout_of(write_csv(NUMERIC))
    assert layout == Layout(7, "SYNTHETIC 1", True, {"SGP": Country("Singapore", 2020, 3)}, "W_WEIGHT")


def test_countries_are_listed_the_largest_first_and_named_alike_in_codes_and_labels(write_csv):
    rows = [TEXT[0], *NUMERIC, TEXT[1] | {"B_COUNTRY_ALPHA": "XYZ", "B_COUNTRY": "Nowhere"}]
    layout = layout_of(write_csv(rows))
    assert layout.countries == {
        "SGP": Country("Singapore", 2020, 3),
        "USA": Country("the United States", 2017, 1),
        "XYZ": Country("Nowhere", 2017, 1),
    }


def test_a_file_without_the_weight_has_no_weight_column_even_if_others_are_called_weight(write_csv):
    rows = [{**{key: cell for key, cell in NUMERIC[0].items() if key != "W_WEIGHT"}, "SECVALWGT": "1", "WEIGHT1A": "1"}]
    assert layout_of(write_csv(rows)).weight_column is None


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"V2": "702", "V240": "1", "V242": "30", "V262": "2012"}, "wave-6 (V-code) layout; the codebook is wave 7"),
        ({"V2": "702", "V235": "1", "V260": "2006"}, "wave-5 (V-code) layout; the codebook is wave 7"),
        ({"V2": "702", "V223": "1"}, "older (V-code) layout; the codebook is wave 7"),
        ({"S003": "702", "S020": "2012", "A001": "1"}, "the layout of the time series (integrated codes); the codebook is wave 7"),
        ({"Q1": "1", "Q260": "1"}, "an unknown layout (Q-codes, but no B_COUNTRY_ALPHA, A_YEAR); the codebook is wave 7"),
        ({"B_COUNTRY_ALPHA": "SGP", "A_YEAR": "2020", "Q1": "1"}, "an unknown layout (Q-codes, but no Q260 to Q290)"),
        (NUMERIC[0] | {"A_YEAR": "2025"}, "A_YEAR holds '2025', and wave 7 was in the field from 2017 to 2023; the codebook is wave 7"),
        (NUMERIC[0] | {"A_WAVE": "6"}, "A_WAVE holds '6'; the codebook is wave 7"),
        (NUMERIC[0] | {"Q1P": "4"}, "the inverted twin of the cross-national file"),
        (NUMERIC[0] | {"B_COUNTRY_ALPHA": "702"}, "B_COUNTRY_ALPHA holds '702', expected codes such as SGP"),
    ],
)
def test_another_wave_or_layout_is_refused_with_the_reason(write_csv, row, reason):
    with pytest.raises(InputError) as refusal:
        layout_of(write_csv([row]))
    assert reason in str(refusal.value)


def test_the_societies_of_wave_7_have_names():
    assert len(country_names()) == 66
