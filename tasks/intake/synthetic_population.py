"""The synthetic respondents: traits, statuses and weights, the same whatever the seed of the answers.

    population = synthetic_population()
    population.people["Q262"], population.level("religion"), population.weights

Published aggregates (synthetic_data/published_marginals.csv) are kept: sex x age band, Q273 and Q279 as unweighted counts; ethnicity, religion,
sex, Q287 and Q288 as weighted shares. What lies between them comes from synthetic_data/population.yaml and is an assumption. Tables are fitted
to their margins by iterative proportional fitting and rounded to whole respondents without moving a margin.
"""

from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import yaml

from tasks.errors import StepError

DATA_FOLDER = Path(__file__).resolve().parent / "synthetic_data"
YEAR = 2020

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

LEVELS: dict[str, tuple[str, ...]] = {
    "sex": ("Male", "Female"),
    "age_group": ("16-24", "25-34", "35-44", "45-54", "55-64", "65+"),
    "ethnicity": ("Chinese", "Malay", "South Asian", "Caucasian", "Eurasian", "Others"),
    "religion": ("None", "Roman Catholic", "Protestant", "Jew", "Muslim", "Hindu", "Buddhist", "Other"),
    "social_class": ("High", "Middle", "Working"),
}
LOWEST_AGES = (21, 25, 35, 45, 55, 65)
ETHNICITY_CODES = (702004, 702006, 702003, 702001, 702008, 702999)
RELIGION_CODES = (0, 1, 2, 4, 5, 6, 7, 9)
# The detailed list: a denomination's major group times ten million, but for those below.
DETAILED_RELIGION = {"None": 100000020, "Roman Catholic": 10100000}
TAOIST, SIKH = 90101000, 90400000
INCOME_LEVELS = {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 2, 8: 3, 9: 3, 10: 3, -2: -2}


class Population(NamedTuple):
    """One row per respondent. `people`: file columns and codes; `traits`: dimension -> index into LEVELS; `weights`: mean 1."""

    people: pd.DataFrame
    traits: dict[str, Integers]
    weights: Floats

    def level(self, dimension: str) -> npt.NDArray[np.str_]:
        return np.array(LEVELS[dimension])[self.traits[dimension]]


def published(variable: str) -> dict[str, float]:
    """Level -> value of one published aggregate."""
    table = pd.read_csv(DATA_FOLDER / "published_marginals.csv", dtype={"level": str}, keep_default_na=False)
    rows = table[table["variable"] == variable]
    return dict(zip(rows["level"], rows["value"].astype(float), strict=True))


def published_shares(variable: str) -> dict[str, float]:
    values = published(variable)
    return {level: value / sum(values.values()) for level, value in values.items()}


@cache
def population_settings() -> dict[str, Any]:
    """The assumptions; not to be changed by the reader."""
    settings: dict[str, Any] = yaml.safe_load((DATA_FOLDER / "population.yaml").read_text(encoding="utf-8"))
    return settings


@cache
def synthetic_population() -> Population:
    settings = population_settings()
    generator = np.random.Generator(np.random.PCG64(settings["seed"]))
    traits = _traits(settings)
    people = pd.DataFrame(_trait_codes(traits))
    people["Q262"] = _ages(traits["age_group"], settings["oldest"], generator)
    people["Q261"] = YEAR - people["Q262"]
    for column, odds in settings["status_odds"].items():
        people[column] = _statuses(traits, column, odds=odds, generator=generator)
    people["Q287"], people["Q288"] = _class_and_income(len(people), settings["income"], generator)
    people["Q288R"] = people["Q288"].map(INCOME_LEVELS)
    classes = people["Q287"].map(settings["social_class"]).map(LEVELS["social_class"].index)
    traits["social_class"] = classes.to_numpy(dtype=np.int64)
    weights = _weights(people, traits, settings=settings, generator=generator)
    order = generator.permutation(len(people))
    shuffled = {dimension: levels[order] for dimension, levels in traits.items()}
    return Population(people.iloc[order].reset_index(drop=True), shuffled, weights[order])


def _traits(settings: dict[str, Any]) -> dict[str, Integers]:
    """Sex, age band, ethnicity and religion of every respondent, in table order."""
    rows = _sex_by_age()
    columns = round_to_total(_interviewed_shares(settings).ravel() * rows.sum(), int(rows.sum()))
    expected = fit(_trait_odds(settings), rows=rows, columns=columns.astype(float))
    counts = round_within_margins(expected)
    sex, age, ethnicity, religion = np.unravel_index(np.repeat(np.arange(counts.size), counts.ravel()), (2, 6, 6, 8))
    return {"sex": sex, "age_group": age, "ethnicity": ethnicity, "religion": religion}


