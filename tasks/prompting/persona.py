"""The persona: a subgroup in words, by the study's templates.

persona_of({"sex": "Female", "religion": "Muslim"}, country="Singapore", dimensions=study.dimensions)
-> "You live in Singapore. You are a woman. Your religion is Muslim."
"""

from collections.abc import Mapping

from tasks.study import DimensionSection


def persona_of(traits: Mapping[str, str], *, country: str, dimensions: Mapping[str, DimensionSection]) -> str:
    """The country's sentence and one for each trait, in the study's order. Without traits it is the blank persona: everybody in the country."""
    sentences = [_sentence(dimensions[dimension], level=traits[dimension]) for dimension in dimensions if dimension in traits]
    return " ".join([f"You live in {country}.", *sentences])


def _sentence(dimension: DimensionSection, *, level: str) -> str:
    return dimension.phrases.get(level) or dimension.persona.replace("{level}", level)
