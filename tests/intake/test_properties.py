"""What holds for every text: normalising twice changes nothing, a number is the number it shows, and no cell makes a resolver fail."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.intake.codebook import load_codebook
from tasks.intake.headers import QUESTION, understood
from tasks.intake.labels import MISSING_CODES, dimension_resolver, item_resolver, missing_reason, normalised, number
from tasks.intake.readers.table import texts
from tasks.study import DimensionSection
from tasks.warehouse.database import connect

ITEMS = load_codebook(7).items
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-10_000, max_value=10_000)
VALUES = st.one_of(st.integers(-(10**9), 10**9).map(float), st.floats(allow_nan=False, allow_infinity=False, width=32), st.none())
VISIBLE = st.characters(exclude_categories=["C", "Z"])
MORE = st.sampled_from(["", " ", "\u00a0", ";", "; ", " {short}", '"'])


@given(st.text(alphabet=st.characters(codec="latin-1", exclude_characters='{}";')))
def test_normalising_again_changes_nothing(text):
    assert normalised(normalised(text)) == normalised(text)


@given(st.sampled_from([option.label for item in ITEMS.values() for option in item.options]), MORE, st.sampled_from([str, str.upper, str.lower]))
def test_a_label_survives_what_exports_do_to_it(label, more, case):
    assert normalised(case(label).replace("'", "´").replace(" ", "\u00a0") + more) == normalised(label)


@given(DECIMALS, st.sampled_from([".", ","]), st.sampled_from(["", " "]))
def test_a_number_is_read_with_a_point_or_a_comma(value, mark, space):
    shown = str(value).replace(".", mark)
    assert number(space + shown + space) == float(value)
    assert number(shown.replace(f"0{mark}", mark, 1) if abs(value) < 1 else shown) == float(value)


@given(st.text())
def test_what_is_no_number_is_nothing_and_what_is_one_is_finite(text):
    found = number(text)
    assert found is None or math.isfinite(found)


@given(st.one_of(DECIMALS.map(str), st.text()), st.sampled_from([".", ","]))
def test_sql_reads_a_weight_as_python_does(text, mark):
    cell = text.replace(".", mark)
    expected = number(cell)
    if expected is not None:
        with connect() as connection:
            found = connection.execute("select try_cast(replace(?, ',', '.') as double)", [cell]).fetchall()
        assert found == [(pytest.approx(expected),)]


@given(st.text())
def test_every_text_is_exactly_one_of_answer_missing_and_unknown(text):
    age = DimensionSection(column="Q262", persona="{level}", bands=(16, 25))
    for resolve in (item_resolver(ITEMS["Q56"]), dimension_resolver(age, vocabulary={})):
        found = resolve(text)
        meanings = [value for value in (found.code, found.level, found.missing) if value is not None]
        assert len(meanings) == (0 if found.rule == "unknown" else 1)


@given(st.integers(min_value=-(10**6), max_value=-1))
def test_a_negative_code_is_missing_and_never_an_answer(code):
    assert missing_reason(str(code)) == MISSING_CODES.get(code, "missing")
    assert missing_reason(f"{code}.0") == missing_reason(f"{code},0") == missing_reason(str(code))


@given(
    st.lists(st.one_of(st.integers(-(10**9), 10**9).map(float), st.floats(allow_nan=False, allow_infinity=False, width=32), st.none()), min_size=1)
)
def test_values_of_a_statistical_file_become_the_text_that_reads_back_as_them(values):
    numbers = np.array([math.nan if value is None else value for value in values])
    for value, text in zip(values, texts(numbers).to_pylist(), strict=True):
        assert (text == "") if value is None else (float(text) == value)
        assert value is None or not value.is_integer() or abs(value) >= 2**53 or text == str(int(value))


@given(
    st.lists(st.from_regex(QUESTION, fullmatch=True), min_size=1, unique_by=str.casefold),
    st.text(alphabet=st.characters(exclude_categories=["C", "Z"])),
)
def test_a_header_is_read_the_same_bare_with_a_space_and_with_a_colon(codes, label):
    label = label.strip(":")
    for separator in (" ", ": "):
        assert understood([f"{code}{separator}{label}" for code in codes], name="survey.csv") == dict.fromkeys(codes, label)
    assert list(understood(codes, name="survey.csv")) == codes