def _sex_by_age() -> Floats:
    counts = published("sex x age_group")
    return np.array([counts[f"{sex}|{age}"] for sex in LEVELS["sex"] for age in LEVELS["age_group"]])


def ethnicity_by_religion(settings: dict[str, Any]) -> Floats:
    """Weighted shares, (6, 8): the census table raked to the survey's religion margin."""
    return fit(census_table(settings), rows=_ethnicity_shares(settings), columns=_aligned("religion", published_shares("religion")))


def _interviewed_shares(settings: dict[str, Any]) -> Floats:
    shares = ethnicity_by_religion(settings) * _aligned("ethnicity", settings["oversampling"])[:, None]
    return np.asarray(shares / shares.sum())


def _ethnicity_shares(settings: dict[str, Any]) -> Floats:
    census = published_shares("census ethnicity")
    others = census.pop("Others")
    return _aligned("ethnicity", census | {group: others * share for group, share in settings["others_split"].items()})


def census_table(settings: dict[str, Any]) -> Floats:
    """Percent of each religion within each ethnic group, completed by the stated assumptions."""
    table = np.zeros((6, 8))
    for row, ethnicity in enumerate(LEVELS["ethnicity"]):
        known = published(f"census religion within {ethnicity}") if ethnicity != "Others" else {}
        christians = known.pop("Christian", 0.0)
        catholics = christians * settings["catholic_share_of_christians"].get(ethnicity, 0.0)
        known["Other"] = known.pop("Taoist", 0.0)
        known |= {"Roman Catholic": catholics, "Protestant": christians - catholics}
        known |= settings["religion_within_ethnicity"].get(ethnicity, {})
        table[row] = _aligned("religion", known)
        table[row, -1] += max(0.0, 100 - table[row].sum())
    return table


def _trait_odds(settings: dict[str, Any]) -> Floats:
    """Prior odds, (12, 48), of ethnicity and religion within sex and age band: age tilts both, sex neither."""
    slopes = settings["age_slope"]
    tilt = np.array([[slopes.get(e, 0.0) + slopes.get(r, 0.0) for r in LEVELS["religion"]] for e in LEVELS["ethnicity"]])
    bands = np.arange(6) - 2.5
    by_age = np.exp(bands[:, None] * tilt.ravel())
    return np.tile(by_age, (2, 1))


def _trait_codes(traits: dict[str, Integers]) -> dict[str, Integers]:
    religion = np.array(RELIGION_CODES)[traits["religion"]]
    detailed = religion * 10_000_000
    for level, code in DETAILED_RELIGION.items():
        detailed[traits["religion"] == LEVELS["religion"].index(level)] = code
    south_asian = traits["ethnicity"] == LEVELS["ethnicity"].index("South Asian")
    detailed[religion == 9] = np.where(south_asian, SIKH, TAOIST)[religion == 9]
    return {
        "Q260": traits["sex"] + 1,
        "X003R": traits["age_group"] + 1,
        "Q289": religion,
        "Q289CS9": detailed,
        "Q290": np.array(ETHNICITY_CODES)[traits["ethnicity"]],
    }


def _ages(bands: Integers, oldest: int, generator: np.random.Generator) -> Integers:
    draws = generator.random(len(bands))
    lowest = np.array(LOWEST_AGES)[bands]
    highest = np.array((*LOWEST_AGES[1:], oldest + 1))[bands]
    thinning = np.where(bands == 5, 1 - np.sqrt(1 - draws), draws)
    return np.asarray(lowest + np.floor(thinning * (highest - lowest)), dtype=np.int64)


def _statuses(traits: dict[str, Integers], column: str, *, odds: dict[int, Any], generator: np.random.Generator) -> Integers:
    """Codes of a status (marital, employment): the published counts exactly, spread over sex and age band by the assumed odds."""
    counts = published(column)
    prior = [np.outer([1.0, odds[int(code)]["women"]], odds[int(code)]["ages"]).ravel() for code in counts]
    expected = fit(np.array(prior).T, rows=_sex_by_age(), columns=np.array(list(counts.values())))
    cells = traits["sex"] * 6 + traits["age_group"]
    statuses = np.zeros(len(cells), dtype=np.int64)
    for cell, row in enumerate(round_within_margins(expected)):
        statuses[cells == cell] = generator.permutation(np.repeat([int(code) for code in counts], row))
    return statuses


