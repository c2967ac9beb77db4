"""Attention over a packed stream, registered with transformers: no score is computed between tokens that do not see each other, but for padding.

    with packed(model):
        model(input_ids=stream.tokens, position_ids=stream.positions, layout=stream.layout)

The layout (tasks/training/packing.py) reaches the function as a keyword that transformers hands down to every layer's attention. Nothing is
registered as this attention's mask, so transformers makes none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface

from tasks.training.packing import Block, Layout

NAME = "valuescape_packed"
# What some models add to their scores, and this attention does not.
UNKNOWN = ("softcap", "s_aux", "position_bias")


class CannotPackError(Exception):
    """The model's attention does something that the packed one does not."""


@contextmanager
def packed(model: Any) -> Iterator[None]:
    """In the block the model attends by its layout. Raises CannotPackError for a model whose attention transformers cannot replace."""
    usual = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        if model.config._attn_implementation != NAME:
            raise CannotPackError("transformers cannot replace its attention")
        yield
    finally:
        model.set_attn_implementation(usual)


def packed_attention(
    module: nn.Module,
    query: Tensor,  # [1, heads, tokens, size]
    key: Tensor,  # [1, key heads, tokens, size]
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    layout: Layout,
    scaling: float | None = None,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Softmax attention of every token to its trunk, its other ancestors and itself: [1, tokens, heads, size]."""
    if changed := [name for name in UNKNOWN if settings.get(name) is not None]:
        raise CannotPackError(f"its attention uses {', '.join(changed)}")
    if (window := settings.get("sliding_window")) is not None and window < layout.longest:
        raise CannotPackError(f"its sliding_window of {window} is shorter than a prompt of {layout.longest}")
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    by_token = [held[0].transpose(0, 1) for held in (query * scale, key, value)]  # [tokens, heads, size] each
    found: Tensor = _PackedAttention.apply(*by_token, layout)  # type: ignore[no-untyped-call]
    return found[None], None


class _PackedAttention(torch.autograd.Function):
    """softmax(Q K' + mask) V and its gradients (Dao et al. 2022, arXiv 2205.14135, appendix B.2), block by block. The weights are kept for the
    backward pass; keys and values are gathered again."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, layout: Layout) -> Tensor:
        weights = [_weights(query, key, block) for block in layout.blocks]
        found = torch.cat([_weighted(held, value, block) for held, block in zip(weights, layout.blocks, strict=True)])
        ctx.save_for_backward(query, key, value, *weights)
        ctx.layout = layout
        return found.index_select(0, layout.places)  # [tokens, heads, size]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, *weights = ctx.saved_tensors
        layout: Layout = ctx.layout
        inputs = _Inputs(query, key, value, gradients[0])
        parts = [_backward(inputs, held, block) for held, block in zip(weights, layout.blocks, strict=True)]
        of_query = torch.cat([part[0] for part in parts]).index_select(0, layout.places)
        looked_at = torch.cat([part[1] for part in parts]).flatten(1)  # [keys of all blocks, 2 x heads x size]
        summed = nn.functional.embedding_bag(layout.seen_at, looked_at, layout.seen_from, mode="sum")
        of_key, of_value = summed.view(-1, 2, *key.shape[1:]).unbind(1)
        return of_query, of_key, of_value, None


class _Inputs(NamedTuple):
    """By token: [tokens, heads, size]."""

    query: Tensor
    key: Tensor
    value: Tensor
    gradient: Tensor


def _weights(query: Tensor, key: Tensor, block: Block) -> Tensor:
    """The softmax over trunk and own keys: [groups, heads, rows, queries of a key head x width, length + reach]."""
    scores = _joined(_of_queries(query, block, heads=key.shape[1]), *_of_keys(key, block))
    length, width = block.trunk.shape[1], block.queries.shape[2]
    scores[..., :length] += block.trunk_mask[:, None, None, None]
    scores[..., length:].unflatten(3, (-1, width)).add_(block.mask[:, None, :, None])
    return scores.softmax(dim=-1)


def _joined(rows: Tensor, trunk: Tensor, own: Tensor) -> Tensor:
    """Products of the rows with what they look at: [groups, heads, rows, queries of a key head x width, length + reach]."""
    return torch.cat([_by_trunk(rows, trunk.transpose(-1, -2)), rows @ own.transpose(-1, -2)], dim=-1)


def _by_trunk(rows: Tensor, trunk: Tensor) -> Tensor:
    """All rows of a group times the group's one matrix."""
    return (rows.flatten(2, 3) @ trunk).view(*rows.shape[:4], -1)


def _weighted(weights: Tensor, value: Tensor, block: Block) -> Tensor:
    """The weights' mean of the values, query after query: [groups x rows x width, heads, size]."""
    trunk, own = _of_keys(value, block)
    of_trunk, of_own = weights.split([trunk.shape[2], own.shape[3]], dim=-1)
    return _by_query(_by_trunk(of_trunk, trunk) + of_own @ own, block)


def _backward(inputs: _Inputs, weights: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """Gradients of the block's queries, query after query, and of its keys and values, first the trunks' and then the rows'."""
    heads, width = inputs.key.shape[1], block.queries.shape[2]
    asked, gradient = (_of_queries(held, block, heads=heads) for held in (inputs.query, inputs.gradient))
    gradient.unflatten(3, (-1, width)).masked_fill_(block.padding[:, None, :, None, :, None], 0)  # padding repeats token 0's
    keys, values = _of_keys(inputs.key, block), _of_keys(inputs.value, block)
    of_scores = torch.ops.aten._softmax_backward_data(_joined(gradient, *values), weights, -1, weights.dtype)
    length = block.trunk.shape[1]
    (score_trunk, score_own), (weight_trunk, weight_own) = ((held[..., :length], held[..., length:]) for held in (of_scores, weights))
    of_query = _by_query(_by_trunk(score_trunk, keys[0]) + score_own @ keys[1], block)
    trunk = [held.flatten(2, 3).transpose(-1, -2) @ by.flatten(2, 3) for held, by in ((score_trunk, asked), (weight_trunk, gradient))]
    own = [held.transpose(-1, -2) @ by for held, by in ((score_own, asked), (weight_own, gradient))]
    of_trunk = torch.stack(trunk, dim=1).permute(0, 3, 1, 2, 4).flatten(0, 1)  # [groups x length, 2, heads, size]
    of_own = torch.stack(own, dim=1).permute(0, 3, 4, 1, 2, 5).flatten(0, 2)  # [groups x rows x reach, 2, heads, size]
    return of_query, torch.cat([of_trunk, of_own])


def _of_queries(held: Tensor, block: Block, *, heads: int) -> Tensor:
    """Something by token for the block's queries: [groups, heads, rows, queries of a key head x width, size]."""
    groups, rows, width = block.queries.shape
    taken = held.index_select(0, block.queries.flatten()).view(groups, rows, width, heads, -1, held.shape[-1])
    return taken.permute(0, 3, 1, 4, 2, 5).reshape(groups, heads, rows, -1, held.shape[-1])


def _by_query(held: Tensor, block: Block) -> Tensor:
    """The way back: [groups x rows x width, heads, size]."""
    groups, rows, width = block.queries.shape
    return held.view(*held.shape[:3], -1, width, held.shape[-1]).permute(0, 2, 4, 1, 3, 5).reshape(groups * rows * width, -1, held.shape[-1])


def _of_keys(held: Tensor, block: Block) -> tuple[Tensor, Tensor]:
    """Keys or values of the trunks [groups, heads, length, size], and of the rows [groups, heads, rows, reach, size]."""
    trunk = held.index_select(0, block.trunk.flatten()).view(*block.trunk.shape, *held.shape[1:])
    own = held.index_select(0, block.keys.flatten()).view(*block.keys.shape, *held.shape[1:])
    return trunk.transpose(1, 2), own.permute(0, 3, 1, 2, 4)


AttentionInterface.register(NAME, packed_attention)
