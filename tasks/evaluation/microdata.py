"""The baseline that sees microdata: a logit of each question on the respondents' traits, averaged over who is in a subgroup.

    microdata = read_microdata(staged, marts, study)
    found = additive_micro(microdata, trained={"Q1", "Q2"}, asked={"Q1": ["sex=Male|age=old"]}, subgroups=subgroups)
    found["Q1", "sex=Male|age=old"]                     # shares of the options

Respondents are counted by their profile, the set of their single traits, in SQL: nothing of one respondent is read, and counts stay in memory.
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from tasks.evaluation.logit import Design, design_of, fit_logit
from tasks.files import FileSet
from tasks.study import Study
from tasks.subgroups.splits import held_out_levels, levels_of_places
from tasks.warehouse import database


class Microdata(NamedTuple):
    """`profiles`: each a set of traits (dimension=level), with its summed `weights` [profiles]; `answers`: item, profile (its place), position,
    weight, squared_weight; `options`: how many each item fields; `held_out`: traits of the countries or waves whose answers nothing trained may
    know."""

    profiles: list[frozenset[str]]
    weights: np.ndarray
    answers: pd.DataFrame
    options: dict[str, int]
    held_out: frozenset[str]

    def is_trained(self) -> np.ndarray:
        """Which profiles' answers count: [profiles]."""
        return np.array([not profile & self.held_out for profile in self.profiles])


def read_microdata(staged: FileSet, marts: FileSet, study: Study) -> Microdata:
    """Counts of the staged survey's respondents by profile, for the questions of `marts`: those of the trained half, where halves are disjoint."""
    survey = next(staged.path(name) for name in staged.files if name.endswith(".duckdb"))
    with database.connect(attach={"survey": survey}) as connection:
        connection.execute("set threads = 1")  # sums come out the same to the last bit
        connection.execute("set search_path = 'memory,survey'")
        for name in ("items", "options"):
            database.load(connection, name, marts.read(name))
        places = levels_of_places(connection.execute("select distinct country, wave from stg_respondents").fetchall())
        several = [name for name, levels in places.items() if len(levels) > 1]
        national = [name for name, section in study.dimensions.items() if section.national and len(places["country"]) > 1]
        traits: dict[str, Any] = {"dimensions": [*several, *study.dimensions], "national": national, "subgroup_order": 1}
        database.build(connection, "marts/memberships", **traits, held_out=[], held_out_dimension="")
        if study.split.overlap == "disjoint":
            database.build(connection, "marts/halves", seed=str(study.seed))
            outside = "delete from memberships where respondent_id in (select respondent_id from halves where half <> $half)"
            connection.execute(outside, {"half": study.split.trained_half})
        database.build(connection, "marts/profiles")
        database.build(connection, "marts/profile_answers")
        weights = connection.execute("select profile, sum(weight) as weight from profiles group by profile order by profile").df()
        answers = database.frame(connection, "profile_answers")
    held_out = frozenset(f"{study.split.dimension}={level}" for level in held_out_levels(places, section=study.split, seed=study.seed))
    options: Any = marts.read("items").set_index("item")["k"].to_dict()
    return counted(weights, answers, options=options, held_out=held_out)


def counted(weights: pd.DataFrame, answers: pd.DataFrame, *, options: dict[str, int], held_out: frozenset[str]) -> Microdata:
    """`weights`: profile (a list of traits), weight; `answers`: the rows of profile_answers.sql."""
    profiles = [frozenset(profile) for profile in weights["profile"]]
    places = {profile: place for place, profile in enumerate(profiles)}
    placed = answers.assign(profile=[places[frozenset(profile)] for profile in answers["profile"]])
    return Microdata(profiles, weights["weight"].to_numpy(), placed, options, held_out)


def additive_micro(
    microdata: Microdata, *, trained: Collection[str], asked: Mapping[str, Collection[str]], subgroups: pd.DataFrame
) -> dict[tuple[str, str], np.ndarray]:
    """Shares of the options by (item, subgroup_id), for the subgroups that are `asked` of a `trained` question.

    For each question an L2 multinomial logit with a main effect for every trait (Gelman and Little 1997, poststratification into many categories;
    here the poststratum is the subgroup), fitted to the valid answers of all respondents who count in something that is trained, by their weights,
    and averaged over the subgroup's profiles by weight. It sees microdata: not a subgroup's shares alone, but how traits go together among
    respondents. With overlap keep a cell's own respondents are among those of its trained parents, and so among these. Counts are scaled to their
    effective n, (sum w)^2 / sum w^2, before the penalty is chosen (tasks/evaluation/logit.py).
    """
    traits = sorted(set().union(*microdata.profiles))
    design = design_of(np.array([[trait in profile for trait in traits] for profile in microdata.profiles], dtype=float).reshape(-1, len(traits)))
    within = _profiles_of(microdata, subgroups)
    answers = microdata.answers[microdata.is_trained()[microdata.answers["profile"].to_numpy()]]
    found: dict[tuple[str, str], np.ndarray] = {}
    for item, rows in answers.groupby("item"):
        wanted = [name for name in asked.get(str(item), ()) if name in within] if item in trained else []
        if wanted:
            shares = _shares(rows, design, options=microdata.options[str(item)])
            found |= {(str(item), name): within[name] @ shares for name in wanted}
    return found


def _shares(rows: pd.DataFrame, design: Design, *, options: int) -> np.ndarray:
    """[profiles, options], from a question's counts."""
    counts = np.zeros((len(design.rows), options))
    counts[rows["profile"], rows["position"]] = rows["weight"]
    return fit_logit(counts * rows["weight"].sum() / rows["squared_weight"].sum(), design).shares(design)


def _profiles_of(microdata: Microdata, subgroups: pd.DataFrame) -> dict[str, np.ndarray]:
    """For each subgroup how its respondents spread over the profiles: weights that sum to 1 [profiles]."""
    trained, found = microdata.is_trained(), {}
    for name, dimensions, levels in zip(subgroups["subgroup_id"], subgroups["dimensions"], subgroups["levels"], strict=True):
        traits = {f"{dimension}={level}" for dimension, level in zip(dimensions, levels, strict=True)}
        inside = np.array([traits <= profile for profile in microdata.profiles])
        weights = microdata.weights * (inside if traits & microdata.held_out else inside & trained)
        if weights.sum() > 0:
            found[str(name)] = weights / weights.sum()
    return found
