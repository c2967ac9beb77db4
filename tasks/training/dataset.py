"""The pairs as a trainer sees them: groups that share a prompt's beginning, several groups to a step, shuffled by seed and epoch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.training.packing import stream_length

COLUMNS = ["item", "subgroup_id", "split", "prompt", "codes", "shares", "scale", "effective_n"]
TRAITS_JOINED_BY = "|"
COUNTED_STEPS = 8  # enough to see which grouping shares more

Objective = Literal["tokens", "modal", "distribution", "ordinal"]
ON_THE_MODE: tuple[Objective, ...] = ("tokens", "modal")
Grouping = Callable[["Example"], str]


@dataclass(frozen=True)
class Example:
    """A pair: what the model reads, and the survey's weighted shares of the options."""

    item: str
    subgroup: str
    prompt: EncodedPrompt
    shares: tuple[float, ...]
    scale: str = "ordinal"
    effective_n: float = np.inf

    @property
    def traits(self) -> tuple[str, ...]:
        """The single traits that make up the subgroup: a|b is of a and of b."""
        return tuple(self.subgroup.split(TRAITS_JOINED_BY))

    def needed_by(self, objective: Objective) -> "Example":
        """The pair with the options that an objective computes: the mode alone (the first of equals), those that somebody chose, or all."""
        if objective == "ordinal":
            return self
        mode = int(np.argmax(self.shares))
        kept = [mode] if objective in ON_THE_MODE else [option for option, share in enumerate(self.shares) if share > 0]
        return replace(self, prompt=self.prompt.keeping(kept), shares=tuple(self.shares[option] for option in kept))


class Batching(NamedTuple):
    """`groups_per_step` groups of up to `pairs_per_group` pairs make one optimizer step."""

    groups_per_step: int
    pairs_per_group: int
    seed: int


def read_examples(pairs: Path, encoder: PromptEncoder, *, split: str, objective: Objective) -> list[Example]:
    """The pairs of a split from tables/pairs.parquet, with the options that the objective needs."""
    rows = pd.read_parquet(pairs, columns=COLUMNS)
    examples = [
        Example(
            item=row["item"],
            subgroup=row["subgroup_id"],
            prompt=encoder.encode(row["prompt"], codes=tuple(int(code) for code in row["codes"])),
            shares=tuple(float(share) for share in row["shares"]),
            scale=row["scale"],
            effective_n=float(row["effective_n"]),
        )
        for row in rows[rows["split"] == split].to_dict("records")
    ]
    return [example.needed_by(objective) for example in examples]


def by_item(example: Example) -> str:
    return example.item


def by_subgroup(example: Example) -> str:
    return example.subgroup


def best_grouping(examples: list[Example], *, batching: Batching) -> Grouping:
    """Question or persona, whichever leaves the model fewer tokens to read once what prompts begin with is shared."""

    def tokens(grouping: Grouping) -> float:
        steps = steps_of_epoch(examples, batching=batching, grouping=grouping, epoch=0)[:COUNTED_STEPS]
        read = sum(stream_length([example.prompt for example in step]) for step in steps)
        return read / max(1, sum(map(len, steps)))

    return min((by_item, by_subgroup), key=tokens)


def steps_of_epoch(examples: list[Example], *, batching: Batching, grouping: Grouping, epoch: int) -> list[list[Example]]:
    """The epoch's optimizer steps: each several groups of examples, one after another. Every example comes once; the order depends on seed and
    epoch only."""
    generator = np.random.default_rng([batching.seed, epoch])
    groups = [chunk for members in _grouped(examples, grouping) for chunk in _chunks(members, batching.pairs_per_group, generator)]
    order = [groups[place] for place in generator.permutation(len(groups))]
    starts = range(0, len(order), batching.groups_per_step)
    return [[example for group in order[start : start + batching.groups_per_step] for example in group] for start in starts]


def in_groups(examples: list[Example], *, grouping: Grouping) -> list[Example]:
    """Unshuffled, with the examples of a group next to one another, for evaluation."""
    return [example for members in _grouped(examples, grouping) for example in members]


def shards(count: int, *, largest: int, processes: int) -> list[range]:
    """The places of so many examples in consecutive parts of at most `largest`, equally many for every process; the first process takes every
    `processes`-th from the first on, and so forth. With fewer examples than parts some are empty."""
    rounds = -(-count // (largest * processes))
    bounds = np.linspace(0, count, rounds * processes + 1).round().astype(int).tolist()
    return [range(start, stop) for start, stop in pairwise(bounds)]


def _grouped(examples: list[Example], grouping: Grouping) -> Iterator[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in examples:
        groups.setdefault(grouping(example), []).append(example)
    yield from groups.values()


def _chunks(members: list[Example], size: int, generator: np.random.Generator) -> Iterator[list[Example]]:
    shuffled = [members[place] for place in generator.permutation(len(members))]
    for start in range(0, len(shuffled), size):
        yield shuffled[start : start + size]
