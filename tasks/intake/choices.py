"""What a study wants of a survey file, checked against what the file has.

source = choose(raw, section=study.survey, dimensions=study.dimensions)
source.countries, source.items   # ['SGP'], ['Q1', 'Q2', ...]
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.errors import InputError
from tasks.intake.codebook import Codebook, is_missing_code, load_codebook, load_codebook_file
from tasks.intake.labels import missing_reason, normalised, number, without_country
from tasks.intake.layout import NEXT_WAVE, Layout, find_shape, recognise
from tasks.intake.raw import ChosenRows, RawSurvey
from tasks.study import EVERY, DimensionSection, RefineSection, SurveySection

NO_WEIGHT = "none"

Dimensions = Mapping[str, DimensionSection]


@dataclass(frozen=True)
class Source:
    """A file that can be studied, with what the study wants of it; the columns of `dimensions` are the file's own."""

    raw: RawSurvey
    layout: Layout
    codebook: Codebook
    countries: list[str]
    waves: list[int]
    weight_column: str | None
    dimensions: Dimensions

    @property
    def items(self) -> list[str]:
        """Items of the codebook that the file has and the study does not use as a dimension."""
        traits = {column for section in self.dimensions.values() for column in columns_of(section)}
        return [item for item in self.codebook.items if item in self.raw.headers and item not in traits]

    @property
    def mapped_columns(self) -> list[str]:
        traits = [column for section in self.dimensions.values() for column in columns_of(section)]
        return list(dict.fromkeys([*self.items, *traits]))

    @property
    def used_columns(self) -> list[str]:
        layout = self.layout
        named = [layout.country_column, layout.shape.year, layout.wave_column, self.weight_column]
        return list(dict.fromkeys([*self.mapped_columns, *(column for column in named if column)]))

    @property
    def rows(self) -> ChosenRows:
        layout = self.layout
        country = (layout.country_column, [cell for country in self.countries for cell in layout.cells[country]])
        if layout.wave_column is None:
            return ChosenRows(*country, *country)
        return ChosenRows(*country, layout.wave_column, [cell for wave in self.waves for cell in layout.wave_cells[wave]])

    def vocabulary(self, column: str) -> dict[int, tuple[str, ...]]:
        return vocabulary_of(self.raw, column=column, codebook=self.codebook)


def vocabulary_of(raw: RawSurvey, *, column: str, codebook: Codebook) -> dict[int, tuple[str, ...]]:
    """The codebook's levels of a respondent column, and the file's own labels of codes that the codebook does not know."""
    known = codebook.vocabularies.get(column, {})
    labels = {code: label for code, label in raw.value_labels.get(column, {}).items() if not is_missing_code(code, column=column)}
    return {**{code: (without_country(label).strip(),) for code, label in labels.items()}, **known}


def columns_of(section: DimensionSection) -> list[str]:
    """The columns of a dimension in one file, the refining one last."""
    return [str(section.column), *([str(section.refine.column)] if section.refine else [])]


def choose(raw: RawSurvey, *, section: SurveySection, dimensions: Dimensions, codebook: Path | None = None) -> Source:
    """The study's countries, waves, weight and dimensions in the file; InputError for what the file does not have. `codebook`: the user's, for a
    wave that no shipped one is for; beside other files of the study it is for those of that wave only."""
    newer = codebook is not None and (section.has_one_file or find_shape(raw)[0] is None)
    layout = recognise(raw, newer=newer)
    book = load_codebook_file(codebook) if codebook and newer else load_codebook(layout.codebook)
    countries = _chosen_countries(raw, layout=layout, section=section)
    waves = _chosen_waves(raw, layout=layout, countries=countries, wanted=section.waves)
    weight = _weight_column(raw, layout=layout, wanted=section.weight)
    found = {name: _in_file(raw, layout=layout, name=name, section=dimension) for name, dimension in dimensions.items()}
    source = Source(raw, layout, book, countries, waves, weight, found)
    if not source.items:
        raise InputError(
            f"{raw.path.name}: none of the {len(book.items)} items of the codebook of {layout.shape.name} is in the file. Download it again"
        )
    return source


