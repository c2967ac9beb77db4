"""How traits move the answers of the synthetic survey: effect sizes fixed in synthetic_data/effects.yaml, drawn per item by a fixed seed.

    effects = load_effects()
    effects.predictors(effects.items["Q6"])   # (respondents, 1): log odds of answering further along the scale

An item's linear predictor is its family's direction (times its sign or its options' loadings) + additive effects drawn for the item, per dimension +
interactions drawn for each pair of traits. An item draws from its own stream, so that adding one leaves the others unchanged.
"""

from functools import cache, cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml

from tasks.intake.synthetic_population import DATA_FOLDER, LEVELS, Floats, Population, synthetic_population

PAIRED_DIMENSIONS = ("sex", "age_group", "ethnicity", "religion")


class Item(NamedTuple):
    """`codes` in scale order with their published `shares` among valid answers; one loading (ordinal, binary) or one per code (nominal)."""

    name: str
    family: str
    codes: tuple[int, ...]
    shares: Floats
    loadings: Floats

    @property
    def nominal(self) -> bool:
        return len(self.loadings) > 1


class Effects:
    """The effects file, applied to the synthetic population."""

    def __init__(self, settings: dict[str, Any], population: Population) -> None:
        self.settings, self.population = settings, population

    @cached_property
    def toplines(self) -> pd.DataFrame:
        return pd.read_csv(DATA_FOLDER / "published_toplines.csv")

    @cached_property
    def items(self) -> dict[str, Item]:
        """Every item of the survey, in questionnaire order."""
        homes = dict(home for family, rules in self.settings["families"].items() for home in _homes(family, rules))
        return {str(name): self._item(str(name), rows, *homes[str(name)]) for name, rows in self.toplines.groupby("item", sort=False)}

    def _item(self, name: str, rows: pd.DataFrame, family: str, loadings: list[float]) -> Item:
        percents = dict(zip(rows["code"].astype(int), rows["percent"].astype(float), strict=True))
        percents.pop(self.settings["off_scale"].get(name), None)
        codes = tuple(self.settings["scale_order"].get(name, sorted(percents)))
        shares = np.array([percents[code] for code in codes])
        return Item(name, family, codes, shares / shares.sum(), np.array(loadings))

    def off_scale_rate(self, name: str) -> float:
        """Share of the answers that the questionnaire keeps but no scale holds (Q111: "other answer")."""
        rows = self.toplines[(self.toplines["item"] == name) & (self.toplines["code"] == self.settings["off_scale"].get(name))]
        return float(rows["percent"].sum()) / 100

    def family(self, item: Item, setting: str) -> Any:
        return self.settings["families"][item.family].get(setting, self.settings["defaults"].get(setting))

    def predictors(self, item: Item) -> Floats:
        """Linear predictor, (respondents, loadings)."""
        generator = self._stream(item, purpose=0)
        spread, overrides = self.family(item, "spread"), self.settings["overrides"].get(item.name, {})
        total = np.zeros((len(self.population.weights), len(item.loadings)))
        for dimension, levels in LEVELS.items():
            drawn = _draws(generator, (len(levels), len(item.loadings))) * spread[dimension]
            effects = np.outer(self._direction(item, dimension), item.loadings) + drawn
            if dimension in overrides:
                effects = _by_level(overrides[dimension], dimension)[:, None]
            total += effects[self.population.traits[dimension]]
        return total + self._interactions(item, generator)

    def missing_rates(self, item: Item) -> Floats:
        """Probability of item non-response, (respondents,)."""
        rules, generator = self.settings["nonresponse"], self._stream(item, purpose=1)
        rate = float(self.family(item, "missing"))
        log_odds = np.log(rate / (1 - rate)) + rules["spread"] * _draws(generator, (1,))
        traits = self.population.traits
        return logistic(log_odds + sum(_by_level(rules.get(dimension, {}), dimension)[traits[dimension]] for dimension in LEVELS))

    def _direction(self, item: Item, dimension: str) -> Floats:
        return _by_level(self.family(item, "direction") or {}, dimension, nested=True)

    def _interactions(self, item: Item, generator: np.random.Generator) -> Floats:
        total = np.zeros((len(self.population.weights), len(item.loadings)))
        for first, second in combinations(PAIRED_DIMENSIONS, 2):
            drawn = _draws(generator, (len(LEVELS[first]), len(LEVELS[second]), len(item.loadings)))
            total += drawn[self.population.traits[first], self.population.traits[second]]
        return total * float(self.family(item, "pairs"))

    def _stream(self, item: Item, *, purpose: int) -> np.random.Generator:
        number = int(item.name.removeprefix("Q"))
        return np.random.Generator(np.random.PCG64([self.settings["seed"], number, purpose]))


@cache
def load_effects() -> Effects:
    settings = yaml.safe_load((DATA_FOLDER / "effects.yaml").read_text(encoding="utf-8"))
    return Effects(settings, synthetic_population())


def logistic(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))


def _homes(family: str, rules: dict[str, Any]) -> list[tuple[str, tuple[str, list[float]]]]:
    signed = [(item, [1.0]) for item in rules.get("rising", [])] + [(item, [-1.0]) for item in rules.get("falling", [])]
    return [(item, (family, loadings)) for item, loadings in [*signed, *rules.get("nominal", {}).items()]]


def _by_level(values: dict[str, Any], dimension: str, *, nested: bool = False) -> Floats:
    by_level = values.get(dimension, {}) if nested else values
    return np.array([float(by_level.get(level, 0.0)) for level in LEVELS[dimension]])


def _draws(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Mean 0, standard deviation 1, even and therefore bounded: no item gets an effect that no survey would show."""
    return np.asarray((2 * generator.random(shape) - 1) * np.sqrt(3))
