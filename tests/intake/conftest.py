"""Little survey files, made in the test: invented respondents of two countries, in codes and in labels."""

from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from tasks.intake import choices, inspection
from tasks.intake.codebook import Codebook, Item, Option
from tasks.study import DimensionSection

Rows = list[dict[str, str]]
LABELS = {"Q1": "Important in life: Family", "Q260": "Sex", "Q262": "Age", "W_WEIGHT": "Weight", "Q290": "Ethnic group"}

NUMERIC: Rows = [
    {"version": "SYNTHETIC 1", "B_COUNTRY": "702", "B_COUNTRY_ALPHA": "SGP", "A_YEAR": "2020", "W_WEIGHT": "0.5"}
    | {"Q1": "1", "Q2": "-1", "Q48": "1", "Q260": "1", "Q262": "21", "Q289": "5", "Q290": "702004"},
    {"version": "SYNTHETIC 1", "B_COUNTRY": "702", "B_COUNTRY_ALPHA": "SGP", "A_YEAR": "2020", "W_WEIGHT": "1.5"}
    | {"Q1": "2", "Q2": "0", "Q48": "10", "Q260": "2", "Q262": "70", "Q289": "0", "Q290": "702006"},
    {"version": "SYNTHETIC 1", "B_COUNTRY": "702", "B_COUNTRY_ALPHA": "SGP", "A_YEAR": "2020", "W_WEIGHT": "1"}
    | {"Q1": "1", "Q2": "3", "Q48": "-2", "Q260": "2", "Q262": "-5", "Q289": "-2", "Q290": "702004"},
]
TEXT: Rows = [
    {"version": "7-0", "B_COUNTRY": "United States", "B_COUNTRY_ALPHA": "USA", "A_YEAR": "2017", "W_WEIGHT": "No weighting"}
    | {
        "Q1": "Very important",
        "Q2": "Don´t know",
        "Q48": "None at all",
        "Q260": "Male",
        "Q262": "21",
        "Q289": "Jew",
        "Q290": "US: White, non-Hispanic",
    },
    {"version": "7-0", "B_COUNTRY": "United States", "B_COUNTRY_ALPHA": "USA", "A_YEAR": "2017", "W_WEIGHT": "1.5"}
    | {"Q1": "Rather  Important;", "Q2": "Hard to say", "Q48": "7", "Q260": "Female", "Q262": "70", "Q289": "Muslim", "Q290": "US: Hispanic"},
]


def item(code: str, *labels: str, codes: tuple[int, ...] = (1, 2, 3), endpoints: bool = False, off_scale: tuple[Option, ...] = ()) -> Item:
    options = tuple(Option(number, label, f"our {label}", ()) for number, label in zip(codes, labels, strict=True))
    return Item(code, "Social Values", "attitude", "ordinal", f"Question {code}?", options, off_scale, endpoints, "", None)


TEN = ("None at all", *map(str, range(2, 10)), "A great deal")


@pytest.fixture
def codebook(monkeypatch: pytest.MonkeyPatch) -> Codebook:
    """A codebook of three items in place of the shipped one. Q2 has its middle option, 0, between 1 and 3."""
    tiny = Codebook(
        wave=7,
        items={
            "Q1": item("Q1", "Very important", "Rather important", "Not very important"),
            "Q2": item("Q2", "Agree", "Hard to say", "Disagree", codes=(1, 0, 3), off_scale=(Option(9, "Other answer", "Other answer", ()),)),
            "Q48": item("Q48", *TEN, codes=tuple(range(1, 11)), endpoints=True),
            "Q99": item("Q99", "Member", "Inactive member", "Don't belong", codes=(2, 1, 0)),
        },
        vocabularies={
            "Q260": {1: ("Male",), 2: ("Female",)},
            "Q289": {0: ("None", "Do not belong to a denomination"), 4: ("Jew",), 5: ("Muslim",)},
            "Q290": {702004: ("Chinese", "SG: Chinese"), 702006: ("Malay",), 702999: ("Others", "Other")},
        },
        content_hash="tiny",
    )
    for module in (choices, inspection):
        monkeypatch.setattr(module, "load_codebook", lambda wave: tiny)
    return tiny


@pytest.fixture
def dimensions() -> dict[str, DimensionSection]:
    return {
        "sex": DimensionSection(column="Q260", persona="{level}"),
        "age_group": DimensionSection(column="Q262", persona="{level}", bands=(16, 25, 65)),
        "religion": DimensionSection(column="Q289", persona="{level}", levels={"Jew": "Other", "None": None}),
    }


@pytest.fixture
def write_csv(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: Rows, *, delimiter: str = ";", labelled: bool = False, name: str = "survey.csv") -> Path:
        header = [f"{code} {LABELS.get(code, code)}" if labelled else code for code in rows[0]]
        lines = [header, *(row.values() for row in rows)]
        text = "\r\n".join(delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in line) for line in lines)
        path = tmp_path / name
        path.write_text(text + "\r\n", encoding="utf-8-sig")
        return path

    return write


@pytest.fixture
def write_xlsx(tmp_path: Path) -> Callable[..., Path]:
    def write(rows: Rows, *, name: str = "survey.xlsx") -> Path:
        workbook = openpyxl.Workbook()
        workbook.active.title = "Data"
        for line in ([f"{code}: {LABELS.get(code, code)}" for code in rows[0]], *(list(row.values()) for row in rows)):
            workbook.active.append(line)
        workbook.save(tmp_path / name)
        return tmp_path / name

    return write
