"""The shipped wave-7 codebook keeps its promises, and a damaged one is refused with the row named."""

import csv
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.errors import InputError, StepError
from tasks.intake.codebook import CODEBOOKS_FOLDER, KINDS, Codebook, Item, load_codebook, read_codebook

TOPICS = {
    "Corruption",
    "Economic Values",
    "Ethical Values and Norms",
    "Happiness and Well-Being",
    "Migration",
    "Political Culture & Political Regimes",
    "Political Interest & Political Participation",
    "Postmaterialist Index",
    "Religious Values",
    "Science & Technology",
    "Security",
    "Social Capital, Trust & Organizational Membership",
    "Social Values, Attitudes & Stereotypes",
}
NOMINAL = {"Q42", "Q91", "Q92", "Q93", "Q111", "Q152", "Q153", "Q154", "Q155", "Q156", "Q157", "Q173"}


@pytest.fixture(scope="module")
def codebook() -> Codebook:
    return load_codebook(7)


@pytest.fixture(scope="module")
def items(codebook: Codebook) -> list[Item]:
    return list(codebook.items.values())


@pytest.fixture
def damaged(tmp_path: Path) -> Callable[..., Path]:
    """A folder with Q1 and a sex column as shipped, but for the given cells of Q1."""

    def write(**cells: str) -> Path:
        with (CODEBOOKS_FOLDER / "wave7.csv").open(encoding="utf-8", newline="") as source:
            first = next(csv.DictReader(source))
        with (tmp_path / "wave7.csv").open("w", encoding="utf-8", newline="") as target:
            writer = csv.DictWriter(target, list(first))
            writer.writeheader()
            writer.writerow({**first, **cells})
        (tmp_path / "wave7_respondents.csv").write_text("column,code,level,aliases\nQ260,1,Male,\nQ260,2,Female,\n", encoding="utf-8")
        return tmp_path

    return write


def codes_of(item: Item) -> list[int]:
    return [option.code for option in item.options]


def test_every_item_is_there_but_party_choice(codebook: Codebook) -> None:
    expected = {f"Q{number}" for number in range(1, 260)} - {"Q223"} | {"Q234A"}
    assert set(codebook.items) == expected
    assert len(codebook.items) == 259


def test_every_item_has_a_known_topic_and_kind(items: list[Item]) -> None:
    assert {item.topic for item in items} == TOPICS
    assert {item.kind for item in items} == set(KINDS)


def test_every_scale_order_is_a_permutation_of_at_least_two_codes(items: list[Item]) -> None:
    for item in items:
        codes = codes_of(item)
        assert len(codes) >= 2, item.item
        assert sorted(codes) == list(range(min(codes), max(codes) + 1)), item.item


@pytest.mark.parametrize(
    ("name", "order"), [("Q1", [1, 2, 3, 4]), ("Q56", [1, 3, 2]), ("Q94", [0, 1, 2]), ("Q119", [1, 2, 0, 3, 4]), ("Q182", list(range(1, 11)))]
)
def test_options_come_in_order_of_meaning_not_of_code(codebook: Codebook, name: str, order: list[int]) -> None:
    assert codes_of(codebook.items[name]) == order


def test_only_items_without_an_order_are_nominal(items: list[Item]) -> None:
    assert {item.item for item in items if item.scale == "nominal"} == NOMINAL
    assert all(codes_of(item) == sorted(codes_of(item)) for item in items if item.scale == "nominal")
    assert all(len(item.options) == 2 for item in items if item.scale == "binary")


def test_codes_off_the_scale_are_no_options(items: list[Item]) -> None:
    off_scale = {item.item: [option.code for option in item.off_scale] for item in items if item.off_scale}
    democracy = {f"Q{number}": [0] for number in range(241, 250)}
    assert off_scale == {"Q111": [3], "Q221": [4], "Q222": [4], "Q254": [5], **democracy}


def test_behaviour_experience_and_knowledge_are_told_from_attitudes(items: list[Item]) -> None:
    kinds = {item.item: item.kind for item in items}
    assert [kinds[name] for name in ("Q51", "Q56", "Q92", "Q94", "Q139", "Q144", "Q171", "Q199", "Q200", "Q222", "Q224")] == [
        "experience",
        "experience",
        "knowledge",
        "behaviour",
        "behaviour",
        "experience",
        "behaviour",
        "attitude",
        "behaviour",
        "behaviour",
        "attitude",
    ]


def test_no_two_items_ask_the_same_question(items: list[Item]) -> None:
    assert len({item.question.casefold() for item in items}) == len(items)


def test_every_question_is_a_whole_sentence_without_a_template_remnant(items: list[Item]) -> None:
    for item in items:
        assert re.fullmatch(r"[A-Z].+[?.]", item.question), item.item
        assert "?" in item.question, item.item
        assert not re.search(r"[\[\]{}<>_|%$]|\.\.\.|  |\bnan\b|nationality\]|your your|\bTODO\b", item.question), item.item


