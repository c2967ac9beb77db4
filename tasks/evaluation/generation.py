"""What a local model says when nothing holds it to the options: batched, the prompts' common beginning through the model once.

    generator = Generator(loaded, most_tokens=16)
    texts = generator([encoder.encode(prompt, codes=codes) for prompt in prompts])

The likeliest token is taken each time, or one is drawn (`temperature` above 0) by the seed and the prompt's own tokens, so that a text does not
depend on what else is in its batch.
"""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DynamicCache

from tasks.prompting.tree import EncodedPrompt
from tasks.training.model import LoadedModel


@dataclass
class _State:
    """A batch under way: what the model remembers, and where the next token stands."""

    cache: DynamicCache
    mask: Tensor  # [prompts, length]: 0 at padding
    positions: Tensor  # [prompts]


class Generator:
    """Texts of at most `most_tokens` tokens, each up to the end of the turn. Logits are float32, as near-ties in bfloat16 round to ties."""

    def __init__(self, loaded: LoadedModel, *, most_tokens: int, temperature: float = 0.0, seed: int = 0) -> None:
        causal = loaded.model.get_base_model() if hasattr(loaded.model, "get_base_model") else loaded.model
        self._model, self._tokenizer, self._device = loaded.model, loaded.tokenizer, loaded.device
        self._most, self._temperature, self._seed = most_tokens, temperature, seed
        self._decoder, vocabulary = causal.get_decoder(), causal.get_output_embeddings()
        self._weight = vocabulary.weight.float()
        self._bias = None if vocabulary.bias is None else vocabulary.bias.float()
        self._ends = _end_tokens(causal, loaded.tokenizer)

    @torch.inference_mode()
    def __call__(self, prompts: Sequence[EncodedPrompt]) -> list[str]:
        openings = [prompt.tokens[: len(prompt.tokens) - prompt.lead] for prompt in prompts]
        draws = [np.random.default_rng([self._seed, zlib.crc32(np.array(opening).tobytes())]) for opening in openings]
        state, logits = self._read(openings)
        said: list[list[int]] = [[] for _ in prompts]
        going = [True] * len(prompts)
        for _ in range(self._most):
            tokens = [self._next(row, draw) for row, draw in zip(logits, draws, strict=True)]
            going = [on and token not in self._ends for on, token in zip(going, tokens, strict=True)]
            for row, token in enumerate(tokens):
                if going[row]:
                    said[row].append(token)
            if not any(going):
                break
            logits = self._step(state, tokens)
        return [str(self._tokenizer.decode(row, skip_special_tokens=True)) for row in said]

    def _read(self, openings: Sequence[tuple[int, ...]]) -> tuple[_State, Tensor]:
        """The openings through the model, padded on the left after their common beginning."""
        prefix = _common_start(openings)
        own = [opening[len(prefix) :] for opening in openings]
        width = max(map(len, own))
        tokens = torch.tensor([[0] * (width - len(row)) + list(row) for row in own], device=self._device)
        filled = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in own], device=self._device)
        mask = torch.cat([torch.ones(len(own), len(prefix), dtype=filled.dtype, device=self._device), filled], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, len(prefix) :]
        state = _State(self._remembered(prefix, times=len(own)), mask, positions[:, -1])
        return state, self._logits(state, tokens, positions)

    def _remembered(self, prefix: Sequence[int], *, times: int) -> DynamicCache:
        """Keys and values of the common beginning, for each prompt."""
        cache = DynamicCache()
        if prefix:
            once = self._decoder(input_ids=torch.tensor([list(prefix)], device=self._device), use_cache=True).past_key_values
            for layer, held in enumerate(once.layers):
                cache.update(held.keys.expand(times, -1, -1, -1), held.values.expand(times, -1, -1, -1), layer)
        return cache

    def _step(self, state: _State, tokens: Sequence[int]) -> Tensor:
        state.mask = torch.cat([state.mask, torch.ones_like(state.mask[:, :1])], dim=1)
        state.positions = state.positions + 1
        return self._logits(state, torch.tensor(tokens, device=self._device)[:, None], state.positions[:, None])

    def _logits(self, state: _State, tokens: Tensor, positions: Tensor) -> Tensor:
        """Of the token that follows each row: [prompts, vocabulary]."""
        output = self._decoder(input_ids=tokens, attention_mask=state.mask, position_ids=positions, past_key_values=state.cache, use_cache=True)
        hidden = output.last_hidden_state[:, -1].float()
        return nn.functional.linear(hidden, self._weight, self._bias)

    def _next(self, logits: Tensor, draw: np.random.Generator) -> int:
        if self._temperature == 0:
            return int(logits.argmax())
        shares = (logits.double() / self._temperature).softmax(dim=-1).cumsum(dim=-1).cpu().numpy()
        return int(min(np.searchsorted(shares, draw.uniform() * shares[-1], side="right"), len(shares) - 1))


def _common_start(openings: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """What all begin with, and never all of one: its last token predicts the answer's first. Nothing for one opening alone."""
    if len(openings) < 2:
        return ()
    shared = os.path.commonprefix([list(opening) for opening in openings])
    return tuple(shared[: min(len(opening) for opening in openings) - 1])


def _end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """What ends a turn: the tokenizer's end of text, and those of the model's own settings."""
    settled = getattr(model.generation_config, "eos_token_id", None)
    named = settled if isinstance(settled, list) else [settled]
    return {int(token) for token in [*named, tokenizer.eos_token_id] if token is not None}
