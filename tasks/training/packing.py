"""Many prompts as one stream of tokens in which whatever they begin with stands once.

    stream = pack(prompts)          # stream.tokens, stream.positions: what the model is fed; stream.layout: who looks where

Prompts and the trees of their options are one tree of tokens. Sorted, each prompt adds to the stream only what the one before it did not begin with,
so a token's ancestors are the tokens that it would see in a sequence of its own. Neighbours whose common beginning (the trunk) is long form a group:
its rows look at the trunk as one block, without a mask. Where to cut groups is chosen by the size of the score matrices, so that it fits questions
and personas alike, whichever comes first in the prompts.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tasks.prompting.tree import EncodedPrompt

Indices = npt.NDArray[np.int64]


class Block(NamedTuple):
    """Tokens of the stream that attend alike: rows of neighbouring tokens, in groups with a trunk. Padding repeats token 0 and nobody looks at it."""

    queries: Tensor  # [groups, rows, width]
    padding: Tensor  # [groups, rows, width]: whether a query is padding
    keys: Tensor  # [groups, rows, reach]: the row's own tokens, and ancestors below the trunk
    mask: Tensor  # [groups, rows, width, reach]: 0 where a token looks, minus infinity elsewhere
    trunk: Tensor  # [groups, length]: keys of all rows of the group
    trunk_mask: Tensor  # [groups, length]


class Layout(NamedTuple):
    """Every token is a query of one block, and a key of several. `places` finds it in the blocks' queries, one after another: [tokens]; the blocks'
    keys, of each first the trunks' and then the rows', stand for it at `seen_at` from `seen_from` on: [keys], [tokens]."""

    blocks: tuple[Block, ...]
    places: Tensor
    seen_at: Tensor
    seen_from: Tensor
    longest: int  # tokens of the longest prompt with an option


class Stream(NamedTuple):
    """`paths`, `nodes`: where each prompt's tokens and its options' nodes stand, in the order in which the prompts were given."""

    tokens: Tensor  # [1, tokens]
    positions: Tensor  # [1, tokens]: as if each option stood alone after its prompt
    layout: Layout
    paths: list[list[int]]
    nodes: list[list[int]]


class _Row(NamedTuple):
    """What one prompt added to the stream: its tokens after the first `shared` and its options' nodes, from `start` up to `stop`."""

    path: list[int]  # where all its tokens stand
    shared: int
    start: int
    stop: int
    room: int  # the longest trunk: the token that predicts the answer's first is never in it


class _Group(NamedTuple):
    """A block's group before it is padded: for each row its queries and its keys, all of them places in the stream."""

    trunk: list[int]
    rows: list[tuple[list[int], list[int]]]


class _Padded(NamedTuple):
    """A block's places in the stream, -1 for padding: queries [groups, rows, width], keys [groups, rows, reach], trunk [groups, length]."""

    queries: Indices
    keys: Indices
    trunk: Indices


