"""The pairs as a trainer sees them: groups that share a prompt's beginning, several groups to a step, shuffled by seed and epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.prompting.tree import EncodedPrompt, PromptEncoder

COLUMNS = ["item", "subgroup_id", "split", "prompt", "codes", "shares"]


@dataclass(frozen=True)
class Example:
    """A pair: what the model reads, and the survey's weighted shares of the options."""

    group: str  # pairs of one group share their prompt's beginning
    prompt: EncodedPrompt
    shares: tuple[float, ...]


@dataclass(frozen=True)
class Batching:
    """`groups_per_step` groups of up to `pairs_per_group` pairs make one optimizer step."""

    groups_per_step: int
    pairs_per_group: int
    seed: int


def read_examples(pairs: Path, encoder: PromptEncoder, *, split: str, group_by: str) -> list[Example]:
    """The pairs of a split from tables/pairs.parquet. `group_by`: item when the question comes first, subgroup_id when the persona does."""
    rows = pd.read_parquet(pairs, columns=COLUMNS)
    return [
        Example(str(row[group_by]), encoder.encode(row["prompt"], codes=tuple(int(code) for code in row["codes"])), tuple(row["shares"]))
        for row in rows[rows["split"] == split].to_dict("records")
    ]


def steps_of_epoch(examples: list[Example], *, batching: Batching, epoch: int) -> list[list[list[Example]]]:
    """The epoch's optimizer steps: each a list of groups of examples. Every example comes once; the order depends on seed and epoch only."""
    generator = np.random.default_rng([batching.seed, epoch])
    groups = [group for members in _by_group(examples).values() for group in _chunks(members, batching.pairs_per_group, generator)]
    order = [groups[place] for place in generator.permutation(len(groups))]
    return [order[start : start + batching.groups_per_step] for start in range(0, len(order), batching.groups_per_step)]


def groups_in_order(examples: list[Example], *, size: int) -> list[list[Example]]:
    """Groups of up to `size`, unshuffled, for evaluation."""
    return [members[start : start + size] for members in _by_group(examples).values() for start in range(0, len(members), size)]


def _by_group(examples: list[Example]) -> dict[str, list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(example.group, []).append(example)
    return groups


def _chunks(members: list[Example], size: int, generator: np.random.Generator) -> Iterator[list[Example]]:
    shuffled = [members[place] for place in generator.permutation(len(members))]
    for start in range(0, len(shuffled), size):
        yield shuffled[start : start + size]
