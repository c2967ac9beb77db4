"""What a study wants of a survey file, checked against what the file has.

source = choose(raw, section=study.survey, dimensions=study.dimensions)
source.country, source.items   # 'SGP', ['Q1', 'Q2', ...]
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from tasks.errors import InputError
from tasks.intake.codebook import Codebook, load_codebook
from tasks.intake.layout import COUNTRY, YEAR, Layout, recognise
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
        return list(dict.fromkeys([*self.mapped_columns, COUNTRY, YEAR, *weight]))


def choose(raw: RawSurvey, *, section: SurveySection, dimensions: Dimensions) -> Source:
    """The study's country, weight and dimensions in the file; InputError for what the file does not have."""
    layout = recognise(raw)
    codebook = load_codebook(layout.wave)
    country = _chosen_country(raw, layout=layout, wanted=section.country)
    weight = _weight_column(raw, wanted=section.weight)
    for name, dimension in dimensions.items():
        _check_dimension(raw, name=name, section=dimension, codebook=codebook)
    return Source(raw, layout, codebook, country, weight, dimensions)


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


def _weight_column(raw: RawSurvey, *, wanted: str) -> str | None:
    if wanted == NO_WEIGHT:
        return None
    if wanted not in raw.headers:
        raise InputError(
            f"{raw.path.name} has no weight column {wanted}{_near(raw, wanted, words='weight')}. Unweighted shares are not the country's: give an "
            "export with the weight, or set survey.weight to none in the study"
        )
    return wanted


def _check_dimension(raw: RawSurvey, *, name: str, section: DimensionSection, codebook: Codebook) -> None:
    if section.column not in raw.headers:
        raise InputError(
            f"{raw.path.name} has no column {section.column}, which the dimension {name!r} needs{_near(raw, section.column, words=name)}. "
            f"Correct dimensions.{name}.column in the study, or leave the dimension out"
        )
    if section.bands and list(section.bands) != sorted(set(section.bands)):
        raise InputError(f"dimensions.{name}.bands is {list(section.bands)}, expected lower bounds that grow, such as [16, 25, 35]. Sort them")
    _check_levels(raw, name=name, section=section, codebook=codebook)


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