def _chosen_countries(raw: RawSurvey, *, layout: Layout, section: SurveySection) -> list[str]:
    """Those of the study that the file has: of several files each needs to have one only."""
    wanted = [country.upper() for country in section.countries]
    listed = ", ".join(f"{country} ({found.respondents:,} respondents)" for country, found in layout.countries.items())
    if not wanted and len(layout.countries) > 1:
        raise InputError(
            f"{raw.path.name} has {len(layout.countries)} countries: {listed}. Choose with --country (repeated for several, or ALL), or "
            "survey.country in the study"
        )
    if not wanted or EVERY in wanted:
        return list(layout.countries)
    found = [country for country in wanted if country in layout.countries]
    if not found or (section.has_one_file and len(found) < len(wanted)):
        absent = ", ".join(country for country in wanted if country not in layout.countries)
        raise InputError(
            f"{raw.path.name}: country {absent} is not in the file, which has {listed}. Choose one of these with "
            "--country, by its three letters (ISO 3166-1)"
        )
    return found


def _chosen_waves(raw: RawSurvey, *, layout: Layout, countries: list[str], wanted: tuple[int, ...]) -> list[int]:
    """The file's wave, or of several those that the study names."""
    counted: Counter[int] = Counter()
    for country in countries:
        counted.update(layout.countries[country].waves)
    if not counted:
        if wanted and layout.wave not in wanted:
            raise InputError(
                f"{raw.path.name}: found wave {layout.wave}, expected wave {_either(wanted)} (survey.wave). Give that wave's file, or leave "
                "survey.wave out"
            )
        return [layout.wave]
    listed = ", ".join(f"{wave} ({respondents:,} respondents)" for wave, respondents in sorted(counted.items()))
    if not wanted and len(counted) > 1:
        raise InputError(
            f"{raw.path.name}: {_either(countries)} is in waves {listed}. Choose one with --set survey.wave={max(counted)}, or several with "
            f"--set survey.wave={list(counted)[:2]}"
        )
    absent = [wave for wave in wanted if wave not in counted]
    if absent:
        raise InputError(
            f"{raw.path.name}: found waves {listed} of {_either(countries)}, expected wave {_either(absent)} (survey.wave). Choose one of these"
        )
    return sorted(wanted or counted)


def _either(values: Iterable[object]) -> str:
    return " or ".join(str(value) for value in values)


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


def _in_file(raw: RawSurvey, *, layout: Layout, name: str, section: DimensionSection) -> DimensionSection:
    """The dimension with the columns that it has in this file."""
    column = _column(raw, layout=layout, key=f"{name}.column", wanted=section.column)
    if section.bands and list(section.bands) != sorted(set(section.bands)):
        raise InputError(f"dimensions.{name}.bands is {list(section.bands)}, expected lower bounds that grow, such as [16, 25, 35]. Sort them")
    if section.refine is None:
        return section.model_copy(update={"column": column})
    if isinstance(section.refine.column, dict) and _wave_key(layout) not in section.refine.column:
        return section.model_copy(update={"column": column, "refine": None})
    refining = _column(raw, layout=layout, key=f"{name}.refine.column", wanted=section.refine.column)
    return section.model_copy(update={"column": column, "refine": section.refine.model_copy(update={"column": refining})})


def _column(raw: RawSurvey, *, layout: Layout, key: str, wanted: str | dict[int | str, str]) -> str:
    """`sex`, `age`, `ethnicity` and `religion` stand for the wave's own columns; a study may name one for each wave. `key`: where it is named."""
    shape, is_known, wave, name = layout.shape, layout.wave < NEXT_WAVE, _wave_key(layout), key.partition(".")[0]
    if isinstance(wanted, dict) and wave not in wanted:
        raise InputError(f"{raw.path.name} is of wave {wave}, and dimensions.{key} names a column for {_either(wanted)} only. Add {wave} to it")
    named = wanted[wave] if isinstance(wanted, dict) else wanted
    if named in shape.dimensions and not is_known:
        raise InputError(
            f"{raw.path.name} is of wave {wave}, of which it is not known which column holds {named}: questions are numbered anew. Give it as "
            f"--set 'dimensions.{key}={{{wave}: CODE}}', with a code for each other wave of the study{_near(raw, named, words=named)}"
        )
    column = shape.dimensions.get(named, named)
    if column in raw.headers:
        return column
    usual = shape.dimensions.get(name.removesuffix("_group")) if is_known and key == f"{name}.column" else None
    hint = f" The file is of {shape.name}, which has it in {usual}." if usual and usual != column else ""
    raise InputError(
        f"{raw.path.name} has no column {column}, which the dimension {name!r} needs{_near(raw, column, words=name)}.{hint} "
        f"Correct dimensions.{key} in the study, or leave the dimension out"
    )


