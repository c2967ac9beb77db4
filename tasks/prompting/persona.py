"""The persona: a subgroup in words, by the study's templates.

places = places_of([{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020}])
persona_of({"sex": "Female", "religion": "Muslim"}, places=places, dimensions=study.dimensions)
-> "You live in Singapore. You are a woman. Your religion is Muslim."
"""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from tasks.study import DimensionSection

MOST_NAMED = 10  # countries; more of them are counted


class Places(NamedTuple):
    """`names` of the countries; `somewhere`: the sentence for who may live in any of those that are trained; `years` in the field, by country and
    wave, none where there is one wave; `usual_wave`: the only one that is trained, if so."""

    names: dict[str, str]
    somewhere: str
    years: dict[tuple[str, str], int]
    usual_wave: str | None


def places_of(populations: list[dict[str, Any]], *, held_out: Collection[str] = ()) -> Places:
    """`populations`: country, country_name, wave and year of each that is studied; `held_out`: countries or waves that are never trained, which the
    personas of everybody do not speak of."""
    names = {population["country"]: population["country_name"] for population in populations}
    years = {(population["country"], str(population["wave"])): population["year"] for population in populations}
    trained = [(country, wave) for country, wave in years if not {country, wave} & set(held_out)]
    countries, waves = ({population[place] for population in trained} for place in (0, 1))
    several = len({wave for _, wave in years}) > 1
    somewhere = _somewhere([name for country, name in names.items() if country in countries])
    return Places(names, somewhere, years if several else {}, next(iter(waves)) if several and len(waves) == 1 else None)


def persona_of(traits: Mapping[str, str], *, places: Places, dimensions: Mapping[str, DimensionSection]) -> str:
    """The sentences of place and time, and one for each trait, in the study's order. Without traits it is the blank persona: everybody."""
    country = traits.get("country") or _country_of_levels(traits, places=places, dimensions=dimensions)
    where = f"You live in {places.names[country]}." if country else places.somewhere
    years = [year for (place, wave), year in places.years.items() if wave == traits.get("wave", places.usual_wave) and place == (country or place)]
    told = {name: told_level(dimensions[name], level=level) for name, level in traits.items() if name in dimensions}
    sentences = [sentence_of(dimensions[name], level=told[name]) for name in dimensions if name in told]
    return " ".join([where, *([_when(years)] if years else []), *sentences])


def _country_of_levels(traits: Mapping[str, str], *, places: Places, dimensions: Mapping[str, DimensionSection]) -> str | None:
    """The country that a level of one country's own names: "Malay (SGP)"."""
    levels = [level for name, level in traits.items() if name in dimensions and dimensions[name].national]
    return next((country for country in places.names for level in levels if level.endswith(f" ({country})")), None)


def _somewhere(names: list[str]) -> str:
    if len(names) == 1:
        return f"You live in {names[0]}."
    return f"You live in one of these countries: {', '.join(names)}." if len(names) <= MOST_NAMED else f"You live in one of {len(names)} countries."


def _when(years: Iterable[int]) -> str:
    first, last = min(years), max(years)
    return f"The year is {first}." if first == last else f"The year is between {first} and {last}."


def told_level(dimension: DimensionSection, *, level: str) -> str:
    """A level without the country that one country's own level names: Malay, of "Malay (SGP)"."""
    return re.sub(r" \([A-Z]{3}\)$", "", level) if dimension.national else level


def sentence_of(dimension: DimensionSection, *, level: str) -> str:
    """A level in words: its own phrase, or the dimension's template."""
    return dimension.phrases.get(level) or dimension.persona.replace("{level}", level)
