"""Drafting a codebook for an unknown wave: what is matched, what is left to a person, and what a confirmed draft reads as."""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.intake.codebook import Item, known_waves, load_codebook, load_codebook_file
from tasks.intake.draft import COLUMNS, CONFIDENT, DECIDE, Draft, draft_codebook, item_cells, write_draft

WAVE7 = load_codebook(7)
ALL_ITEMS = [item for wave in known_waves() for item in load_codebook(wave).items.values()]
SHIFT = 1
REWORDED = {
    "Q1": "Importance in life: Family",
    "Q22": "Neighbours - Homosexuals",
    "Q46": "Feelings of happiness",
    "Q57": "Trust: most people can be trusted",
    "Q69": "Confidence in the Police",
    "Q131": "Secure in your neighbourhood",
    "Q182": "Justifiable - homosexuality",
    "Q199": "Interested in politics: interest",
    "Q238": "Political systems: having a democratic system",
}
NEW = {
    "N1": ("Confidence: Artificial intelligence companies", ["A great deal", "Quite a lot", "Not very much", "None at all"]),
    "N2": ("Justifiable: Using a chatbot to write exams", ["Never justifiable", *map(str, range(2, 10)), "Always justifiable"]),
    "N3": ("Vaccinated against the coronavirus", ["Yes", "No"]),
    "N4": ("Climate change: personal worry", ["Extremely worried", "Somewhat worried", "Not worried"]),
    "N5": ("Neighbors: People with tattoos", ["Mentioned", "Not mentioned"]),
}
TECHNICAL = {"D_INTERVIEW": ("Interview ID", [str(number) for number in range(100)]), "W_WEIGHT": ("Weight", [f"0.{number}" for number in range(30)])}


def texts_of(item: Item) -> list[str]:
    return [*(option.label for option in item.options), "Don´t know", "No answer", "-5"]


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    """Column of the invented wave 8 -> item of wave 7: the numbers are shifted, so that every code means another question there."""
    return {f"Q{int(code[1:]) + SHIFT}": code for code, item in WAVE7.items.items() if code[1:].isdigit() and item.header}


@pytest.fixture(scope="module")
def draft(truth: dict[str, str]) -> Draft:
    headers = {column: REWORDED.get(code, WAVE7.items[code].header) for column, code in truth.items()}
    values = {column: texts_of(WAVE7.items[code]) for column, code in truth.items()}
    others = NEW | TECHNICAL
    return draft_codebook(
        headers | {code: header for code, (header, _) in others.items()}, values | {code: texts for code, (_, texts) in others.items()}
    )


