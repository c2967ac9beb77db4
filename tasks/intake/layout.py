"""Which wave a file is of, and where its country, year and weight stand. A codebook is never applied to another wave.

layout = recognise(raw)
layout.codebook, layout.countries   # 7, {'SGP': Country(name='Singapore', year=2020, respondents=2012)}
"""

import csv
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError
from tasks.intake.codebook import INTEGRATED
from tasks.intake.headers import FORMATS
from tasks.intake.labels import missing_reason, number
from tasks.intake.raw import RawSurvey

VERSION = "version"
SYNTHETIC = "SYNTHETIC"
COUNTRIES_FILE = Path(__file__).resolve().parent / "codebooks" / "countries.csv"
LONGEST_SHOWN = 30
LAST_YEAR = 2100
NEXT_WAVE = 8
WAVE_COLUMNS = ("S002VS", "S002")  # of the time series, the newer name first
# Text exports of the time series name a wave by its period; editions differ in the years.
FIRST_YEARS = {1981: 1, 1989: 2, 1990: 2, 1994: 3, 1995: 3, 1999: 4, 2000: 4, 2005: 5, 2010: 6, 2017: 7}
NEW_WAVE = "draft one with `valuescape codebook FILE --out CSV`, confirm its rows, then give it with --codebook CSV"

_REVERSED = re.compile(r"Q\d{1,3}P")
_Q_CODE, _V_CODE = re.compile(r"Q\d{1,3}[A-Z]?"), re.compile(r"V\d{1,3}[A-Z]?")
_INTEGRATED_CODE = re.compile(r"[A-HX]\d{3}[A-Z]?")


class Shape(NamedTuple):
    """Where the official files of a wave keep what every survey has. `country` lists columns, the best first: ISO codes, ISO numbers or names;
    `wave` is the column that says the wave, where there is one."""

    codebook: int | str
    question: re.Pattern[str]
    country: tuple[str, ...]
    year: str
    years: range
    weight: str
    wave: str | None
    sex: str
    age: str
    ethnicity: str
    religion: str
    may_lack_weight: bool = False

    @property
    def name(self) -> str:
        return "the time series" if self.codebook == INTEGRATED else f"wave {self.codebook}"

    @property
    def dimensions(self) -> dict[str, str]:
        return {"sex": self.sex, "age": self.age, "ethnicity": self.ethnicity, "religion": self.religion}


# V-codes mean other things in each wave: the column that holds the year of the survey tells them apart. Text exports of wave 6 carry no weight.
SHAPES = (
    Shape(7, _Q_CODE, ("B_COUNTRY_ALPHA", "B_COUNTRY"), "A_YEAR", range(2017, 2024), "W_WEIGHT", "A_WAVE", "Q260", "Q262", "Q290", "Q289"),
    Shape(6, _V_CODE, ("B_COUNTRY_ALPHA", "V2"), "V262", range(2010, 2017), "V258", None, "V240", "V242", "V254", "V144G", may_lack_weight=True),
    Shape(5, _V_CODE, ("V2", "V2A"), "V260", range(2004, 2010), "V259", None, "V235", "V237", "V256", "V185G"),
    Shape(4, _V_CODE, ("V2", "V2A"), "V246", range(1998, 2005), "V245", None, "V223", "V225", "V242", "V184G"),
    Shape(INTEGRATED, _INTEGRATED_CODE, ("COUNTRY_ALPHA", "S003"), "S020", range(1981, 2100), "S017", "S002VS", "X001", "X003", "X051", "F025"),
)


# What a file is asked before it is known which respondents are taken.
FACT_COLUMNS = frozenset({VERSION, *WAVE_COLUMNS, *(column for shape in SHAPES for column in (*shape.country, shape.year, shape.wave) if column)})


class Country(NamedTuple):
    """`year` is that of most of the respondents; `waves` counts them by wave, where a file has several."""

    name: str
    year: int
    respondents: int
    waves: dict[int, int] = {}


class Layout(NamedTuple):
    """`wave` is 0 in a file of several waves; `weight_column` is None when the file has none; `synthetic` files say so in their version column;
    `cells` maps a country to the texts that stand for it in `country_column`, `wave_cells` a wave to those in `wave_column`, which is None in a file
    of one wave."""

    shape: Shape
    wave: int
    version: str
    synthetic: bool
    countries: dict[str, Country]
    country_column: str
    cells: dict[str, tuple[str, ...]]
    weight_column: str | None
    wave_column: str | None
    wave_cells: dict[int, tuple[str, ...]]

    @property
    def codebook(self) -> int | str:
        return self.shape.codebook


