"""Which wave a file is of, and where its country, year and weight stand. A codebook is never applied to another wave.

layout = recognise(read_survey(path))
layout.wave, layout.countries   # 7, {'SGP': Country(name='Singapore', year=2020, respondents=2012)}
"""

import csv
import re
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from tasks.errors import InputError
from tasks.intake.formats import RawSurvey

WAVE = 7
YEARS = range(2017, 2024)
WEIGHT = "W_WEIGHT"
COUNTRY, COUNTRY_NUMBER, YEAR, VERSION, WAVE_COLUMN = "B_COUNTRY_ALPHA", "B_COUNTRY", "A_YEAR", "version", "A_WAVE"
SYNTHETIC = "SYNTHETIC"
COUNTRIES_FILE = Path(__file__).resolve().parent / "codebooks" / "countries.csv"

_QUESTION = re.compile(r"Q(\d{1,3})")
_VALUES, _BACKGROUND = range(1, 260), range(260, 291)
_REVERSED = re.compile(r"Q\d{1,3}P")
_V_CODE = re.compile(r"V\d{1,3}[A-Z]?")
# Waves 4 to 6 use V-codes, each with other meanings: the column that holds the year of the survey tells them apart.
_V_CODE_YEARS = ((6, "V262", range(2010, 2017)), (5, "V260", range(2004, 2010)), (4, "V246", range(1998, 2005)))
_ALPHA_3 = re.compile(r"[A-Z]{3}")


class Country(NamedTuple):
    name: str
    year: int
    respondents: int


class Layout(NamedTuple):
    """`weight_column` is None when the file has none; `synthetic` files say so in their version column."""

    wave: int
    version: str
    synthetic: bool
    countries: dict[str, Country]
    weight_column: str | None


def recognise(raw: RawSurvey) -> Layout:
    """The layout of a wave-7 file; InputError with the reason for any other."""
    problem = layout_problem(raw)
    if problem:
        raise InputError(f"{raw.path.name}: {problem}. Give a wave-{WAVE} file (Csv or ExcelTxt, one country or cross-national)")
    version = "; ".join(sorted(raw.frame[VERSION].str.strip().unique())) if VERSION in raw.headers else ""
    weight = WEIGHT if WEIGHT in raw.headers else None
    return Layout(WAVE, version, version.startswith(SYNTHETIC), _countries(raw.frame), weight)


def layout_problem(raw: RawSurvey) -> str | None:
    """Why the file is not a wave-7 survey as its official exports are; None when it is."""
    codes = raw.headers
    if any(_REVERSED.fullmatch(code) for code in codes):
        return "the inverted twin of the cross-national file (codes with a P, such as Q1P), whose scales are reversed"
    numbers = {int(match[1]) for match in map(_QUESTION.fullmatch, codes) if match}
    if not numbers:
        return _other_layout(raw)
    missing = [code for code in (COUNTRY, YEAR) if code not in codes]
    if missing or numbers.isdisjoint(_VALUES) or numbers.isdisjoint(_BACKGROUND):
        lacks = ", ".join(missing) or ("Q1 to Q259" if numbers.isdisjoint(_VALUES) else "Q260 to Q290")
        return f"an unknown layout (Q-codes, but no {lacks}); the codebook is wave {WAVE}"
    return _wrong_wave(raw.frame) or _wrong_country(raw.frame)


def _other_layout(raw: RawSurvey) -> str:
    if not any(_V_CODE.fullmatch(code) for code in raw.headers):
        return f"the layout of the time series (integrated codes); the codebook is wave {WAVE}"
    wave = next((wave for wave, column, years in _V_CODE_YEARS if column in raw.headers and _all_within(raw.frame[column], years)), None)
    return f"{f'wave-{wave}' if wave else 'older'} (V-code) layout; the codebook is wave {WAVE}"


def _wrong_wave(frame: pd.DataFrame) -> str | None:
    if WAVE_COLUMN in frame and set(frame[WAVE_COLUMN].str.strip()) != {str(WAVE)}:
        return f"{WAVE_COLUMN} holds {_shown(frame[WAVE_COLUMN])}; the codebook is wave {WAVE}"
    if not _all_within(frame[YEAR], YEARS):
        return f"{YEAR} holds {_shown(frame[YEAR])}, and wave {WAVE} was in the field from {YEARS[0]} to {YEARS[-1]}; the codebook is wave {WAVE}"
    return None


def _wrong_country(frame: pd.DataFrame) -> str | None:
    wrong = [cell for cell in frame[COUNTRY].unique() if not _ALPHA_3.fullmatch(cell.strip())]
    return f"{COUNTRY} holds {', '.join(map(repr, wrong[:5]))}, expected codes such as SGP" if wrong else None


def _all_within(cells: "pd.Series[str]", years: range) -> bool:
    numbers = pd.to_numeric(cells, errors="coerce")
    return bool(numbers.isin(years).all())


def _shown(cells: "pd.Series[str]") -> str:
    return ", ".join(map(repr, sorted(cells.unique())[:5]))


def _countries(frame: pd.DataFrame) -> dict[str, Country]:
    """Respondents of each country, the most first; the year is the one in which most of them answered."""
    known = country_names()
    found: dict[str, Country] = {}
    columns = [column for column in (COUNTRY, COUNTRY_NUMBER, YEAR) if column in frame]
    for country, rows in frame[columns].groupby(frame[COUNTRY].str.strip()):
        label = str(rows[COUNTRY_NUMBER].iloc[0]) if COUNTRY_NUMBER in rows else ""
        name = known.get(str(country)) or (label if label and not label.isdigit() else str(country))
        found[str(country)] = Country(name, int(float(rows[YEAR].mode().iloc[0])), len(rows))
    return dict(sorted(found.items(), key=lambda pair: -pair[1].respondents))


def country_names() -> dict[str, str]:
    """ISO 3166-1 alpha-3 -> name, for the societies of wave 7."""
    with COUNTRIES_FILE.open(encoding="utf-8", newline="") as source:
        return {row["country"]: row["name"] for row in csv.DictReader(source)}
