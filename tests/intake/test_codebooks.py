"""The shipped codebooks of waves 4 to 7 and of the time series: what holds for each, and between them."""

import csv
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.intake.codebook import CODEBOOKS_FOLDER, KINDS, Codebook, Item, is_missing_code, known_waves, load_codebook
from tasks.intake.labels import dimension_resolver, item_resolver, missing_reason
from tasks.study import DimensionSection
from tests.intake.test_codebook import TOPICS

WAVES: list[int | str] = [4, 5, 6, 7, "integrated"]
CODEBOOKS: dict[int | str, Codebook] = {wave: load_codebook(wave) for wave in WAVES}
ALL_ITEMS = [(wave, item) for wave, codebook in CODEBOOKS.items() for item in codebook.items.values()]
each_wave = pytest.mark.parametrize("wave", WAVES)
any_item = st.sampled_from([item for _, item in ALL_ITEMS])


def items_of(wave: int | str) -> list[Item]:
    return list(CODEBOOKS[wave].items.values())


def codes_of(wave: int | str, name: str) -> list[int]:
    return [option.code for option in CODEBOOKS[wave].items[name].options]


def test_every_wave_with_a_codebook_is_known() -> None:
    assert known_waves() == WAVES
    assert {wave: codebook.wave for wave, codebook in CODEBOOKS.items()} == {wave: wave for wave in WAVES}


@pytest.mark.parametrize("wave", [3, 8, "joint", "../wave7", "wave7"])
def test_a_wave_without_a_codebook_is_refused_and_no_path_is_a_wave(wave: int | str) -> None:
    with pytest.raises(InputError, match=r"expected one of 4, 5, 6, 7, integrated"):
        load_codebook(wave)


@each_wave
def test_every_item_is_complete(wave: int | str) -> None:
    assert {item.topic for item in items_of(wave)} <= TOPICS
    assert {item.kind for item in items_of(wave)} <= KINDS
    for item in items_of(wave):
        assert re.fullmatch(r"[A-Z].+\?.*", item.question), item.item
        assert not re.search(r"[\[\]{}<>_|%$]|\.\.\.|  |your your", item.question), item.item
        assert len({option.wording for option in item.options}) == len(item.options), item.item
        assert item.scale == "nominal" or (len(item.options) == 2) == (item.scale == "binary"), item.item


@each_wave
def test_no_two_items_ask_the_same_question_or_stand_for_the_same_integrated_code(wave: int | str) -> None:
    questions = [item.question.casefold() for item in items_of(wave)]
    integrated = [item.integrated for item in items_of(wave) if item.integrated]
    assert len(set(questions)) == len(questions)
    assert len(set(integrated)) == len(integrated)


@each_wave
def test_a_scale_with_labelled_ends_only_says_what_its_ends_mean(wave: int | str) -> None:
    for item in (item for item in items_of(wave) if item.endpoints_only):
        low, *middle, high = item.options
        assert f"from {low.code} ({low.wording.casefold()}) to {high.code} ({high.wording.casefold()})" in item.question.casefold(), item.item
        assert [option.wording for option in middle] == [str(code) for code in range(low.code + 1, high.code)], item.item


@pytest.mark.parametrize("wave", [4, 5, 6, "integrated"])
def test_every_item_of_an_older_wave_has_the_header_text_it_is_found_by(wave: int | str) -> None:
    without = [item.item for item in items_of(wave) if not item.header]
    assert without == []


def test_an_item_of_several_waves_has_one_topic_kind_and_integrated_item() -> None:
    integrated = CODEBOOKS["integrated"].items
    # Government responsibility is left out of the time series: it is not confirmed which end of its scale is 1.
    for wave, item in ((wave, item) for wave, item in ALL_ITEMS if item.integrated and item.integrated != "E037"):
        assert (item.topic, item.kind) == (integrated[item.integrated].topic, integrated[item.integrated].kind), (wave, item.item)


def test_labels_of_single_waves_mean_the_same_in_the_time_series() -> None:
    for wave, item in ALL_ITEMS:
        series = CODEBOOKS["integrated"].items.get(item.integrated or "")
        if series is None:
            continue
        resolve = item_resolver(series)
        wordings = {option.code: option.wording for option in series.options}
        for option in item.options:
            assert wordings.get(resolve(option.label).code or 0) == option.wording, (wave, item.item, option.label)


@pytest.mark.parametrize(
    ("wave", "name", "order"),
    [
        (6, "V45", [1, 3, 2]),
        (5, "V44", [1, 3, 2]),
        ("integrated", "C001", [1, 3, 2]),
        (5, "V28", [0, 1, 2]),
        (6, "V12", [1, 2]),
        ("integrated", "A029", [1, 0]),
        ("integrated", "A124_02", [1, 0]),
        ("integrated", "F050", [1, 0]),
        ("integrated", "F028", list(range(1, 9))),
        (5, "V186", list(range(1, 8))),
    ],
)
def test_scales_differ_between_waves_as_the_files_do(wave: int | str, name: str, order: list[int]) -> None:
    assert codes_of(wave, name) == order


