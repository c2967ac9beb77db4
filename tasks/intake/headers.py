"""Column headers: the code of a variable, and the label behind it.

understood(["Q260 Sex", "Q262: Age", "version"], name="survey.csv")   # {'Q260': 'Sex', 'Q262': 'Age', 'version': ''}
"""

import re
from collections import Counter

from tasks.errors import InputError
from tasks.intake.raw import RESPONDENT_ID

FORMATS = "Csv, CsvTxt, Excel, ExcelTxt, Spss, Stata or R"
WHAT_TO_DO = f"Give an official download ({FORMATS}, zipped or not)"

# Q-codes (waves 7 and 8), V-codes (waves 4 to 6), integrated codes (time series).
QUESTION = re.compile(r"(Q\d{1,3}|V\d{1,3}|[A-HXY]\d{3})[A-Z]?")
HEADER = re.compile(r"(?P<code>[A-Za-z_][\w.]*)\s*(?::\s*|\s|$)(?P<label>.*)", re.DOTALL)
MOST_COLUMNS = 10_000
# What is lower case in every export, whatever the case of the codes.
LOWER_CASE = frozenset({"version", "doi"})


def understood(cells: list[str], *, name: str) -> dict[str, str]:
    """Code -> label, from `Q260`, `Q260 Sex` or `Q260: Sex`; codes that are all in lower case (some Stata files) in upper case.

    Raises InputError for a file without survey columns, or with duplicate ones.
    """
    if len(cells) > MOST_COLUMNS:
        raise InputError(f"{name}: found {len(cells):,} columns, expected at most {MOST_COLUMNS:,}. It is no survey file, or damaged. {WHAT_TO_DO}")
    pairs = [_code_and_label(cell, number=number) for number, cell in enumerate(cells, start=1)]
    if not any(code != code.lower() for code, _ in pairs):
        pairs = [(code if code in LOWER_CASE else code.upper(), label) for code, label in pairs]
    codes = [code for code, _ in pairs]
    if not any(QUESTION.fullmatch(code) for code in codes):
        shown = ", ".join(repr(cell.strip()[:20]) for cell in cells[:5])
        raise InputError(f"{name} is not a survey: found {len(codes)} columns ({shown} ...), expected question codes such as Q1. {WHAT_TO_DO}")
    _refuse_duplicates(codes, name=name)
    return dict(pairs)


def is_header(line: str) -> bool:
    """True when a line of text has cells that name questions, in codes of any case: one may be chance."""
    cells = [cell.strip(' "\t\r') for cell in re.split("[;,\t]", line)]
    return sum(QUESTION.fullmatch(_code_and_label(cell, number=1)[0].upper()) is not None for cell in cells) > 1


def _refuse_duplicates(codes: list[str], *, name: str) -> None:
    """DuckDB's column names ignore case, so ours must differ in more; and one is ours."""
    times = Counter(code.casefold() for code in codes)
    repeated = sorted({code for code in codes if times[code.casefold()] > 1})
    if repeated:
        shown = ", ".join(code[:20] for code in repeated[:10])
        raise InputError(f"{name}: duplicate columns {shown}, expected every code once. Remove the copies, or download the file again")
    if RESPONDENT_ID in times:
        raise InputError(f"{name}: found a column {RESPONDENT_ID}, which no survey has and Valuescape makes itself. Rename or remove it")


def _code_and_label(cell: str, *, number: int) -> tuple[str, str]:
    match = HEADER.fullmatch(cell.strip())
    if match is None:
        return (cell.strip() or f"unnamed_{number}"), ""
    return match["code"], match["label"].strip()
