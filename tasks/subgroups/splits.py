"""The splits: what is never trained, and cells of what is trained that are kept back.

`unseen_subgroup` holds out intersections of the highest order only, so that nothing trained lies inside an unseen subgroup, and all of its parents
are trained. `unseen_question` holds out questions, with everybody's answers to them. `unseen_country` and `unseen_wave` hold out every subgroup of
some countries or waves, whose respondents count in no other subgroup (sql/marts/memberships.sql).

splits = assign_splits(cells, subgroups, section=study.split, seed=study.seed)
"""

import zlib
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from tasks.errors import InputError
from tasks.study_split import SplitSection

LARGEST_PART_OF_A_PARENT = 0.95


def assign_splits(
    cells: pd.DataFrame, subgroups: pd.DataFrame, *, section: SplitSection, seed: int, topics: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """One row per cell that is trained or tested: item, subgroup_id, split.

    `held_out` of the highest order's intersections, drawn by their dimensions, of the questions, drawn by their `topics`, or all subgroups of the
    held-out countries or waves are ood_test; `id_test` of the trained cells are kept back, then `validation` of the rest. Order 0 is trained, but in
    held-out questions, where it has no row. `cells`: item, subgroup_id. `subgroups`: the mart.
    """
    assigned = cells[["item", "subgroup_id"]].sort_values(["item", "subgroup_id"], ignore_index=True)
    if section.kind == "unseen_question":
        by_item = {item: (topics or {}).get(item, "") for item in assigned["item"].unique()}
        questions = held_out_questions(by_item, section=section, seed=seed)
        everybody = assigned["subgroup_id"] == "all"
        assigned = assigned[~(assigned["item"].isin(questions) & everybody)].reset_index(drop=True)
        held_out = assigned["item"].isin(questions)
    else:
        held_out = assigned["subgroup_id"].isin(_unseen_subgroups(subgroups, section=section, seed=seed))
    assigned["split"] = "train"
    assigned.loc[held_out, "split"] = "ood_test"
    open_cells = assigned.index[(assigned["split"] == "train") & (assigned["subgroup_id"] != "all")]
    id_test = _draw(open_cells.to_numpy(), share=section.id_test, seed=seed, purpose="id_test")
    assigned.loc[id_test, "split"] = "id_test"
    rest = open_cells.difference(pd.Index(id_test))
    assigned.loc[_draw(rest.to_numpy(), share=section.validation, seed=seed, purpose="validation"), "split"] = "validation"
    return assigned


def held_out_questions(topics: Mapping[str, str], *, section: SplitSection, seed: int) -> list[str]:
    """The items that are never trained: those that the study names, or a seeded share, at least one, spread over the topics. `topics`: by item.

    The share is a systematic sample (every 1 / held_out-th, from a drawn start) of the items in a drawn order within topics in a drawn order, so that
    each topic has its share to less than one item. Raises InputError where an item is not asked, or none would be left to train.
    """
    absent = sorted(set(section.unseen or ()).difference(topics))
    drawn = max(1, min(len(topics) - 1, round(section.held_out * len(topics))))
    if absent or len(section.unseen or range(drawn)) >= len(topics):
        named = f", of which split.unseen names {', '.join(section.unseen)}" if section.unseen else ""
        raise InputError(
            f"split.kind is unseen_question, and the study asks {len(topics)} questions{named}"
            f"{'; not asked: ' + ', '.join(absent) if absent else ''}. Expected some to hold out and others to train: correct split.unseen, or ask "
            "more questions"
        )
    if section.unseen:
        return sorted(section.unseen)
    generator = np.random.default_rng([seed, zlib.crc32(section.kind.encode())])
    drawn_topics = generator.permutation(sorted(set(topics.values())))
    ordered = np.concatenate([generator.permutation(sorted(item for item in topics if topics[item] == topic)) for topic in drawn_topics])
    places = np.floor((np.arange(drawn) + generator.random()) * len(ordered) / drawn).astype(int)
    return sorted(str(item) for item in ordered[places])


def levels_of_places(populations: Collection[tuple[str, int]]) -> dict[str, list[str]]:
    """The countries and the waves of (country, wave) pairs, in order."""
    return {"country": sorted({country for country, _ in populations}), "wave": [str(wave) for wave in sorted({wave for _, wave in populations})]}


def held_out_levels(places: dict[str, list[str]], *, section: SplitSection, seed: int) -> list[str]:
    """The countries or waves that are never trained: those that the study names, or a seeded share, at least one; none where the split holds out
    intersections or questions. `places`: the survey's countries and waves. Raises InputError where nothing would be left to train."""
    if section.dimension is None:
        return []
    levels = places[section.dimension]
    absent = [level for level in section.unseen or () if level not in levels]
    if absent or len(section.unseen or levels[:1]) >= len(levels):
        named = f", of which split.unseen names {', '.join(section.unseen)}" if section.unseen else ""
        raise InputError(
            f"split.kind is {section.kind}, and the survey has {section.dimension} {', '.join(levels)}{named}. Expected one to hold out and another "
            "to train: give more survey files, choose more with survey.country or survey.wave, or correct split.unseen"
        )
    drawn = max(1, min(len(levels) - 1, round(section.held_out * len(levels))))
    shuffled = np.random.default_rng([seed, zlib.crc32(section.kind.encode())]).permutation(levels)
    return sorted(section.unseen or (str(level) for level in shuffled[:drawn]))


def _unseen_subgroups(subgroups: pd.DataFrame, *, section: SplitSection, seed: int) -> set[str]:
    if section.dimension:
        unseen = set(subgroups.loc[subgroups["unseen"], "subgroup_id"])
    else:
        unseen = set(_held_out(subgroups, share=section.held_out, seed=seed))
    if not unseen:
        found = int((subgroups["subgroup_order"] > 1).sum())
        nothing = f"no {section.dimension} to hold out" if section.dimension else f"no intersection that can be held out, {found} are intersections"
        raise InputError(
            f"of {len(subgroups)} subgroups there is {nothing}. Add a dimension, lower subgroups.minimum_respondents, or raise split.held_out"
        )
    return unseen


def _held_out(subgroups: pd.DataFrame, *, share: float, seed: int) -> list[str]:
    """A seeded share of the highest order's intersections, by their dimensions; none that is nearly all of a parent."""
    sizes = dict(zip(subgroups["subgroup_id"], subgroups["respondents"], strict=True))
    highest = subgroups[(subgroups["subgroup_order"] > 1) & (subgroups["subgroup_order"] == subgroups["subgroup_order"].max())]
    free = [
        {"subgroup_id": row["subgroup_id"], "dimension": row["dimension"]}
        for row in highest.to_dict("records")
        if all(row["respondents"] <= LARGEST_PART_OF_A_PARENT * sizes[parent] for parent in row["parents"])
    ]
    if not free:
        return []
    strata = pd.DataFrame(free).groupby("dimension")["subgroup_id"]
    drawn = [_draw(np.sort(names.to_numpy(dtype=object)), share=share, seed=seed, purpose=f"held_out {name}") for name, names in strata]
    return [str(name) for names in drawn for name in names]


def _draw(values: np.ndarray, *, share: float, seed: int, purpose: str) -> np.ndarray:
    """round(share * n) of the values; what is drawn for one purpose does not depend on the others."""
    generator = np.random.default_rng([seed, zlib.crc32(purpose.encode())])
    return generator.choice(values, size=round(share * len(values)), replace=False)
