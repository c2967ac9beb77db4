import pandas as pd
import pytest

from tasks.intake.codebook import Item, Option
from tasks.intake.labels import Resolved, band_names, dimension_resolver, item_resolver, map_values, missing_reason, normalised
from tasks.study import DimensionSection
from tests.intake.conftest import TEN, item

UNKNOWN = Resolved(None, None, None, "unknown")
RELIGION = {0: ("None", "Do not belong to a denomination"), 1: ("Roman Catholic", "Catholic"), 4: ("Jew",), 5: ("Muslim",)}


def labelled(*options: Option, off_scale: tuple[Option, ...] = ()) -> Item:
    return Item("Q1", "topic", "attitude", "ordinal", "Question?", options, off_scale, False, "", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don´t know", "don't know"),
        ("Women’s", "women's"),
        ("No answer{NA}", "no answer"),
        ("A\u00a0great  deal; ", "a great deal"),
        ('65 and more years"', "65 and more years"),
        ("ＡＢ", "ab"),
    ],
)
def test_what_differs_between_exports_is_normalised_away(text, expected):
    assert normalised(text) == expected


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        *((str(code), reason) for code, reason in ((-1, "dont_know"), (-2, "no_answer"), (-3, "not_applicable"), (-4, "not_asked"), (-5, "missing"))),
        *((text, "dont_know") for text in ("Don´t know", "Dont know", "Don't know/ Unsure", "DK/NA", "Don't -9:-2", "Don't know {DK}")),
        *((text, "no_answer") for text in ("No answer", "No answer{NA}", "No answer;SG: Refused", "No answer/refused", "SG: Refused")),
        *((text, "not_applicable") for text in ("INAP; no such body", "Not applicable")),
        *((text, "not_asked") for text in ("Not asked", "Not asked in this country", "Not asked in survey")),
        *((text, "missing") for text in ("Missing; Not available", "Missing,Not available", "", "  ", "-99", "-9")),
    ],
)
def test_every_spelling_of_a_missing_code_gives_its_reason(cell, reason):
    assert missing_reason(cell) == reason


@pytest.mark.parametrize(
    "answer", ["Not mentioned", "Don't mind", "Don't belong", "None at all", "0", "No", "Not allowed to vote", "Not at all", "(other)"]
)
def test_answers_that_begin_like_missing_codes_are_answers(answer):
    assert missing_reason(answer) is None


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("Agree", Resolved(2, None, None, "exact")),
        ("AGREE {short}", Resolved(2, None, None, "normalised")),
        ("Strongly agree", Resolved(1, None, None, "alias")),
        ("2", Resolved(2, None, None, "code")),
        ("2.0", Resolved(2, None, None, "code")),
        ("USA: Agree", Resolved(2, None, None, "country_label")),
        ("Other answer", Resolved(None, None, "off_scale", "exact")),
        ("9", Resolved(None, None, "off_scale", "code")),
        ("-1", Resolved(None, None, "dont_know", "missing")),
        ("No answer;SG: Refused", Resolved(None, None, "no_answer", "missing")),
        ("Allways", UNKNOWN),
        ("3", UNKNOWN),
        ("2.5", UNKNOWN),
    ],
)
def test_a_cell_of_an_item_is_resolved_by_the_first_rule_that_knows_it(cell, expected):
    scale = labelled(Option(1, "Agree strongly", "", ("Strongly agree",)), Option(2, "Agree", "", ()), off_scale=(Option(9, "Other answer", "", ()),))
    assert item_resolver(scale)(cell) == expected


def test_an_option_wins_over_a_missing_code_that_reads_alike():
    assert item_resolver(labelled(Option(1, "Yes", "", ()), Option(2, "Not applicable", "", ())))("Not applicable").code == 2


def test_a_text_that_stands_for_two_options_is_never_guessed():
    resolve = item_resolver(labelled(Option(1, "Much", "", ("Lots",)), Option(2, "Some", "", ("lots",))))
    assert resolve("Lots") == UNKNOWN


def test_the_points_of_a_ten_point_scale_are_their_numbers():
    resolve = item_resolver(item("Q48", *TEN, codes=tuple(range(1, 11)), endpoints=True))
    assert [resolve(cell).code for cell in ("None at all", "7", "10", "A great deal", "1")] == [1, 7, 10, 10, 1]


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("5", Resolved(None, "Muslim", None, "code")),
        ("Muslim", Resolved(None, "Muslim", None, "exact")),
        ("catholic", Resolved(None, "Roman Catholic", None, "alias")),
        ("Jew", Resolved(None, "Other", None, "levels")),
        ("4", Resolved(None, "Other", None, "levels")),
        ("Do not belong to a denomination", Resolved(None, None, "left_out", "levels")),
        ("-2", Resolved(None, None, "no_answer", "missing")),
        ("Jedi", UNKNOWN),
        ("77", UNKNOWN),
        ("GB: Jedi", Resolved(None, "Jedi", None, "country_label")),
    ],
)
def test_a_cell_of_a_dimension_becomes_the_studys_level(cell, expected):
    section = DimensionSection(column="Q289", persona="{level}", levels={"Jew": "Other", "None": None})
    assert dimension_resolver(section, vocabulary=RELIGION)(cell) == expected


def test_one_countrys_label_is_never_read_with_anothers_vocabulary():
    resolve = dimension_resolver(DimensionSection(column="Q290", persona="{level}"), vocabulary={702003: ("South Asian", "Indian", "SG: Indian")})
    assert resolve("SG: Indian").level == "South Asian"
    assert resolve("US: Indian").level == "Indian"


def test_without_a_vocabulary_labels_are_levels_and_bare_codes_are_quarantined_unless_the_study_names_them():
    section = DimensionSection(column="Q273", persona="{level}", levels={"1": "Married"})
    resolve = dimension_resolver(section, vocabulary={})
    assert resolve("Living  together").level == "Living together"
    assert resolve("1") == Resolved(None, "Married", None, "levels")
    assert resolve("2") == UNKNOWN


@pytest.mark.parametrize(
    ("cell", "level", "missing"),
    [
        ("16", "16-24", None),
        ("24", "16-24", None),
        ("25.0", "25-64", None),
        ("65", "65+", None),
        ("15", None, "left_out"),
        ("-5", None, "missing"),
        ("old", None, None),
    ],
)
def test_bands_cut_a_number_at_their_lower_bounds(cell, level, missing):
    resolved = dimension_resolver(DimensionSection(column="Q262", persona="{level}", bands=(16, 25, 65)), vocabulary={})(cell)
    assert (resolved.level, resolved.missing) == (level, missing)


def test_bands_are_named_by_what_they_hold():
    assert band_names((16, 25, 65)) == ["16-24", "25-64", "65+"]


def test_a_column_is_mapped_once_for_each_of_its_uses():
    fine = dimension_resolver(DimensionSection(column="Q262", persona="{level}", bands=(16, 40)), vocabulary={})
    coarse = dimension_resolver(DimensionSection(column="Q262", persona="{level}", bands=(18,)), vocabulary={})
    values = pd.DataFrame([("Q262", "41", 3)], columns=["column", "cell", "respondents"])
    mapped = map_values(values, maps={"Q262": {"fine": fine, "coarse": coarse}})
    assert mapped[["dimension", "level", "respondents"]].values.tolist() == [["fine", "40+", 3], ["coarse", "18+", 3]]
