"""What is asked of a model, as rows: item, subgroup_id, split, codes, variant, prompt, and labels where options are not called by their codes.

asked = asked_pairs(pairs, ("plain", "blank_persona"), seed=study.seed)
sample = compared_pairs(pairs, size=300, seed=study.seed)
reworded = reworded_pairs(sample, marts, study)
"""

from collections import Counter
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from tasks.prompting.pairs import read_questions
from tasks.prompting.rewording import reword
from tasks.study import Study

TEST_SPLITS = ("id_test", "ood_test")
Variant = Literal["plain", "blank_persona", "permuted_persona"]


class Marts(NamedTuple):
    """The tables that a question and a persona are worded from."""

    items: pd.DataFrame
    options: pd.DataFrame
    subgroups: pd.DataFrame


def asked_pairs(pairs: pd.DataFrame, variants: tuple[Variant, ...], *, seed: int) -> pd.DataFrame:
    """Both test splits, once for each variant: as they are, and the controls with a blank and with another subgroup's persona."""
    return pd.concat([_variant(pairs, variant, seed=seed) for variant in variants], ignore_index=True)


def compared_pairs(pairs: pd.DataFrame, *, size: int, seed: int) -> pd.DataFrame:
    """A systematic sample of the test pairs: every n-th from a seeded start, ordered by split, dimension and subgroup, so that each has its share of
    subgroups; of a subgroup the question whose topic is furthest behind its own share, of those one by a seeded order. All of them where there are no
    more than `size`."""
    generator = np.random.default_rng(seed)
    test = pairs[pairs["split"].isin(TEST_SPLITS)].sort_values(["item", "subgroup_id"], ignore_index=True)
    if len(test) <= size:
        return test
    turn = generator.permutation(len(test))
    ordered = test.iloc[turn].sort_values(["split", "dimension", "subgroup_id"], kind="stable")
    places = np.floor((np.arange(size) + generator.uniform()) * len(test) / size).astype(int)
    return test.loc[_spread_over_topics(ordered, places)].sort_values(["item", "subgroup_id"], ignore_index=True)


def _spread_over_topics(ordered: pd.DataFrame, places: np.ndarray) -> list[int]:
    """For each place a row of its subgroup, by index: the first of the topic of which the smallest part of its pairs was taken."""
    cells = list(zip(ordered["split"], ordered["subgroup_id"], strict=True))
    waiting: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for cell, row, topic in zip(cells, ordered.index, ordered["topic"], strict=True):
        waiting.setdefault(cell, []).append((int(row), topic))
    held, taken, chosen = Counter(ordered["topic"]), Counter[str](), []
    for place in places:
        row, topic = next_one = min(waiting[cells[place]], key=lambda one: taken[one[1]] / held[one[1]])
        waiting[cells[place]].remove(next_one)
        taken[topic] += 1
        chosen.append(row)
    return chosen


def reworded_pairs(chosen: pd.DataFrame, marts: Marts, study: Study) -> pd.DataFrame:
    """The chosen pairs in every variant of the study. `shared`: what the prompts that begin alike have in common."""
    questions = read_questions(marts.items, marts.options)
    named = zip(marts.subgroups["subgroup_id"], marts.subgroups["dimensions"], marts.subgroups["levels"], strict=True)
    traits = {subgroup: dict(zip(dimensions, levels, strict=True)) for subgroup, dimensions, levels in named}
    frames = []
    for variant in study.evaluation.variants:
        worded = [
            reword(questions[item], persona=persona, traits=traits[subgroup], variant=variant, study=study)
            for item, persona, subgroup in zip(chosen["item"], chosen["persona"], chosen["subgroup_id"], strict=True)
        ]
        prompts, labels = [one.prompt for one in worded], pd.Series([one.labels for one in worded], index=chosen.index, dtype=object)
        frames.append(chosen.assign(variant=variant, prompt=prompts, labels=labels, shared=chosen[study.prompt.shared_by] + f" {variant}"))
    return pd.concat(frames, ignore_index=True) if frames else chosen.head(0).assign(variant="", labels=None, shared="")


def labels_of(asked: pd.DataFrame) -> list[tuple[str, ...]]:
    """What each row's options are called in its prompt, in the order of its codes."""
    called = asked["labels"] if "labels" in asked else asked["codes"]
    return [tuple(map(str, labels)) for labels in called]


def _variant(pairs: pd.DataFrame, variant: Variant, *, seed: int) -> pd.DataFrame:
    """The test pairs with the prompts of a variant."""
    test = pairs[pairs["split"].isin(TEST_SPLITS)].assign(variant=variant)
    if variant == "plain":
        return test
    if variant == "blank_persona":
        blank = pairs[pairs["subgroup_order"] == 0].set_index("item")["prompt"]
        return test.assign(prompt=test["item"].map(blank))
    return test.assign(prompt=_permuted_prompts(test, pairs=pairs, seed=seed))


def _permuted_prompts(test: pd.DataFrame, *, pairs: pd.DataFrame, seed: int) -> pd.Series:
    """Within a question and split every subgroup gets the persona of another one: a seeded order, moved on by one. One that is alone there gets
    that of any other subgroup of the question."""
    generator = np.random.default_rng(seed)
    permuted = pd.Series(index=test.index, dtype=object)
    for _, rows in test.groupby(["item", "split"]):
        order = generator.permutation(rows.index.to_numpy())
        permuted.loc[order] = test.loc[np.roll(order, 1), "prompt"].to_numpy()
        if len(order) == 1:
            permuted.loc[order] = _prompt_of_another(rows.iloc[0], test=test, pairs=pairs, generator=generator)
    return permuted


def _prompt_of_another(alone: pd.Series, *, test: pd.DataFrame, pairs: pd.DataFrame, generator: np.random.Generator) -> str:
    """Best one that is asked anyway; its own where the question has no other subgroup at all."""
    for candidates in (test, pairs[pairs["subgroup_order"] > 0]):
        others = candidates[(candidates["item"] == alone["item"]) & (candidates["subgroup_id"] != alone["subgroup_id"])]
        if len(others):
            return str(others["prompt"].sample(1, random_state=generator).iloc[0])
    return str(alone["prompt"])
