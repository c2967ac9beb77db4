"""What a study wants of a survey file, checked against what the file has.

source = choose(raw, section=study.survey, dimensions=study.dimensions)
source.country, source.items   # 'SGP', ['Q1', 'Q2', ...]
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError
from tasks.intake.codebook import Codebook, load_codebook, load_codebook_file
from tasks.intake.layout import Layout, recognise
from tasks.intake.raw import RawSurvey
from tasks.study import DimensionSection, SurveySection

NO_WEIGHT = "none"

Dimensions = Mapping[str, DimensionSection]


@dataclass(frozen=True)
class Source:
    """A file that can be studied, with what the study wants of it."""

    raw: RawSurvey
    layout: Layout
    codebook: Codebook
    country: str
    wave: int
    weight_column: str | None
    dimensions: Dimensions

    @property
    def items(self) -> list[str]:
        """Items of the codebook that the file has and the study does not use as a dimension."""
        traits = {section.column for section in self.dimensions.values()}
        return [item for item in self.codebook.items if item in self.raw.headers and item not in traits]

    @property
    def mapped_columns(self) -> list[str]:
        return list(dict.fromkeys([*self.items, *(section.column for section in self.dimensions.values())]))

    @property
    def used_columns(self) -> list[str]:
        weight = [self.weight_column] if self.weight_column else []
        return list(dict.fromkeys([*self.mapped_columns, self.layout.country_column, self.layout.shape.year, *weight]))

    @property
    def rows(self) -> "ChosenRows":
        layout = self.layout
        country = (layout.country_column, list(layout.cells[self.country]))
        if layout.wave_column is None:
            return ChosenRows(*country, *country)
        return ChosenRows(*country, layout.wave_column, list(layout.wave_cells[self.wave]))


class ChosenRows(NamedTuple):
    """Which respondents are of the study's country and wave, by the texts in two columns; a file of one wave has the country's twice."""

    country_column: str
    country_cells: list[str]
    wave_column: str
    wave_cells: list[str]


def choose(raw: RawSurvey, *, section: SurveySection, dimensions: Dimensions, codebook: Path | None = None) -> Source:
    """The study's country, wave, weight and dimensions in the file; InputError for what the file does not have. `codebook`: the user's, for a wave
    that no shipped one is for."""
    layout = recognise(raw, newer=codebook is not None)
    book = load_codebook_file(codebook) if codebook else load_codebook(layout.codebook)
    country = _chosen_country(raw, layout=layout, wanted=section.country)
    wave = _chosen_wave(raw, layout=layout, country=country, wanted=section.wave)
    weight = _weight_column(raw, layout=layout, wanted=section.weight)
    source = Source(raw, layout, book, country, wave, weight, dimensions)
    for name, dimension in dimensions.items():
        _check_dimension(source, name=name, section=dimension)
    if not source.items:
        raise InputError(f"{raw.path.name}: none of the {len(book.items)} items of the codebook of wave {wave} is in the file. Download it again")
    return source


def _chosen_country(raw: RawSurvey, *, layout: Layout, wanted: str | None) -> str:
    listed = ", ".join(f"{country} ({found.respondents:,} respondents)" for country, found in layout.countries.items())
    if wanted is None and len(layout.countries) > 1:
        raise InputError(
            f"{raw.path.name} has {len(layout.countries)} countries: {listed}. Choose one with --country, or survey.country in the study"
        )
    country = wanted.upper() if wanted else next(iter(layout.countries))
    if country not in layout.countries:
        raise InputError(f"{raw.path.name}: country {wanted} is not in the file, which has {listed}. Choose one of these with --country")
    return country


def _chosen_wave(raw: RawSurvey, *, layout: Layout, country: str, wanted: int | None) -> int:
    """The file's wave, or of several the one that the study names."""
    waves = layout.countries[country].waves
    if not waves:
        only = layout.wave
        if wanted not in (None, only):
            raise InputError(
                f"{raw.path.name}: found wave {only}, expected wave {wanted} (survey.wave). Give that wave's file, or leave survey.wave out"
            )
        return only
    listed = ", ".join(f"{wave} ({respondents:,} respondents)" for wave, respondents in waves.items())
    if wanted is None and len(waves) > 1:
        raise InputError(f"{raw.path.name}: {country} is in waves {listed}. Choose one with --set survey.wave={max(waves)}")
    if wanted is not None and wanted not in waves:
        raise InputError(f"{raw.path.name}: found waves {listed} of {country}, expected wave {wanted} (survey.wave). Choose one of these")
    return wanted or next(iter(waves))


def _weight_column(raw: RawSurvey, *, layout: Layout, wanted: str | None) -> str | None:
    """The study's own choice, or the column that the official files of the wave weigh by; none where those files are known to carry none."""
    if wanted == NO_WEIGHT or (wanted is None and layout.weight_column is None and layout.shape.may_lack_weight):
        return None
    column = wanted or layout.shape.weight
    if column not in raw.headers:
        raise InputError(
            f"{raw.path.name} has no weight column {column}{_near(raw, column, words='weight')}. Unweighted shares are not the country's: give an "
            "export with the weight, or set survey.weight to none in the study"
        )
    return column


def _check_dimension(source: Source, *, name: str, section: DimensionSection) -> None:
    raw, shape = source.raw, source.layout.shape
    if section.column not in raw.headers:
        usual = shape.dimensions.get(name.removesuffix("_group")) if isinstance(source.codebook.wave, int) or source.layout.wave_column else None
        hint = f" The file is of {shape.name}, which has it in {usual}." if usual else ""
        raise InputError(
            f"{raw.path.name} has no column {section.column}, which the dimension {name!r} needs{_near(raw, section.column, words=name)}.{hint} "
            f"Correct dimensions.{name}.column in the study, or leave the dimension out"
        )
    if section.bands and list(section.bands) != sorted(set(section.bands)):
        raise InputError(f"dimensions.{name}.bands is {list(section.bands)}, expected lower bounds that grow, such as [16, 25, 35]. Sort them")
    _check_levels(raw, name=name, section=section, codebook=source.codebook)


def _check_levels(raw: RawSurvey, *, name: str, section: DimensionSection, codebook: Codebook) -> None:
    """A misspelt level would silently rename nothing; without a vocabulary there is nothing to hold it against."""
    vocabulary = codebook.vocabularies.get(section.column)
    if not vocabulary or section.bands:
        return
    known = {text for texts in vocabulary.values() for text in texts} | {cell.strip() for cell in raw.cells(section.column)}
    known |= {cell.partition(": ")[2] for cell in known}
    unknown = [level for level in section.levels if level not in known]
    if unknown:
        levels = ", ".join(texts[0] for texts in vocabulary.values())
        raise InputError(
            f"dimensions.{name}.levels names {', '.join(map(repr, unknown))}, no level of {section.column} ({levels}). Correct the spelling"
        )


def _near(raw: RawSurvey, wanted: str, *, words: str) -> str:
    """The columns that may have been meant, by code or by the header's label."""
    codes = difflib.get_close_matches(wanted, list(raw.headers), n=3, cutoff=0.75)
    labelled = [code for code, label in raw.headers.items() if any(word in label.casefold().split() for word in words.casefold().split("_"))]
    candidates = list(dict.fromkeys([*codes, *labelled]))[:5]
    shown = ", ".join(f"{code} ({raw.headers[code]})" if raw.headers[code] else code for code in candidates)
    return f" (near it: {shown})" if shown else ""
