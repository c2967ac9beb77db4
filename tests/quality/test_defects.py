"""Defects put into a survey file, and what catches each: a refusal at intake, or a gate by the name of its check.

UNSEEN are defects that leave a file which another country could have answered: nothing in the data alone shows them.
"""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import GateError, InputError
from tasks.intake.ingest import ingest
from tasks.quality.evidence import Limits, check
from tasks.quality.gate import GateResult
from tasks.study import Study
from tests.intake.writers import csv_of_codes, labelled, survey

Change = Callable[[pd.DataFrame], pd.DataFrame]
ANSWERS, RESPONDENTS, WEIGHTS = (f"assert_{name}_quarantine_within_limit" for name in ("answer", "respondent", "weight"))
BARE_CODES = "neither the file nor the codebook says what they mean"
LIMITS = Limits(minimum_respondents=30, minimum_effective_n=0, subgroup_order=2, quarantine_limit=0.005, countries=["SGP"])
COLUMNS = ["version", "B_COUNTRY", "B_COUNTRY_ALPHA", "A_YEAR", "D_INTERVIEW", "W_WEIGHT", "Q260", "Q262", "Q289", "Q290"]
ITEMS = ["Q1", "Q2", "Q3", "Q27", "Q48", "Q57", "Q106", "Q152", "Q164", "Q171"]
MORE = [f"Q{number}" for number in (*range(4, 7), *range(28, 47), *range(58, 81))]  # as many as tell people apart


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return survey(tmp_path_factory.mktemp("sound")).head(400)[[*COLUMNS, *ITEMS, *MORE]]


def mapped(column: str, **texts: str) -> Change:
    """Cells of a column replaced: `_1="9"` makes 1 to 9."""
    return lambda table: table.assign(**{column: table[column].replace({name.removeprefix("_"): text for name, text in texts.items()})})


def made(column: str, change: Callable[[pd.Series], pd.Series]) -> Change:
    return lambda table: table.assign(**{column: change(table[column])})


def some(column: str, cell: str, *, every: int = 20) -> Change:
    """Every twentieth cell of a column."""
    return lambda table: table.assign(**{column: [cell if row % every == 0 else old for row, old in enumerate(table[column])]})


def shifted(columns: list[str], *, by: int = 1) -> Change:
    return lambda table: table.assign(**{to: table[of] for to, of in zip(columns, columns[by:] + columns[:by], strict=True)})


def minus_one_is(cell: str) -> Change:
    return lambda table: table.assign(**{item: table[item].where(table[item] != "1", cell) for item in ITEMS})


def in_labels(change: Callable[[str], str], item: str = "Q1") -> Change:
    """One item in labels, each of them damaged."""
    return lambda table: table.assign(**{item: labelled(table)[item].map(change)})


