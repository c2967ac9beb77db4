"""The persona: a subgroup in words, by the study's templates.

places = places_of([{"country": "SGP", "country_name": "Singapore", "wave": 7, "year": 2020}])
persona_of({"sex": "Female", "religion": "Muslim"}, places=places, dimensions=study.dimensions)
-> "You live in Singapore. You are a woman. Your religion is Muslim."
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tasks.study import DimensionSection

MOST_NAMED = 10  # countries; more of them are counted


class Places(NamedTuple):
    """Sentences: `somewhere` for who may live in any of the study's countries; for each country and each wave its own, waves only where there are
    several."""

    somewhere: str
    countries: dict[str, str]
    waves: dict[str, str]


def places_of(populations: list[dict[str, Any]]) -> Places:
    """`populations`: country, country_name, wave and year of each that is studied."""
    names = {population["country"]: population["country_name"] for population in populations}
    countries = {country: f"You live in {name}." for country, name in names.items()}
    years: dict[str, list[int]] = {}
    for population in populations:
        years.setdefault(str(population["wave"]), []).append(population["year"])
    waves = {wave: _when(found) for wave, found in years.items()} if len(years) > 1 else {}
    return Places(_somewhere(list(names.values())), countries, waves)


def persona_of(traits: Mapping[str, str], *, places: Places, dimensions: Mapping[str, DimensionSection]) -> str:
    """The sentences of place and time, and one for each trait, in the study's order. Without traits it is the blank persona: everybody."""
    where = places.countries.get(traits.get("country", ""), places.somewhere)
    when = places.waves.get(traits.get("wave", ""))
    sentences = [sentence_of(dimensions[dimension], level=traits[dimension]) for dimension in dimensions if dimension in traits]
    return " ".join([where, *([when] if when else []), *sentences])


def _somewhere(names: list[str]) -> str:
    if len(names) == 1:
        return f"You live in {names[0]}."
    return f"You live in one of these countries: {', '.join(names)}." if len(names) <= MOST_NAMED else f"You live in one of {len(names)} countries."


def _when(years: Iterable[int]) -> str:
    first, last = min(years), max(years)
    return f"The year is {first}." if first == last else f"The year is between {first} and {last}."


def sentence_of(dimension: DimensionSection, *, level: str) -> str:
    """A level in words: its own phrase, or the dimension's template."""
    return dimension.phrases.get(level) or dimension.persona.replace("{level}", level)