def recognise(raw: RawSurvey, *, newer: bool = False) -> Layout:
    """The layout of an official file; InputError with the reason for any other. `newer`: of a wave after the seventh, which is expected to keep the
    seventh's columns for country, year and weight."""
    shape, problem = find_shape(raw, newer=newer)
    if shape is None:
        expected = "a file of a wave after the seventh with --codebook" if newer else "a file of waves 4 to 7 or of the time series"
        advice = "" if NEW_WAVE in problem else f". Give {expected} ({FORMATS}; one country or several)"
        raise InputError(f"{raw.path.name}: {problem}{advice}")
    version = "; ".join(sorted({cell.strip() for cell in raw.cells(VERSION)})) if VERSION in raw.headers else ""
    column, cells = _country_cells(raw, shape=shape)
    weight = shape.weight if shape.weight in raw.headers else None
    wave_column = _wave_column(raw, shape=shape)
    countries = _countries(raw, shape=shape, column=column, cells=cells)
    wave = _only_wave(raw, shape=shape, newer=newer)
    return Layout(
        shape, wave, version, version.startswith(SYNTHETIC), countries, column, cells, weight, wave_column, _wave_cells(raw, column=wave_column)
    )


def _only_wave(raw: RawSurvey, *, shape: Shape, newer: bool) -> int:
    """The wave's number; 0 for a file of several. A newer wave says its own, or is the one after the seventh."""
    if not newer:
        return shape.codebook if isinstance(shape.codebook, int) else 0
    said = raw.cells(shape.wave) if shape.wave in raw.headers else []
    return wave_of(said[0]) or NEXT_WAVE if said else NEXT_WAVE


def wave_of(cell: str) -> int | None:
    """The wave that a number or a period such as "2010-2014" stands for; None for anything else, missing codes too."""
    plain = number(cell)
    if plain is not None:
        return int(plain) if plain.is_integer() and plain > 0 else None
    period = re.match(r"(\d{4})\s*-\s*\d{4}", cell.strip())
    return FIRST_YEARS.get(int(period[1])) if period else None


def _wave_column(raw: RawSurvey, *, shape: Shape) -> str | None:
    """The column that tells waves apart in a file of several."""
    return next((column for column in WAVE_COLUMNS if column in raw.headers), None) if shape.codebook == INTEGRATED else None


def _wave_cells(raw: RawSurvey, *, column: str | None) -> dict[int, tuple[str, ...]]:
    cells: dict[int, tuple[str, ...]] = {}
    for cell in raw.cells(column) if column else []:
        wave = wave_of(cell) or 0
        cells[wave] = (*cells.get(wave, ()), cell)
    return cells


def find_shape(raw: RawSurvey, *, newer: bool = False) -> tuple[Shape | None, str]:
    """The shape of a file, or None and why it has none. `newer`: only a wave after the seventh will do, in the seventh's layout."""
    if any(_REVERSED.fullmatch(code) for code in raw.headers):
        return None, "the inverted twin of the cross-national file (codes with a P, such as Q1P), whose scales are reversed. Take the one without P"
    candidates = [shape for shape in SHAPES if shape.year in raw.headers and any(shape.question.fullmatch(code) for code in raw.headers)]
    if newer:
        return _newer_shape(raw, candidates)
    problems = {shape: _problem(raw, shape=shape) for shape in candidates}
    found = [shape for shape, problem in problems.items() if problem is None]
    if found:
        return found[0], ""
    if problems:
        return None, "; ".join(f"not {shape.name}: {problem}" for shape, problem in problems.items())
    years = ", ".join(f"{shape.year} ({shape.name})" for shape in SHAPES)
    return None, f"an unknown layout: no column holds the year of the survey, expected one of {years}"


def _newer_shape(raw: RawSurvey, candidates: list[Shape]) -> tuple[Shape | None, str]:
    """The seventh's shape for a file of a later wave; a codebook of the user's is never put in the place of a shipped one."""
    known = next((shape for shape in candidates if _problem(raw, shape=shape) is None), None)
    if known:
        return None, f"a file of {known.name}, which has a codebook of its own: leave --codebook out"
    shape = SHAPES[0]
    years = range(shape.years.stop, LAST_YEAR)
    cells = raw.cells(shape.year) if shape.year in raw.headers else []
    if not cells or not all(number(cell) in years for cell in cells):
        return None, f"not of a wave after the seventh: {shape.year} holds {_shown(cells) or 'nothing'}, expected years from {years[0]} on"
    waves = raw.cells(shape.wave) if shape.wave in raw.headers else []
    if waves and (len(waves) > 1 or (wave_of(waves[0]) or 0) < NEXT_WAVE):
        return None, f"{shape.wave} holds {_shown(waves)}, expected one number from {NEXT_WAVE} on"
    problem = _country_problem(raw, shape=shape)
    return (None, problem) if problem else (shape, "")