CAUGHT: dict[str, tuple[Change, str]] = {
    "columns shifted by one": (shifted(ITEMS), ANSWERS),
    "header shifted against the cells": (shifted(["W_WEIGHT", "Q260", "Q262", "Q289"]), BARE_CODES),
    "two items of other scales swapped": (shifted(["Q1", "Q48"]), ANSWERS),
    "an answer recoded to a code for missing": (minus_one_is("99"), ANSWERS),
    "an item multiplied by ten": (made("Q57", lambda cells: cells + "0"), ANSWERS),
    "an item counted from zero": (made("Q1", lambda cells: (cells.astype(int) - 1).astype(str)), ANSWERS),
    "an item averaged": (some("Q48", "5.5"), ANSWERS),
    "an option that is not on the card": (some("Q1", "7"), ANSWERS),
    "letters for options": (mapped("Q57", _1="A", _2="B"), ANSWERS),
    "labels of another language": (in_labels(lambda label: f"Sehr {label}"), ANSWERS),
    "labels cut off": (in_labels(lambda label: label[:6]), ANSWERS),
    "labels in the wrong encoding": (in_labels(lambda label: label.replace("i", "Ã¯")), ANSWERS),
    "labels of another item": (lambda table: table.assign(Q1=labelled(table)["Q57"]), ANSWERS),
    "sex counted from zero": (mapped("Q260", _1="0", _2="1"), RESPONDENTS),
    "sex in letters": (mapped("Q260", _1="M", _2="F"), RESPONDENTS),
    "years of birth for ages": (made("Q262", lambda cells: (2020 - cells.astype(int)).astype(str)), RESPONDENTS),
    "999 for an unknown age": (some("Q262", "999"), RESPONDENTS),
    "ages in words": (some("Q262", "forty"), RESPONDENTS),
    "religion in another coding": (made("Q289", lambda cells: cells + "0"), BARE_CODES),
    "ethnicity without the country's number": (made("Q290", lambda cells: cells.str[-1]), BARE_CODES),
    "weights lost for some": (some("W_WEIGHT", ""), WEIGHTS),
    "weights of zero": (some("W_WEIGHT", "0"), WEIGHTS),
    "negative weights": (made("W_WEIGHT", lambda cells: "-" + cells), "none of the 400 weights"),
    "weights in per cent": (made("W_WEIGHT", lambda cells: cells + "%"), "none of the 400 weights"),
    "weights that are missing codes": (some("W_WEIGHT", "-99"), WEIGHTS),
    "respondents doubled": (lambda table: pd.concat([table, table]), "assert_no_row_is_repeated"),
    "respondents copied under new numbers": (
        lambda table: pd.concat([table, table.assign(D_INTERVIEW=table["D_INTERVIEW"] + "9")]),
        "assert_no_row_is_repeated",
    ),
    "one respondent copied twenty times": (lambda table: pd.concat([table, *[table.head(1)] * 20]), "assert_no_row_is_repeated"),
    "another country's rows mixed in": (some("B_COUNTRY_ALPHA", "USA"), "has 2 countries"),
    "another wave's rows mixed in": (some("A_YEAR", "2012"), "A_YEAR holds"),
    "a column twice": (lambda table: pd.concat([table, table[["Q1"]]], axis=1), "duplicate columns Q1"),
    "a column lost": (lambda table: table.drop(columns="Q289"), "has no column Q289"),
    "the weight lost": (lambda table: table.drop(columns="W_WEIGHT"), "has no weight column W_WEIGHT"),
    "scales of the inverted file": (lambda table: table.rename(columns={"Q57": "Q57P"}), "inverted twin"),
    "no answers at all": (lambda table: table.head(0), "no respondent"),
}
UNSEEN: dict[str, Change] = {
    "sex codes swapped": mapped("Q260", _1="2", _2="1"),
    "an item's scale turned round": mapped("Q1", _1="4", _2="3", _3="2", _4="1"),
    "missing answers recoded to an option": made("Q1", lambda cells: cells.replace({"-1": "2", "-2": "2"})),
    "two items of one scale swapped": shifted(["Q1", "Q2"]),
    "weights shuffled": made("W_WEIGHT", lambda cells: cells.sample(frac=1, random_state=1, ignore_index=True)),
    "all weights one": made("W_WEIGHT", lambda cells: cells.where(cells == "", "1")),
    "answers of one item shuffled": made("Q1", lambda cells: cells.sample(frac=1, random_state=1, ignore_index=True)),
}


def pass_the_gates(table: pd.DataFrame, study: Study, folder: Path) -> list[GateResult]:
    path = csv_of_codes(";")(table, folder / "survey.csv")
    section = study.survey.model_copy(update={"file": str(path), "country": None})
    staged = ingest(path, section=section, dimensions=study.dimensions, folder=folder)
    return [check(stage, made=[staged], limits=LIMITS, folder=folder) for stage in ("intake", "staging")]


def test_the_sound_file_passes(table: pd.DataFrame, sample_study: Study, tmp_path: Path) -> None:
    assert [(result.failed, result.passed > 20) for result in pass_the_gates(table, sample_study, tmp_path)] == [(0, True), (0, True)]


@pytest.mark.parametrize("defect", CAUGHT)
def test_a_defect_is_caught_by_name(table: pd.DataFrame, sample_study: Study, tmp_path: Path, defect: str) -> None:
    change, catcher = CAUGHT[defect]
    with pytest.raises((GateError, InputError)) as caught:
        pass_the_gates(change(table), sample_study, tmp_path)
    assert catcher in str(caught.value)


@pytest.mark.parametrize("defect", UNSEEN)
def test_a_defect_that_the_data_cannot_show_is_known_as_such(table: pd.DataFrame, sample_study: Study, tmp_path: Path, defect: str) -> None:
    changed = UNSEEN[defect](table)
    assert not changed.equals(table)
    assert [result.failed for result in pass_the_gates(changed, sample_study, tmp_path)] == [0, 0]
