"""Option probabilities of a group of prompts, for training (with gradients) and for scoring (without).

    scorer = OptionScorer(model)
    scored = scorer(group)          # scored.options[i][j]: log p(option j | prompt i)

What the prompts begin with goes through the model once; its keys and values then serve every prompt's own tokens and its options' tree. Only the
positions that predict a part of an answer meet the vocabulary, in float32: bfloat16 logits would turn near-ties into ties.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tasks.errors import InputError
from tasks.prompting.tree import ROOT, EncodedPrompt, PromptGroup

# What some models do to their logits after the output layer, by the setting that says so.
LOGIT_SETTINGS = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


class ScoredOptions(NamedTuple):
    """`options`: for each prompt, log-probabilities [options]; `leads`: log p of the tokens that begin the answer ("Answer: "), [prompts]."""

    options: list[Tensor]
    leads: Tensor


class Rows(NamedTuple):
    """A padded batch: each prompt's own tokens, then its options' nodes."""

    tokens: Tensor  # [prompts, width]
    positions: Tensor  # [prompts, width]: as if each option stood alone after its prompt
    mask: Tensor  # [prompts, 1, width, prefix + width]: 0 where a token may look, the lowest number elsewhere


class Factor(NamedTuple):
    """One factor of a probability: at (row, column) of a batch, `token` comes next."""

    row: int
    column: int
    token: int


class OptionScorer(nn.Module):
    """log p(option) = sum over the option's tokens, its terminator included, of the full-vocabulary log-probabilities."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        changed = [name for name in LOGIT_SETTINGS if getattr(model.config.get_text_config(), name, None) not in (None, 1.0)]
        if changed:
            raise InputError(
                f"the model changes its logits after the output layer ({', '.join(changed)}), and the likelihood reader does not. Take another model."
            )
        self.model = model

    def forward(self, group: PromptGroup) -> ScoredOptions:
        causal = self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model
        hidden = self._hidden(causal.get_decoder(), group)
        factors = [_factors(prompt, row=row, skipped=len(group.prefix)) for row, prompt in enumerate(group.prompts)]
        flat = [factor for lead, options in factors for factor in (*lead, *(step for option in options for step in option))]
        logprobs = iter(_log_probabilities(hidden, causal.get_output_embeddings(), flat).split(_lengths(factors)))  # type: ignore[no-untyped-call]
        leads, options = [], []
        for _, prompt_options in factors:
            leads.append(next(logprobs).sum())
            options.append(torch.stack([next(logprobs).sum() for _ in prompt_options]))
        return ScoredOptions(options, torch.stack(leads))

    def _hidden(self, decoder: nn.Module, group: PromptGroup) -> Tensor:
        """Last hidden states of the prompts' own tokens and nodes: [prompts, width, size]."""
        parameter = next(decoder.parameters())
        rows = _rows(group, device=parameter.device, dtype=parameter.dtype)
        cache = None
        if group.prefix:
            prefix = torch.tensor([group.prefix], device=parameter.device)
            once = decoder(input_ids=prefix, use_cache=True).past_key_values
            cache = _repeated(once, len(group.prompts))
        output = decoder(
            input_ids=rows.tokens, position_ids=rows.positions, attention_mask=rows.mask, past_key_values=cache, use_cache=cache is not None
        )
        hidden: Tensor = output.last_hidden_state
        return hidden


def _repeated(cache: Any, times: int) -> DynamicCache:
    """The keys and values of one sequence for a whole batch, without a copy; gradients flow back into them."""
    repeated = DynamicCache()
    for layer, held in enumerate(cache.layers):
        repeated.update(held.keys.expand(times, -1, -1, -1), held.values.expand(times, -1, -1, -1), layer)
    return repeated


def _rows(group: PromptGroup, *, device: torch.device, dtype: torch.dtype) -> Rows:
    """Padded on the right: columns that no real token looks at, so that they change nothing."""
    skipped = len(group.prefix)
    own = [len(prompt.tokens) - skipped for prompt in group.prompts]
    width = max(length + len(prompt.nodes) for length, prompt in zip(own, group.prompts, strict=True))
    tokens = torch.zeros(len(own), width, dtype=torch.long)
    positions = torch.zeros(len(own), width, dtype=torch.long)
    looks = torch.zeros(len(own), width, skipped + width, dtype=torch.bool)
    looks[:, :, :skipped] = True
    looks[:, :, skipped:] = torch.eye(width, dtype=torch.bool)  # padding looks at itself: a softmax over nothing would be NaN
    for row, (length, prompt) in enumerate(zip(own, group.prompts, strict=True)):
        used = length + len(prompt.nodes)
        tokens[row, :used] = torch.tensor([*prompt.tokens[skipped:], *(node.token for node in prompt.nodes)])
        positions[row, :length] = torch.arange(skipped, skipped + length)
        looks[row, :length, skipped : skipped + length] = torch.ones(length, length, dtype=torch.bool).tril()
        _place_nodes(prompt, positions[row], looks[row], start=length, skipped=skipped)
    lowest = torch.finfo(dtype).min
    mask = torch.zeros(looks.shape, dtype=dtype).masked_fill(~looks, lowest)
    return Rows(tokens.to(device), positions.to(device), mask[:, None].to(device))


def _place_nodes(prompt: EncodedPrompt, positions: Tensor, looks: Tensor, *, start: int, skipped: int) -> None:
    """A node sees the prompt, its ancestors and itself, and stands where it would stand without the other options."""
    for index, node in enumerate(prompt.nodes):
        place = start + index
        positions[place] = len(prompt.tokens) + node.depth - 1
        seen_by = start - 1 if node.parent == ROOT else start + node.parent
        looks[place] |= looks[seen_by]


def _factors(prompt: EncodedPrompt, *, row: int, skipped: int) -> tuple[list[Factor], list[list[Factor]]]:
    """The factors of the answer's beginning, and of each option."""
    own = len(prompt.tokens) - skipped
    lead = [Factor(row, own - 1 - back, prompt.tokens[len(prompt.tokens) - back]) for back in range(prompt.lead, 0, -1)]
    options = [[Factor(row, own + step.node if step.node != ROOT else own - 1, step.token) for step in option] for option in prompt.options]
    return lead, options


def _lengths(factors: Sequence[tuple[list[Factor], list[list[Factor]]]]) -> list[int]:
    return [length for lead, options in factors for length in (len(lead), *(len(option) for option in options))]


def _log_probabilities(hidden: Tensor, vocabulary: nn.Linear, factors: Sequence[Factor]) -> Tensor:
    """log p(token | what stands before it), in float32 at least, over the full vocabulary: [factors]. Each position meets it once."""
    places = torch.tensor([(factor.row, factor.column) for factor in factors], device=hidden.device)
    tokens = torch.tensor([factor.token for factor in factors], device=hidden.device)
    distinct, which = torch.unique(places, dim=0, return_inverse=True)
    precision = torch.promote_types(hidden.dtype, torch.float32)
    bias = None if vocabulary.bias is None else vocabulary.bias.to(precision)
    states = hidden[distinct[:, 0], distinct[:, 1]].to(precision)
    logits = nn.functional.linear(states, vocabulary.weight.to(precision), bias)  # [distinct positions, vocabulary]
    chosen: Tensor = logits.log_softmax(dim=-1)[which, tokens]
    return chosen