def _wave_key(layout: Layout) -> int | str:
    return layout.shape.codebook if layout.wave < NEXT_WAVE else layout.wave


def check_levels(source: Source) -> None:
    """Raises InputError for a level that a study names and its column does not have."""
    for name, section in source.dimensions.items():
        if section.refine:
            _check_refined(source, name=name, section=section, refine=section.refine)
        if not section.bands:
            _refuse_bare_codes(source, name=name, section=section)


def levels_that_are_not_there(source: Source) -> dict[str, dict[str, str]]:
    """For each dimension the names in its `levels` and `phrases` that the file does not have, with what it has: another file may have them."""
    absent = {name: _absent_levels(source, section=section) for name, section in source.dimensions.items() if not section.bands}
    return {name: levels for name, levels in absent.items() if levels}


def refuse_levels(absent: Mapping[str, Mapping[str, str]], *, name: str) -> None:
    """Raises InputError for levels that no file of the study has; a misspelt one would silently rename nothing."""
    for dimension, levels in absent.items():
        places = ", ".join(dict.fromkeys(levels.values()))
        raise InputError(
            f"{name}: dimensions.{dimension} (levels, phrases) names {', '.join(map(repr, levels))}, no level of {places}. Correct the spelling, or "
            "leave it out"
        )


def _absent_levels(source: Source, *, section: DimensionSection) -> dict[str, str]:
    """Without a vocabulary there is nothing to hold a level against."""
    column = str(section.column)
    vocabulary = source.vocabulary(column)
    known = {text for texts in vocabulary.values() for text in texts} | {cell.strip() for cell in source.raw.cells(column)}
    known |= {cell.partition(": ")[2] for cell in known}
    place = f"{column} ({', '.join(texts[0] for texts in vocabulary.values())})"
    shown = known | {level for level in section.levels.values() if level} | set(section.refine.levels.values() if section.refine else ())
    absent = [*(level for level in section.levels if level not in known), *(level for level in section.phrases if level not in shown)]
    return dict.fromkeys(absent, place) if vocabulary else {}


def _refuse_bare_codes(source: Source, *, name: str, section: DimensionSection) -> None:
    """Codes of which nobody says what they mean would all be quarantined."""
    column = str(section.column)
    named = {*map(str, source.vocabulary(column)), *section.levels}
    cells = [cell.strip() for cell in source.raw.cells(column) if missing_reason(cell, column=column) is None]
    if cells and not any(cell in named or number(cell) is None for cell in cells):
        raise InputError(
            f"{source.raw.path.name}: {column} ({name}) holds codes such as {cells[0]}, and neither the file nor the codebook says what they mean. "
            f"Give an export with labels (CsvTxt, ExcelTxt, Spss, Stata), name them in dimensions.{name}.levels, or leave the dimension out"
        )


def _check_refined(source: Source, *, name: str, section: DimensionSection, refine: RefineSection) -> None:
    column = str(refine.column)
    if column == section.column:
        raise InputError(f"dimensions.{name}.refine.column is {column}, the dimension's own. Name the finer column, or use levels")
    cells = {normalised(text) for cell in source.raw.cells(column) for text in (cell, without_country(cell))}
    labels = source.raw.value_labels.get(column, {})
    cells |= {normalised(text) for code, label in labels.items() if str(code) in cells for text in (label, without_country(label))}
    absent = [level for level in refine.levels if normalised(level) not in cells]
    if absent:
        raise InputError(
            f"{source.raw.path.name}: dimensions.{name}.refine.levels names {', '.join(map(repr, absent))}, which {column} does not have. Correct "
            "the spelling, or leave them out"
        )


def _near(raw: RawSurvey, wanted: str, *, words: str) -> str:
    """The columns that may have been meant, by code or by the header's label."""
    codes = difflib.get_close_matches(wanted, list(raw.headers), n=3, cutoff=0.75)
    labelled = [code for code, label in raw.headers.items() if any(word in label.casefold().split() for word in words.casefold().split("_"))]
    candidates = list(dict.fromkeys([*codes, *labelled]))[:5]
    shown = ", ".join(f"{code} ({raw.headers[code]})" if raw.headers[code] else code for code in candidates)
    return f" (near it: {shown})" if shown else ""
