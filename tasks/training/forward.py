"""Option probabilities of prompts, for training (with gradients) and for scoring (without).

    scorer = OptionScorer(model)
    scored = scorer(prompts)        # scored.options[i][j]: log p(option j | prompt i)

What prompts begin with goes through the model once, in one packed stream (tasks/training/packing.py). Only the positions that predict a part of an
answer meet the vocabulary, in float32: bfloat16 logits would turn near-ties into ties.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from tasks.errors import InputError
from tasks.prompting.tree import ROOT, EncodedPrompt
from tasks.training import attention
from tasks.training.packing import pack
from tasks.training.sharding import forget_broken_forward

# What some models do to their logits after the output layer, by the setting that says so.
LOGIT_SETTINGS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


# Prompts that are compared before a model is packed, and the largest difference of a probability.
LONGEST_TRIED, FIRST_TRIED = 2, 6
ALLOWED = {torch.float64: 1e-6, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}

logger = logging.getLogger("valuescape")


class ScoredOptions(NamedTuple):
    """`options`: for each prompt, log-probabilities [options]; `leads`: log p of the tokens that begin the answer ("Answer: "), [prompts]."""

    options: list[Tensor]
    leads: Tensor


class States(NamedTuple):
    """Last hidden states [places, size], and where each prompt's tokens and its options' nodes stand in them."""

    hidden: Tensor
    paths: list[list[int]]
    nodes: list[list[int]]


class Rows(NamedTuple):
    """A padded batch without sharing: each prompt's tokens, then its options' nodes."""

    tokens: Tensor  # [prompts, width]
    positions: Tensor  # [prompts, width]: as if each option stood alone after its prompt
    mask: Tensor  # [prompts, 1, width, width]: 0 where a token may look, the lowest number elsewhere


class OptionScorer(nn.Module):
    """log p(option) = sum over the option's tokens, its terminator included, of the full-vocabulary log-probabilities.

    `packed`: share what prompts begin with; else plain padded batches, for models whose attention cannot take it.
    """

    def __init__(self, model: Any, *, packed: bool = True) -> None:
        super().__init__()
        changed = [name for name in LOGIT_SETTINGS if getattr(model.config.get_text_config(), name, None) not in (None, 1.0)]
        if changed:
            raise InputError(
                f"the model changes its logits after the output layer ({', '.join(changed)}), and the likelihood reader does not. Take another model."
            )
        self.model = model
        self.packed = packed

    def forward(self, prompts: Sequence[EncodedPrompt], *, leads: bool = True) -> ScoredOptions:
        """`leads`: whether the beginnings of the answers are wanted, too; they cost as much as options."""
        causal = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        states = (_packed_states if self.packed else _padded_states)(causal, prompts)
        sums = [_lead(prompt, path) if leads else [] for prompt, path in zip(prompts, states.paths, strict=True)]
        for prompt, path, nodes in zip(prompts, states.paths, states.nodes, strict=True):
            sums += [[(path[-1] if node == ROOT else nodes[node], token) for node, token in option] for option in prompt.options]
        found = _log_probabilities(states.hidden, causal.get_output_embeddings(), sums)
        options = found[len(prompts) :].split([len(prompt.options) for prompt in prompts])
        return ScoredOptions(list(options), found[: len(prompts)])


def scorer_for(model: Any, prompts: Sequence[EncodedPrompt]) -> OptionScorer:
    """A packed scorer if the model can be packed, else a padded one."""
    scorer = OptionScorer(model)
    pack_if_equal(scorer, prompts)
    return scorer


def pack_if_equal(scorer: OptionScorer, prompts: Sequence[EncodedPrompt]) -> None:
    """Pack if the model gives some of these prompts, packed, the probabilities that they have in a padded batch; else do not, with a warning. The
    longest are among those tried, so that a model that looks back only so far is found out."""
    tried = [*sorted(prompts, key=lambda prompt: -len(prompt.tokens))[:LONGEST_TRIED], *prompts[:FIRST_TRIED]]
    reason = _difference(scorer, tried) if tried else None
    if reason:
        logger.warning("prompts of this model are not packed, and training takes several times longer: %s", reason)
        scorer.packed = False


def _difference(scorer: OptionScorer, prompts: list[EncodedPrompt]) -> str | None:
    """What keeps a model from being packed, if anything does."""
    with torch.no_grad():
        scorer.packed = False
        expected = torch.cat([row.exp() for row in scorer(prompts).options])
        scorer.packed = True
        try:
            found = torch.cat([row.exp() for row in scorer(prompts).options])
        except (attention.CannotPackError, TypeError) as error:
            forget_broken_forward(scorer)
            return str(error)
    largest = float((found - expected).abs().max())
    allowed = ALLOWED[next(scorer.parameters()).dtype]
    return f"the probability of an option differs by {largest:.2g}, and {allowed:.2g} is allowed" if not largest <= allowed else None


def _packed_states(causal: Any, prompts: Sequence[EncodedPrompt]) -> States:
    decoder = causal.get_decoder()
    parameter = next(decoder.parameters())
    stream = pack(prompts, device=parameter.device, dtype=parameter.dtype)
    with attention.packed(causal):
        output = decoder(input_ids=stream.tokens, position_ids=stream.positions, use_cache=False, layout=stream.layout)
    return States(output.last_hidden_state[0], stream.paths, stream.nodes)


def _padded_states(causal: Any, prompts: Sequence[EncodedPrompt]) -> States:
    decoder = causal.get_decoder()
    parameter = next(decoder.parameters())
    rows = _rows(prompts, device=parameter.device, dtype=parameter.dtype)
    output = decoder(input_ids=rows.tokens, position_ids=rows.positions, attention_mask=rows.mask, use_cache=False)
    width = rows.tokens.shape[1]
    paths = [list(range(row * width, row * width + len(prompt.tokens))) for row, prompt in enumerate(prompts)]
    nodes = [[path[-1] + 1 + node for node in range(len(prompt.nodes))] for path, prompt in zip(paths, prompts, strict=True)]
    return States(output.last_hidden_state.flatten(0, 1), paths, nodes)


def _rows(prompts: Sequence[EncodedPrompt], *, device: torch.device, dtype: torch.dtype) -> Rows:
    """Padded on the right: columns that no real token looks at, so that they change nothing."""
    width = max(len(prompt.tokens) + len(prompt.nodes) for prompt in prompts)
    tokens = torch.zeros(len(prompts), width, dtype=torch.long)
    positions = torch.zeros(len(prompts), width, dtype=torch.long)
    looks = torch.eye(width, dtype=torch.bool).repeat(len(prompts), 1, 1)  # padding looks at itself: a softmax over nothing would be NaN
    for row, prompt in enumerate(prompts):
        length = len(prompt.tokens)
        tokens[row, : length + len(prompt.nodes)] = torch.tensor([*prompt.tokens, *(node.token for node in prompt.nodes)])
        positions[row, :length] = torch.arange(length)
        looks[row, :length, :length] = torch.ones(length, length, dtype=torch.bool).tril()
        _place_nodes(prompt, positions[row], looks[row])
    mask = torch.zeros(looks.shape, dtype=dtype).masked_fill(~looks, torch.finfo(dtype).min)
    return Rows(tokens.to(device), positions.to(device), mask[:, None].to(device))


def _place_nodes(prompt: EncodedPrompt, positions: Tensor, looks: Tensor) -> None:
    """A node sees the prompt, its ancestors and itself, and stands where it would stand without the other options."""
    length = len(prompt.tokens)
    for index, node in enumerate(prompt.nodes):
        positions[length + index] = length + node.depth - 1
        looks[length + index] |= looks[length - 1 if node.parent == ROOT else length + node.parent]


def _lead(prompt: EncodedPrompt, path: list[int]) -> list[tuple[int, int]]:
    """Where the tokens that begin the answer are predicted, and which they are."""
    first = len(prompt.tokens) - prompt.lead
    return [(path[place - 1], prompt.tokens[place]) for place in range(first, len(prompt.tokens))]


def _log_probabilities(hidden: Tensor, vocabulary: nn.Linear, sums: Sequence[Sequence[tuple[int, int]]]) -> Tensor:
    """For each sum, the total of log p(token | what stands before it) of its (place, token), in float32 at least and over the full vocabulary:
    [sums]. Each place meets the vocabulary once."""
    factors = torch.tensor([(place, token, which) for which, terms in enumerate(sums) for place, token in terms], device=hidden.device)
    distinct, row = torch.unique(factors[:, 0], return_inverse=True)
    states = hidden.index_select(0, distinct)
    terms: Tensor = _TokenLogProbabilities.apply(states, vocabulary.weight, vocabulary.bias, row, factors[:, 1])  # type: ignore[no-untyped-call]
    return terms.new_zeros(len(sums)).index_add(0, factors[:, 2], terms)


class _TokenLogProbabilities(torch.autograd.Function):
    """Single tokens of log softmax(W h + b), in float32 at least: at row[i], token[i]. The logits, by far the largest tensor of a step, are there
    once, and become their own gradient in place."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, row: Tensor, token: Tensor) -> Tensor:
        precision = torch.promote_types(states.dtype, torch.float32)
        with _products_of(states.dtype):
            logits = nn.functional.linear(states.to(precision), weight.to(precision), None if bias is None else bias.to(precision))
        total = logits.logsumexp(dim=-1, keepdim=True)
        ctx.save_for_backward(states, weight, logits, total, row, token)
        return logits[row, token] - total[row, 0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, weight, logits, total, row, token = ctx.saved_tensors
        by_row = torch.zeros_like(total).index_add_(0, row, gradients[0][:, None])
        of_logits = logits.sub_(total).exp_().mul_(-by_row)  # d log p(t) / d logits = [t] - p
        of_logits.index_put_((row, token), gradients[0], accumulate=True)
        of_logits = of_logits.to(weight.dtype)
        of_weight = of_logits.T @ states if ctx.needs_input_grad[1] else None
        return of_logits @ weight, of_weight, of_logits.sum(0) if ctx.needs_input_grad[2] else None, None, None


@contextmanager
def _products_of(dtype: torch.dtype) -> Iterator[None]:
    """On a CPU, let float32 products be made in bfloat16, and summed in float32, where both factors were bfloat16: faster, and as exact."""
    products: Any = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    usual = products.fp32_precision
    products.fp32_precision = "bf16" if dtype == torch.bfloat16 else usual
    try:
        yield
    finally:
        products.fp32_precision = usual