class _Tree:
    """The stream while it grows. `ends`: where a token's subtree ends, so that k is an ancestor of q, or q itself, when k <= q < ends[k]."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.ends: list[int] = []
        self._open: list[int] = []  # the path to the token that came last

    def add(self, token: int, *, position: int) -> int:
        self.close(position)
        place = len(self.tokens)
        for grown, value in ((self.tokens, token), (self.positions, position), (self.ends, -1), (self._open, place)):
            grown.append(value)
        return place

    def close(self, position: int) -> None:
        for place in self._open[position:]:
            self.ends[place] = len(self.tokens)
        del self._open[position:]


def pack(prompts: Sequence[EncodedPrompt], *, device: torch.device | None = None, dtype: torch.dtype = torch.float32) -> Stream:
    """One stream of all prompts; `dtype` is that of the masks, which are added to scores."""
    tree, rows = _Tree(), list[_Row]()
    paths, nodes = [list[int]() for _ in prompts], [list[int]() for _ in prompts]
    for place in sorted(range(len(prompts)), key=lambda place: prompts[place].tokens):
        prompt, start = prompts[place], len(tree.tokens)
        before = [tree.tokens[token] for token in rows[-1].path] if rows else []
        shared = len(os.path.commonprefix([before, list(prompt.tokens)]))
        new = [tree.add(token, position=position) for position, token in enumerate(prompt.tokens[shared:], start=shared)]
        paths[place] = [*(rows[-1].path[:shared] if rows else []), *new]
        nodes[place] = [tree.add(node.token, position=len(prompt.tokens) + node.depth - 1) for node in prompt.nodes]
        rows.append(_Row(paths[place], shared, start, len(tree.tokens), len(prompt.tokens) - prompt.lead - 1))
    tree.close(0)
    layout = _layout(rows, tree, device=device, dtype=dtype)
    return Stream(torch.tensor([tree.tokens], device=device), torch.tensor([tree.positions], device=device), layout, paths, nodes)


def stream_length(prompts: Sequence[EncodedPrompt]) -> int:
    """How many tokens the stream of these prompts has."""
    rows = sorted(prompt.tokens for prompt in prompts)
    shared = sum(len(os.path.commonprefix([list(one), list(other)])) for one, other in pairwise(rows))
    return sum(len(prompt.tokens) + len(prompt.nodes) for prompt in prompts) - shared


def _layout(rows: list[_Row], tree: _Tree, *, device: torch.device | None, dtype: torch.dtype) -> Layout:
    """The cheapest of the ways to cut the rows into groups: wherever neighbours share fewer tokens than some number."""
    ends = np.array(tree.ends)
    cuts = sorted({row.shared for row in rows})
    plans = [[_trunks(groups), _rests(groups)] for groups in (_cut(rows, cut) for cut in cuts)]
    chosen = [block for block in min(plans, key=lambda plan: sum(map(_scores, plan))) if block]
    padded = [_pad(block) for block in chosen]
    queries = np.concatenate([block.queries.ravel() for block in padded])
    places = np.empty(len(ends), dtype=np.int64)
    places[queries[queries >= 0]] = np.flatnonzero(queries >= 0)
    keys = np.concatenate([held.ravel() for block in padded for held in (block.trunk, block.keys)])
    seen_at = np.argsort(keys, kind="stable")[np.count_nonzero(keys < 0) :]
    seen_from = np.searchsorted(keys[seen_at], np.arange(len(ends)))
    blocks = tuple(_block(block, ends, device=device, dtype=dtype) for block in padded)
    held = (torch.from_numpy(found).to(device) for found in (places, seen_at, seen_from))
    return Layout(blocks, next(held), next(held), next(held), longest=max(tree.positions) + 1)


def _cut(rows: list[_Row], least: int) -> list[list[_Row]]:
    """Groups of neighbours that share at least so many tokens."""
    groups: list[list[_Row]] = []
    for row in rows:
        if groups and row.shared >= least:
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _trunk_length(group: list[_Row]) -> int:
    return min([row.room for row in group] + [row.shared for row in group[1:]])


def _trunks(groups: list[list[_Row]]) -> list[_Group]:
    """The trunks' own tokens, as far as no earlier group has them: each a row that looks at its path."""
    made = []
    for group in groups:
        first, length = group[0], _trunk_length(group)
        if new := first.path[first.shared : length]:
            made.append(_Group([], [(new, first.path[:length])]))
    return made


def _rests(groups: list[list[_Row]]) -> list[_Group]:
    """What comes after the trunks: each row looks at its group's trunk, at its ancestors after that, and at itself."""
    made = []
    for group in groups:
        length = _trunk_length(group)
        own = [list(range(row.start + max(0, length - row.shared), row.stop)) for row in group]
        made.append(_Group(group[0].path[:length], [(new, [*row.path[length : row.shared], *new]) for row, new in zip(group, own, strict=True)]))
    return made


def _scores(block: list[_Group]) -> int:
    """How many scores a block computes, padding included."""
    rows = [row for group in block for row in group.rows]
    width, reach = (max((len(row[part]) for row in rows), default=0) for part in (0, 1))
    most, trunk = max((len(group.rows) for group in block), default=0), max((len(group.trunk) for group in block), default=0)
    return len(block) * most * width * (reach + trunk)


def _pad(block: list[_Group]) -> _Padded:
    """Rows of one length, and as many in each group; -1 stands for nothing."""
    most = max(len(group.rows) for group in block)
    rows = [row for group in block for row in [*group.rows, *[([], [])] * (most - len(group.rows))]]
    queries, keys = (_rectangle([row[part] for row in rows]).reshape(len(block), most, -1) for part in (0, 1))
    return _Padded(queries, keys, _rectangle([group.trunk for group in block]))


def _rectangle(lists: list[list[int]]) -> Indices:
    padded = np.full((len(lists), max(map(len, lists))), -1, dtype=np.int64)
    for place, members in enumerate(lists):
        padded[place, : len(members)] = members
    return padded


def _block(padded: _Padded, ends: Indices, *, device: torch.device | None, dtype: torch.dtype) -> Block:
    query, key = padded.queries[..., :, None], padded.keys[..., None, :]
    looks = (query < 0) | ((key >= 0) & (key <= query) & (query < ends[key]))  # padding looks everywhere: a softmax over nothing would be NaN
    return Block(
        queries=torch.from_numpy(padded.queries.clip(0)).to(device),
        padding=torch.from_numpy(padded.queries < 0).to(device),
        keys=torch.from_numpy(padded.keys.clip(0)).to(device),
        mask=_additive(looks, dtype=dtype).to(device),
        trunk=torch.from_numpy(padded.trunk.clip(0)).to(device),
        trunk_mask=_additive(padded.trunk >= 0, dtype=dtype).to(device),
    )


def _additive(looks: npt.NDArray[np.bool_], *, dtype: torch.dtype) -> Tensor:
    return torch.zeros(looks.shape, dtype=dtype).masked_fill(torch.from_numpy(~looks), -torch.inf)
