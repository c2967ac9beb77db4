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
from tasks.intake.codebook import Codebook, load_codebook, load_codebook_file
from tasks.intake.layout import NEXT_WAVE, Layout, find_shape, recognise
from tasks.intake.raw import ChosenRows, RawSurvey
from tasks.study import EVERY, DimensionSection, SurveySection

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
    def kept_columns(self) -> list[str]:
        """What is used, and the file's other identity columns, in the file's order."""
        wanted = {*self.used_columns, *self.raw.held}
        return [column for column in self.raw.headers if column in wanted]

    @property
    def rows(self) -> ChosenRows:
        layout = self.layout
        country = (layout.country_column, [cell for country in self.countries for cell in layout.cells[country]])
        if layout.wave_column is None:
            return ChosenRows(*country, *country)
        return ChosenRows(*country, layout.wave_column, [cell for wave in self.waves for cell in layout.wave_cells[wave]])


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
    if wanted in ([], [EVERY]):
        return list(layout.countries)
    found = [country for country in wanted if country in layout.countries]
    if not found or (section.has_one_file and len(found) < len(wanted)):
        absent = ", ".join(country for country in wanted if country not in layout.countries)
        raise InputError(f"{raw.path.name}: country {absent} is not in the file, which has {listed}. Choose one of these with --country")
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
    column = _column(raw, layout=layout, name=name, wanted=section.column)
    if section.bands and list(section.bands) != sorted(set(section.bands)):
        raise InputError(f"dimensions.{name}.bands is {list(section.bands)}, expected lower bounds that grow, such as [16, 25, 35]. Sort them")
    if section.refine is None:
        return section.model_copy(update={"column": column})
    refining = _column(raw, layout=layout, name=name, wanted=section.refine.column)
    return section.model_copy(update={"column": column, "refine": section.refine.model_copy(update={"column": refining})})


def _column(raw: RawSurvey, *, layout: Layout, name: str, wanted: str | dict[int | str, str]) -> str:
    """`sex`, `age`, `ethnicity` and `religion` stand for the wave's own columns; a study may name one for each wave."""
    shape, is_known = layout.shape, layout.wave < NEXT_WAVE
    key = shape.codebook if is_known else layout.wave
    if isinstance(wanted, dict) and key not in wanted:
        raise InputError(f"{raw.path.name} is of wave {key}, and dimensions.{name}.column names a column for {_either(wanted)} only. Add {key} to it")
    named = wanted[key] if isinstance(wanted, dict) else wanted
    if named in shape.dimensions and not is_known:
        raise InputError(
            f"{raw.path.name} is of wave {key}, of which it is not known which column holds {named}: questions are numbered anew. Give it as "
            f"--set 'dimensions.{name}.column={{{key}: CODE}}'{_near(raw, named, words=named)}"
        )
    column = shape.dimensions.get(named, named)
    if column in raw.headers:
        return column
    usual = shape.dimensions.get(name.removesuffix("_group")) if is_known else None
    hint = f" The file is of {shape.name}, which has it in {usual}." if usual and usual != column else ""
    raise InputError(
        f"{raw.path.name} has no column {column}, which the dimension {name!r} needs{_near(raw, column, words=name)}.{hint} "
        f"Correct dimensions.{name}.column in the study, or leave the dimension out"
    )


def check_levels(source: Source) -> None:
    """Raises InputError for a level that a study names and its column does not have."""
    for name, section in source.dimensions.items():
        _check_levels(source.raw, name=name, section=section, codebook=source.codebook)


def _check_levels(raw: RawSurvey, *, name: str, section: DimensionSection, codebook: Codebook) -> None:
    """A misspelt level would silently rename nothing; without a vocabulary there is nothing to hold it against."""
    column = str(section.column)
    vocabulary = codebook.vocabularies.get(column)
    if not vocabulary or section.bands:
        return
    known = {text for texts in vocabulary.values() for text in texts} | {cell.strip() for cell in raw.cells(column)}
    known |= {cell.partition(": ")[2] for cell in known}
    unknown = [level for level in section.levels if level not in known]
    if unknown:
        levels = ", ".join(texts[0] for texts in vocabulary.values())
        raise InputError(f"dimensions.{name}.levels names {', '.join(map(repr, unknown))}, no level of {column} ({levels}). Correct the spelling")


def _near(raw: RawSurvey, wanted: str, *, words: str) -> str:
    """The columns that may have been meant, by code or by the header's label."""
    codes = difflib.get_close_matches(wanted, list(raw.headers), n=3, cutoff=0.75)
    labelled = [code for code, label in raw.headers.items() if any(word in label.casefold().split() for word in words.casefold().split("_"))]
    candidates = list(dict.fromkeys([*codes, *labelled]))[:5]
    shown = ", ".join(f"{code} ({raw.headers[code]})" if raw.headers[code] else code for code in candidates)
    return f" (near it: {shown})" if shown else ""