@pytest.mark.parametrize(("wave", "name"), [(4, "V15"), (5, "V12"), (5, "V38"), (6, "V36")])
def test_mentions_are_read_as_one_and_two(wave: int, name: str) -> None:
    resolve = item_resolver(CODEBOOKS[wave].items[name])
    assert [resolve(cell).code for cell in ("1", "Mentioned", "2", "Not mentioned")] == [1, 1, 2, 2]


@pytest.mark.parametrize("name", ["Q33", "Q34", "Q35"])
def test_what_wave_7_asks_with_five_options_is_never_pooled_with_three(name: str) -> None:
    """The time series has agree, disagree, neither: C001, C002 and D066_B stand for that question only."""
    assert len(CODEBOOKS[7].items[name].options) == 5
    assert CODEBOOKS[7].items[name].integrated is None


@pytest.mark.parametrize("wave", [4, 5, 6, 7, "integrated"])
def test_every_row_says_what_it_rests_on(wave: int | str) -> None:
    name = wave if wave == "integrated" else f"wave{wave}"
    with (CODEBOOKS_FOLDER / f"{name}.csv").open(encoding="utf-8", newline="") as rows:
        sources = {row["item"]: row["source"] for row in csv.DictReader(rows)}
    assert {source.split()[0] for source in sources.values()} <= {"header", "facts", "crosswalk", "public"}
    assert wave != 5 or all(source.startswith("crosswalk + public ") for source in sources.values())
    assert wave != 4 or all(source.startswith("public ") for source in sources.values())


def test_codes_are_reused_with_other_meanings() -> None:
    assert "V242" not in CODEBOOKS[6].items
    assert CODEBOOKS[6].items["V203A"].integrated == CODEBOOKS[5].items["V203"].integrated == "F119"
    assert CODEBOOKS[5].items["V203"].question != CODEBOOKS[6].items["V203"].question


@pytest.mark.parametrize(("wave", "column"), [(4, "V223"), (5, "V235"), (6, "V240"), (7, "Q260"), ("integrated", "X001")])
def test_sex_is_where_each_wave_has_it(wave: int | str, column: str) -> None:
    assert CODEBOOKS[wave].vocabularies[column] == {1: ("Male",), 2: ("Female",)}


@pytest.mark.parametrize(("wave", "column"), [(4, "V184G"), (5, "V185G"), (6, "V144G"), (7, "Q289"), ("integrated", "F025")])
def test_religions_have_the_same_levels_in_every_wave(wave: int | str, column: str) -> None:
    expected = {code: names[0] for code, names in CODEBOOKS[7].vocabularies["Q289"].items()}
    assert {code: names[0] for code, names in CODEBOOKS[wave].vocabularies[column].items()} == expected


@pytest.mark.parametrize(("wave", "column"), [(4, "V225R"), (5, "V237R"), ("integrated", "X003R")])
def test_age_groups_are_read_from_label_and_code(wave: int | str, column: str) -> None:
    resolve = dimension_resolver(DimensionSection(column=column, persona="{level}"), vocabulary=CODEBOOKS[wave].vocabularies[column])
    assert [resolve(cell).level for cell in ("1", "15-24", '65 and more years"', "6")] == ["15-24", "15-24", "65+", "65+"]


@each_wave
def test_no_label_of_a_respondent_column_stands_for_two_levels(wave: int | str) -> None:
    for column, levels in CODEBOOKS[wave].vocabularies.items():
        labels = [label.casefold() for texts in levels.values() for label in texts]
        assert len(set(labels)) == len(labels), column


@given(any_item, st.data())
def test_every_label_alias_and_code_leads_to_its_own_option(item: Item, data: st.DataObject) -> None:
    option = data.draw(st.sampled_from(item.options))
    text = data.draw(st.sampled_from([option.label, *option.aliases, str(option.code), f"  {option.label.upper()};"]))
    assert item_resolver(item)(text).code == option.code


@given(any_item, st.sampled_from(["-1", "-2", "-4", "Don´t know", "No answer", "No contesta", "Not asked in this country"]))
def test_a_missing_code_is_no_option_of_any_item(item: Item, cell: str) -> None:
    resolved = item_resolver(item)(cell)
    assert (resolved.code, resolved.rule) == (None, "missing")


@given(st.integers(-99, 99), st.sampled_from(["Q1", "V242", "Y001", "Y003", "Y020", "A001", ""]))
def test_negative_codes_are_missing_but_for_the_index_that_runs_below_zero(code: int, column: str) -> None:
    value = column == "Y003" and code in (-1, -2)
    assert is_missing_code(code, column=column) == (code < 0 and not value)
    assert (missing_reason(str(code), column=column) is None) == (code >= 0 or value)


def test_minus_one_is_a_level_of_the_autonomy_index_and_a_missing_code_elsewhere() -> None:
    vocabulary = {-1: ("Rather obedience",), 1: ("Rather autonomy",)}
    levels = {column: dimension_resolver(DimensionSection(column=column, persona="{level}"), vocabulary={}) for column in ("Y003", "V10")}
    assert levels["V10"]("-1").missing == "dont_know"
    assert levels["Y003"]("-1").missing is None
    assert dimension_resolver(DimensionSection(column="Y003", persona="{level}"), vocabulary=vocabulary)("-1").level == "Rather obedience"