def test_a_scale_with_labelled_ends_only_says_what_its_ends_mean(items: list[Item]) -> None:
    for item in (item for item in items if item.endpoints_only):
        low, *middle, high = item.options
        assert f"from 1 ({low.wording.casefold()}) to 10 ({high.wording.casefold()})" in item.question.casefold(), item.item
        assert [option.wording for option in middle] == [str(number) for number in range(2, 10)], item.item


def test_only_ten_point_items_have_labelled_ends_only(items: list[Item]) -> None:
    assert all((len(item.options) == 10) == item.endpoints_only for item in items)


def test_every_option_has_a_wording_of_its_own(items: list[Item]) -> None:
    for item in items:
        wordings = [option.wording.strip() for option in item.options]
        assert all(wordings), item.item
        assert len(set(wordings)) == len(wordings), item.item


def test_no_label_or_alias_stands_for_two_options(items: list[Item]) -> None:
    for item in items:
        keys = [{text.casefold() for text in (option.label, *option.aliases)} for option in item.options + item.off_scale]
        assert sum(map(len, keys)) == len(set().union(*keys)), item.item


def test_no_label_of_a_respondent_column_stands_for_two_levels(codebook: Codebook) -> None:
    for column, levels in codebook.vocabularies.items():
        labels = [label.casefold() for texts in levels.values() for label in texts]
        assert len(set(labels)) == len(labels), column


def test_levels_shown_are_ours_and_file_labels_are_aliases(codebook: Codebook) -> None:
    religion = codebook.vocabularies["Q289"]
    assert religion[0][0] == "None"
    assert "Do not belong to a denomination" in religion[0]
    assert "Catholic (Roman/Greek/etc)" in religion[1]
    assert codebook.vocabularies["Q290"][702004] == ("Chinese", "SG: Chinese")
    assert codebook.vocabularies["Q260"] == {1: ("Male",), 2: ("Female",)}


def test_integrated_codes_belong_to_one_item_each(items: list[Item]) -> None:
    integrated = [item.integrated for item in items if item.integrated]
    assert len(set(integrated)) == len(integrated)
    assert next(item.integrated for item in items if item.item == "Q1") == "A001"


def test_the_content_hash_follows_the_content(damaged: Callable[..., Path]) -> None:
    before = read_codebook(damaged(), wave=7).content_hash
    after = read_codebook(damaged(question="How much does your family matter in your life?"), wave=7).content_hash
    assert before != after
    assert before == read_codebook(damaged(), wave=7).content_hash


def test_a_wave_without_a_codebook_is_refused_as_wrong_input() -> None:
    with pytest.raises(InputError, match=r"wave 3.*one of 4, 5, 6, 7, integrated") as refusal:
        load_codebook(3)
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("column", "cell", "problem"),
    [
        ("kind", "opinion", "kind is 'opinion', expected one of attitude"),
        ("scale", "", "column scale is empty"),
        ("question", "", "column question is empty"),
        ("codes", "1", "lists 1 option"),
        ("codes", "1|2|3|3", "a code appears twice"),
        ("codes", "1|2|3|four", "'four' is not a whole number"),
        ("wordings", '{"1": "Very important"}', "wordings has the codes"),
        ("labels", '{"1": ""}', "labels of code 1 is ''"),
        ("labels", '{"1": "Very', "column labels is not JSON"),
        ("labels", '["Very"]', "column labels holds list, expected dict"),
        ("aliases", '{"9": ["Extremely"]}', "aliases has the codes"),
        ("aliases", '{"1": "Extremely"}', "expected a list of texts"),
        ("endpoints_only", "maybe", "expected yes or no"),
    ],
)
def test_a_damaged_row_is_named_with_what_is_wrong(damaged: Callable[..., Path], column: str, cell: str, problem: str) -> None:
    with pytest.raises(StepError) as failure:
        read_codebook(damaged(**{column: cell}), wave=7)
    assert str(failure.value).startswith("codebook wave7.csv, row 2 (Q1): ")
    assert problem in str(failure.value)


def test_a_codebook_without_its_respondent_columns_is_refused(damaged: Callable[..., Path]) -> None:
    folder = damaged()
    (folder / "wave7_respondents.csv").unlink()
    with pytest.raises(StepError, match=r"wave7_respondents\.csv cannot be read.*restore"):
        read_codebook(folder, wave=7)


def test_a_level_without_a_code_is_named(damaged: Callable[..., Path]) -> None:
    folder = damaged()
    (folder / "wave7_respondents.csv").write_text("column,code,level,aliases\nQ260,one,Male,\n", encoding="utf-8")
    with pytest.raises(StepError, match=r"row 2 \(Q260\): code 'one' is not a whole number"):
        read_codebook(folder, wave=7)
