"""Which wave a file is of, and where its country, year and weight stand. A codebook is never applied to another wave.

layout = recognise(raw)
layout.wave, layout.countries   # 7, {'SGP': Country(name='Singapore', year=2020, respondents=2012)}
"""

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError
from tasks.intake.headers import FORMATS
from tasks.intake.labels import number
from tasks.intake.raw import RawSurvey

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
LONGEST_SHOWN = 30
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
        raise InputError(f"{raw.path.name}: {problem}. Give a wave-{WAVE} file ({FORMATS}; one country or cross-national)")
    version = "; ".join(sorted({cell.strip() for cell in raw.cells(VERSION)})) if VERSION in raw.headers else ""
    weight = WEIGHT if WEIGHT in raw.headers else None
    return Layout(WAVE, version, version.startswith(SYNTHETIC), _countries(raw), weight)


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
    return _wrong_wave(raw) or _wrong_country(raw)


def _other_layout(raw: RawSurvey) -> str:
    if not any(_V_CODE.fullmatch(code) for code in raw.headers):
        return f"the layout of the time series (integrated codes); the codebook is wave {WAVE}"
    wave = next((wave for wave, column, years in _V_CODE_YEARS if column in raw.headers and _all_within(raw.cells(column), years)), None)
    return f"{f'wave-{wave}' if wave else 'older'} (V-code) layout; the codebook is wave {WAVE}"


def _wrong_wave(raw: RawSurvey) -> str | None:
    waves = raw.cells(WAVE_COLUMN) if WAVE_COLUMN in raw.headers else []
    if any(number(cell) != WAVE for cell in waves):
        return f"{WAVE_COLUMN} holds {_shown(waves)}; the codebook is wave {WAVE}"
    years = raw.cells(YEAR)
    if not _all_within(years, YEARS):
        return f"{YEAR} holds {_shown(years)}, and wave {WAVE} was in the field from {YEARS[0]} to {YEARS[-1]}; the codebook is wave {WAVE}"
    return None


def _wrong_country(raw: RawSurvey) -> str | None:
    wrong = [cell for cell in raw.cells(COUNTRY) if not _ALPHA_3.fullmatch(cell.strip(" "))]
    return f"{COUNTRY} holds {_shown(wrong)}, expected codes such as SGP" if wrong else None


def _all_within(cells: list[str], years: range) -> bool:
    return all(number(cell) in years for cell in cells)


def _shown(cells: list[str]) -> str:
    """A few cells of a column that all of a country share; texts that are long are no such cells."""
    return ", ".join(repr(cell[:LONGEST_SHOWN]) for cell in cells[:5])


def _countries(raw: RawSurvey) -> dict[str, Country]:
    """Respondents of each country, the most first; the year and the label are those of most of them."""
    labels = COUNTRY_NUMBER if COUNTRY_NUMBER in raw.headers else COUNTRY
    years: dict[str, Counter[int]] = {}
    names: dict[str, Counter[str]] = {}
    for country, label, year, respondents in raw.counts(COUNTRY, labels, YEAR):
        years.setdefault(country.strip(" "), Counter())[int(number(year) or 0)] += respondents
        names.setdefault(country.strip(" "), Counter())[label.strip()] += respondents
    found = {country: Country(_name(country, names[country]), year.most_common(1)[0][0], year.total()) for country, year in years.items()}
    return dict(sorted(found.items(), key=lambda pair: -pair[1].respondents))


def _name(country: str, labels: Counter[str]) -> str:
    """The codebook's name, or else the file's label."""
    label = labels.most_common(1)[0][0]
    return country_names().get(country) or (label if label and not label.isdigit() else country)


@cache
def country_names() -> dict[str, str]:
    """ISO 3166-1 alpha-3 -> name, for the societies of wave 7."""
    with COUNTRIES_FILE.open(encoding="utf-8", newline="") as source:
        return {row["country"]: row["name"] for row in csv.DictReader(source)}