def _problem(raw: RawSurvey, *, shape: Shape) -> str | None:
    """Why the file is not of this shape; None when it is."""
    cells = raw.cells(shape.year)
    if not all(number(cell) in shape.years for cell in cells):
        told = f"{shape.year} holds {_shown(cells)}, and {shape.name} was in the field from {shape.years[0]} to {shape.years[-1]}"
        later = shape.codebook == SHAPES[0].codebook and all((number(cell) or 0) >= shape.years.stop for cell in cells)
        return f"{told}; a later wave numbers its questions anew and needs a codebook of its own: {NEW_WAVE}" if later else told
    if isinstance(shape.codebook, int) and shape.wave in raw.headers:
        wrong = [cell for cell in raw.cells(str(shape.wave)) if wave_of(cell) != shape.codebook]
        if wrong:
            return f"{shape.wave} holds {_shown(wrong)}; the codebook is {shape.name}"
    if not any(code in raw.headers for code in (shape.sex, shape.age)):
        return f"no {shape.sex} (sex) and no {shape.age} (age)"
    return _several_waves_problem(raw, shape=shape) or _country_problem(raw, shape=shape)


def _several_waves_problem(raw: RawSurvey, *, shape: Shape) -> str | None:
    if shape.codebook != INTEGRATED:
        return None
    column = _wave_column(raw, shape=shape)
    if column is None:
        return f"no {' or '.join(WAVE_COLUMNS)} (wave)"
    unknown = [cell for cell in raw.cells(column) if wave_of(cell) is None]
    return f"{column} holds {_shown(unknown)}, expected numbers of waves, or periods such as 2010-2014" if unknown else None


def _country_problem(raw: RawSurvey, *, shape: Shape) -> str | None:
    present = [column for column in shape.country if column in raw.headers]
    if not present:
        return f"no {' or '.join(shape.country)} (country)"
    _, cells = _country_cells(raw, shape=shape)
    unknown = [cell for cell in raw.cells(present[0]) if country_of(cell) is None]
    return None if cells else f"{present[0]} holds {_shown(unknown)}, expected codes such as SGP, numbers such as 702 or names of countries"


def _country_cells(raw: RawSurvey, *, shape: Shape) -> tuple[str, dict[str, tuple[str, ...]]]:
    """The first column that says anything (text exports of wave 6 have one of -4), and the texts of each country; no countries when one of its texts
    is none."""
    for column in shape.country:
        named = {cell: country_of(cell) for cell in raw.cells(column)} if column in raw.headers else {}
        if all(missing_reason(cell) for cell in named):
            continue
        cells: dict[str, tuple[str, ...]] = {}
        for cell, country in named.items():
            cells[str(country)] = (*cells.get(str(country), ()), cell)
        return column, cells if all(named.values()) else {}
    return "", {}


def _shown(cells: list[str]) -> str:
    """A few cells of a column that all of a country share; texts that are long are no such cells."""
    return ", ".join(repr(cell[:LONGEST_SHOWN]) for cell in cells[:5])


def _countries(raw: RawSurvey, *, shape: Shape, column: str, cells: dict[str, tuple[str, ...]]) -> dict[str, Country]:
    """Respondents of each country, the most first."""
    country_by_cell = {cell: country for country, texts in cells.items() for cell in texts}
    waves = _wave_column(raw, shape=shape)
    years: dict[str, Counter[int]] = {country: Counter() for country in cells}
    by_wave: dict[str, Counter[int]] = {country: Counter() for country in cells}
    for cell, year, *wave, respondents in raw.counts(column, shape.year, *([waves] if waves else [])):
        years[country_by_cell[cell]][int(number(year) or 0)] += respondents
        if wave:
            by_wave[country_by_cell[cell]][wave_of(wave[0]) or 0] += respondents
    found = {
        name: Country(country_name(name), year.most_common(1)[0][0], year.total(), dict(sorted(by_wave[name].items())))
        for name, year in years.items()
    }
    return dict(sorted(found.items(), key=lambda pair: -pair[1].respondents))


def country_of(cell: str) -> str | None:
    """The ISO 3166-1 alpha-3 code of a code, an ISO number or a country's name; None for anything else. Unknown three-letter codes stay."""
    text = cell.strip(" ")
    if re.fullmatch(r"[A-Z]{3}", text):
        return text
    plain = number(text)
    if plain is not None:
        return _by_number().get(int(plain)) if plain.is_integer() else None
    return _by_label().get(text.casefold())


def country_name(country: str) -> str:
    """As a sentence has it ("the United States"); the code itself when it is no country of ours."""
    return next((row["name"] for row in _rows() if row["country"] == country), country)


def known_countries() -> list[str]:
    return [row["country"] for row in _rows()]


@cache
def _rows() -> tuple[dict[str, str], ...]:
    """country (ISO 3166-1 alpha-3), numeric, name, and labels met in files, separated by |."""
    with COUNTRIES_FILE.open(encoding="utf-8", newline="") as source:
        return tuple(csv.DictReader(source))


@cache
def _by_number() -> dict[int, str]:
    return {int(row["numeric"]): row["country"] for row in _rows()}


@cache
def _by_label() -> dict[str, str]:
    """Names with and without their article."""
    named = [(row["country"], label) for row in _rows() for label in (row["name"], row["name"].removeprefix("the "), *row["labels"].split("|"))]
    return {label.casefold(): country for country, label in named if label}