def _class_and_income(respondents: int, income: dict[str, Any], generator: np.random.Generator) -> tuple[Integers, Integers]:
    classes, steps = published_shares("Q287"), published_shares("Q288")
    odds = np.array([[_income_odds(int(c), int(s), income) for s in steps] for c in classes])
    rows, columns = (round_to_total(np.array(list(shares.values())) * respondents, respondents) for shares in (classes, steps))
    counts = round_within_margins(fit(odds, rows=rows.astype(float), columns=columns.astype(float)))
    cells = generator.permutation(np.repeat(np.arange(counts.size), counts.ravel()))
    return np.array([int(c) for c in classes])[cells // len(steps)], np.array([int(s) for s in steps])[cells % len(steps)]


def _income_odds(social_class: int, step: int, income: dict[str, Any]) -> float:
    if step == -2:
        return float(income["no_answer_odds"]) if social_class == -2 else 1.0
    return float(np.exp(-(((step - income["centre"][social_class]) / income["spread"]) ** 2) / 2))


def _weights(people: pd.DataFrame, traits: dict[str, Integers], *, settings: dict[str, Any], generator: np.random.Generator) -> Floats:
    """Noise, raked until every weighted margin is the published (or assumed) one; mean 1, eight decimals as the file has them."""
    margins = [
        (traits["sex"], _aligned("sex", published_shares("census sex"))),
        (traits["age_group"], _aligned("age_group", settings["weighted_age"])),
        (traits["ethnicity"], _ethnicity_shares(settings)),
        (traits["religion"], _aligned("religion", published_shares("religion"))),
        *(_coded_margin(people[column], published_shares(column)) for column in ("Q287", "Q288")),
    ]
    weights = np.exp(settings["weight_noise"] * generator.standard_normal(len(people)))
    for _ in range(200):
        for levels, shares in margins:
            weights *= (shares * len(people) / np.bincount(levels, weights, len(shares)))[levels]
    return np.asarray(np.round(weights, 8))


def _coded_margin(codes: pd.Series, shares: dict[str, float]) -> tuple[Integers, Floats]:
    positions = {int(code): position for position, code in enumerate(shares)}
    return np.asarray(codes.map(positions), dtype=np.int64), np.array(list(shares.values()))


def _aligned(dimension: str, values: dict[str, float]) -> Floats:
    return np.array([values.get(level, 0.0) for level in LEVELS[dimension]])


def fit(odds: Floats, *, rows: Floats, columns: Floats) -> Floats:
    """Iterative proportional fitting: the table with these margins whose odds ratios are those of `odds` (Deming and Stephan 1940)."""
    table = np.where(columns > 0, odds, 0.0)
    for _ in range(5000):
        table *= (rows / table.sum(axis=1))[:, None]
        table *= np.divide(columns, table.sum(axis=0), out=np.zeros_like(columns), where=columns > 0)
        if np.abs(table.sum(axis=1) - rows).max() < 1e-10 * rows.sum():
            return table
    raise StepError("iterative proportional fitting did not converge: expected odds that are positive where the margins need them")


def round_to_total(expected: Floats, total: int) -> Integers:
    """Whole numbers with this total, the largest remainders rounded up (ties: the first)."""
    floors = np.floor(expected).astype(np.int64)
    raised = np.argsort(floors - expected, kind="stable")[: total - int(floors.sum())]
    floors[raised] += 1
    return floors


def round_within_margins(expected: Floats) -> Integers:
    """Controlled rounding: every cell to a neighbouring whole number, every (whole) margin kept, deterministically.

    While cells are fractional they form a cycle that alternates between rows and columns; moving along it by turns up and down keeps the
    margins and makes at least one more cell whole.
    """
    table = expected.copy()
    while True:
        whole = np.round(table)
        table = np.where(np.abs(table - whole) < 1e-6, whole, table)
        fractional = table != np.round(table)
        if not fractional.any():
            return table.astype(np.int64)
        table += _step_along(_cycle(fractional), table)


def _cycle(fractional: npt.NDArray[np.bool_]) -> Floats:
    """+1 and -1 at the cells of one cycle of fractional cells, 0 elsewhere."""
    row, column = (int(index) for index in np.argwhere(fractional)[0])
    path: list[tuple[int, int]] = []
    visited = [row]
    while True:
        column = _other(fractional[row], column if path else -1)
        path.append((row, column))
        row = _other(fractional[:, column], row)
        path.append((row, column))
        if row in visited:
            break
        visited.append(row)
    direction = np.zeros(fractional.shape)
    for place, cell in enumerate(path[2 * visited.index(row) :]):
        direction[cell] += 1 if place % 2 == 0 else -1
    return direction


def _other(fractional: npt.NDArray[np.bool_], current: int) -> int:
    choices = np.flatnonzero(fractional)
    return int(choices[choices != current][0])


def _step_along(direction: Floats, table: Floats) -> Floats:
    """The shorter of the two steps along +-direction that end at a whole cell."""
    up, down = np.ceil(table) - table, table - np.floor(table)
    forward = min(up[direction > 0].min(), down[direction < 0].min())
    backward = min(down[direction > 0].min(), up[direction < 0].min())
    return np.asarray(direction * (forward if forward <= backward else -backward))