@pytest.fixture
def confirmed(draft: Draft, tmp_path: Path) -> Callable[..., Path]:
    """The draft as a file, in which a person has said yes to what was matched and no to the rest; then with the given cells of single rows."""

    def write(**changes: dict[str, str]) -> Path:
        path = tmp_path / "wave8.csv"
        write_draft(draft, path)
        with path.open(encoding="utf-8", newline="") as source:
            rows = [
                row | {"confirm": "yes" if row["matched_to"] and row["item"] not in NEW else "no"} | changes.get(row["item"], {})
                for row in csv.DictReader(source)
            ]
        with path.open("w", encoding="utf-8", newline="") as target:
            writer = csv.DictWriter(target, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def test_every_known_question_is_found_under_its_new_number(draft: Draft, truth: dict[str, str]) -> None:
    assert draft.matched == {column: f"7:{code}" for column, code in truth.items()}


def test_new_and_technical_columns_are_listed_and_never_matched_with_confidence(draft: Draft) -> None:
    assert set(draft.unmatched) == set(NEW | TECHNICAL)
    assert {row.confirm for row in draft.rows if row.item in NEW} == {DECIDE}
    assert {row.confirm for row in draft.rows if row.item in TECHNICAL} == {"no"}


def test_a_numbered_scale_is_for_a_person_to_decide(draft: Draft) -> None:
    (row,) = (row for row in draft.rows if row.item == "Q50")
    assert row.confidence == 1.0
    assert (row.confirm, row.note) == (DECIDE, "look up in the questionnaire that 1 is 'Completely dissatisfied' and 10 is 'Completely satisfied'")
    assert all((row.confirm == DECIDE) == row.known.item.endpoints_only for row in draft.rows if row.known and row.item not in NEW)


def test_a_draft_that_nobody_confirmed_is_refused_with_the_way_to_confirm_it(draft: Draft, tmp_path: Path) -> None:
    write_draft(draft, tmp_path / "wave8.csv")
    with pytest.raises(InputError) as refusal:
        load_codebook_file(tmp_path / "wave8.csv")
    message = str(refusal.value)
    assert message.startswith(f"codebook wave8.csv is a draft that is not confirmed: {len(draft.rows) - 2} of {len(draft.rows)} rows are open")
    assert "row 2 (Q2: matched)" in message
    assert "write yes (the row is right) or no (leave the column out) into its column confirm" in message


def test_a_single_open_row_is_enough_to_refuse(confirmed: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"1 of \d+ rows are open, the first in row 3 \(Q3: empty\)"):
        load_codebook_file(confirmed(Q3={"confirm": ""}))


def test_a_confirmed_draft_reads_as_the_known_items_under_the_new_codes(confirmed: Callable[..., Path], truth: dict[str, str]) -> None:
    codebook = load_codebook_file(confirmed())
    assert (codebook.wave, set(codebook.items), codebook.vocabularies) == ("wave8", set(truth), {})
    assert codebook.items["Q107"].question == WAVE7.items["Q106"].question
    assert codebook.items["Q57"].options == WAVE7.items["Q56"].options


def test_a_row_that_a_person_left_out_need_not_be_complete(confirmed: Callable[..., Path]) -> None:
    assert "Q3" not in load_codebook_file(confirmed(Q3={"confirm": "no", "question": ""})).items


def test_a_new_question_that_a_person_says_yes_to_must_be_filled_in(confirmed: Callable[..., Path]) -> None:
    with pytest.raises(InputError, match=r"codebook wave8\.csv, row \d+ \(N3\): column kind is empty or absent, expected a value\. Correct the row"):
        load_codebook_file(confirmed(N3={"confirm": "yes"}))


def test_the_draft_says_what_the_cells_of_an_unmatched_column_are(draft: Draft) -> None:
    notes = {row.item: row.note for row in draft.rows}
    assert notes["N3"] == "cells: Yes | No"
    assert notes["D_INTERVIEW"] == "more than 12 different cells: no question with options"


def test_a_few_respondents_words_are_counted_in_a_draft_and_not_written() -> None:
    draft = draft_codebook({"Q300": "Other party, which"}, {"Q300": {"None": 400, "What Jane said": 1, "What John said": 2}})
    (row,) = draft.rows
    assert row.note == "cells: None | 2 of fewer than 30 respondents"


def test_country_year_wave_and_weight_are_left_out_by_themselves() -> None:
    draft = draft_codebook({"A_YEAR": "Year of survey", "B_COUNTRY_ALPHA": "Country code"}, {"A_YEAR": ["2025"], "B_COUNTRY_ALPHA": ["SGP"]})
    assert {row.confirm for row in draft.rows} == {"no"}


def test_headers_without_text_cannot_be_drafted() -> None:
    with pytest.raises(InputError, match=r"cannot be drafted: no header text; give the labelled export"):
        draft_codebook({"Q1": "", "Q2": " "}, {"Q1": ["1", "2"], "Q2": ["1"]})


def test_bare_numbers_are_never_matched_with_confidence() -> None:
    draft = draft_codebook({"Q5": WAVE7.items["Q4"].header}, {"Q5": ["1", "2", "3", "4", "-1"]})
    assert [(row.known.origin, row.confirm) for row in draft.rows if row.known] == [("7:Q4", DECIDE)]
    assert draft.rows[0].confidence < CONFIDENT


def test_the_same_header_with_other_options_is_no_match() -> None:
    draft = draft_codebook({"Q5": WAVE7.items["Q4"].header}, {"Q5": ["Every day", "Every week", "Never at all"]})
    assert draft.unmatched == ("Q5",)


def test_a_text_that_no_option_has_is_shown_and_left_to_a_person() -> None:
    cells = ["Very important", "Rather important", "Not very important", "Not at all important", "It depends"]
    (row,) = draft_codebook({"Q5": WAVE7.items["Q4"].header}, {"Q5": cells}).rows
    assert (row.known and row.known.origin, row.confirm, row.note) == ("7:Q4", DECIDE, "unknown cells: It depends")


def test_one_question_goes_to_one_column() -> None:
    header, texts = WAVE7.items["Q4"].header, texts_of(WAVE7.items["Q4"])
    draft = draft_codebook({"Q5": header, "Q5_COPY": header}, {"Q5": texts, "Q5_COPY": texts})
    assert list(draft.matched) == ["Q5"]
    assert draft.unmatched == ("Q5_COPY",)


def test_a_question_that_wave_7_dropped_is_found_in_an_older_codebook() -> None:
    item = load_codebook(6).items["V80"]
    draft = draft_codebook({"Q12": item.header}, {"Q12": texts_of(item)})
    assert draft.matched == {"Q12": "6:V80"}


@pytest.mark.parametrize(("wave", "other", "matched"), [(6, 7, 150), (7, 6, 165)])
def test_a_wave_is_drafted_from_the_other_without_a_wrong_question(wave: int, other: int, matched: int) -> None:
    """Header texts and labels of the two waves that were compared with a file: what `draft.py` says about its limits."""
    own = load_codebook(wave).items
    draft = draft_codebook(
        {name: item.header for name, item in own.items()}, {name: texts_of(item) for name, item in own.items()}, codebooks=[load_codebook(other)]
    )
    confident = [(own[row.item], row.known.item) for row in draft.rows if row.known and row.confidence >= CONFIDENT]
    wrong = [item.item for item, known in confident if (item.integrated or item.question) not in (known.integrated, known.question)]
    assert wrong == []
    assert len(confident) >= matched


@given(st.sampled_from(ALL_ITEMS))
@settings(max_examples=200)
def test_what_is_written_reads_as_the_same_item(tmp_path_factory: pytest.TempPathFactory, item: Item) -> None:
    path = tmp_path_factory.mktemp("codebook") / "mine.csv"
    with path.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(item_cells(item)))
        writer.writeheader()
        writer.writerow(item_cells(item))
    assert load_codebook_file(path).items == {item.item: item}


@given(st.lists(st.sampled_from([item for item in ALL_ITEMS if item.header]), min_size=1, max_size=6, unique_by=lambda item: item.item), st.data())
@settings(max_examples=50, deadline=None)
def test_confidence_is_a_share_and_no_question_is_given_twice(items: list[Item], data: st.DataObject) -> None:
    values = {item.item: data.draw(st.lists(st.sampled_from([*texts_of(item), "Something else"]), max_size=6)) for item in items}
    draft = draft_codebook({item.item: item.header for item in items}, values, codebooks=[WAVE7, load_codebook(4)])
    assert [row.item for row in draft.rows] == [item.item for item in items]
    assert all(0 <= row.confidence <= 1 for row in draft.rows)
    questions = [row.known.question for row in draft.rows if row.known]
    assert len(set(questions)) == len(questions)
