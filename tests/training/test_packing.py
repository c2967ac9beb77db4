"""Many prompts as one stream: what they share stands once, and each token sees what it would see alone."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.files import FileSet
from tasks.prompting.prompt import render_prompt
from tasks.prompting.tree import ROOT, EncodedPrompt, PromptEncoder, Step
from tasks.study import ModelSection
from tasks.training.forward import OptionScorer, scorer_for
from tasks.training.lora import with_lora
from tasks.training.model import load_model
from tasks.training.packing import Stream, pack, stream_length
from tests.training.test_forward import FAMILIES
from tests.training.test_lora import with_made_up_adapter
from tests.training.tiny import QUESTIONS, tiny_model, tiny_tokenizer

PERSONAS = (
    "You live in Singapore.",
    "You live in Singapore. You are a woman.",
    "You live in Singapore. You are a woman. You are 25-34 years old.",
    "You live in Singapore. You are a woman. You are 65 or older. Your religion is Islam.",
    "You live in Singapore. You are a man. You are 25-34 years old.",
)


def prompts(tokenizer: Any, *, order: str = "question_first", items: tuple[str, ...] = ("Q1", "Q2", "Q3")) -> list[EncodedPrompt]:
    """Shuffled, and with some question that only one persona is asked."""
    encoder = PromptEncoder(tokenizer)
    asked = [(item, persona) for item in items for persona in (PERSONAS if item != "Q3" else PERSONAS[:1])]
    shuffled = [asked[place] for place in np.random.default_rng(3).permutation(len(asked))]
    return [
        encoder.encode(render_prompt(QUESTIONS[item], persona=persona, order=order), codes=QUESTIONS[item].codes)  # type: ignore[arg-type]
        for item, persona in shuffled
    ]


def seen(stream: Stream) -> list[set[int]]:
    """For each token of the stream, the tokens that its block lets it look at."""
    by_query: dict[int, set[int]] = {}
    for block in stream.layout.blocks:
        for group, row, column in np.ndindex(*block.queries.shape):
            if not block.padding[group, row, column]:
                own = block.keys[group, row][block.mask[group, row, column] == 0].tolist()
                trunk = block.trunk[group][block.trunk_mask[group] == 0].tolist()
                assert len({*own, *trunk}) == len(own) + len(trunk), "a key that is seen twice counts twice"
                assert by_query.setdefault(int(block.queries[group, row, column]), {*own, *trunk}) == {*own, *trunk}
    return [by_query[token] for token in range(stream.tokens.shape[1])]


def path_to(prompt: EncodedPrompt, node: int) -> list[int]:
    return [] if node == ROOT else [*path_to(prompt, prompt.nodes[node].parent), node]


@pytest.mark.parametrize("order", ["question_first", "persona_first"])
def test_every_token_sees_its_own_sequence_and_stands_where_it_stands_there(order: str) -> None:
    asked = prompts(tiny_tokenizer(), order=order)
    stream = pack(asked)
    looks, tokens, positions = seen(stream), stream.tokens[0].tolist(), stream.positions[0].tolist()
    for prompt, path, nodes in zip(asked, stream.paths, stream.nodes, strict=True):
        assert [tokens[place] for place in path] == list(prompt.tokens)
        assert [looks[place] for place in path] == [set(path[: position + 1]) for position in range(len(path))]
        for index, place in enumerate(nodes):
            alone = [*path, *(nodes[node] for node in path_to(prompt, index))]
            assert looks[place] == set(alone)
            assert [positions[other] for other in alone] == list(range(len(alone)))


@pytest.mark.parametrize("order", ["question_first", "persona_first"])
def test_what_prompts_begin_with_stands_once(order: str) -> None:
    asked = prompts(tiny_tokenizer(), order=order)
    stream = pack(asked)
    beginnings = {prompt.tokens[:length] for prompt in asked for length in range(1, len(prompt.tokens) + 1)}
    assert stream.tokens.shape[1] == len(beginnings) + sum(len(prompt.nodes) for prompt in asked) == stream_length(asked)


def test_scores_between_tokens_that_do_not_see_each_other_are_not_computed_but_for_padding() -> None:
    stream = pack(prompts(tiny_tokenizer(), items=("Q1", "Q2")))
    computed = sum(block.queries.numel() * (block.keys.shape[-1] + block.trunk.shape[-1]) for block in stream.layout.blocks)
    assert computed < 0.6 * stream.tokens.numel() ** 2


def test_one_prompt_alone_is_a_stream_too() -> None:
    (prompt,) = prompts(tiny_tokenizer(), items=("Q3",))
    assert pack([prompt]).tokens[0].tolist() == [*prompt.tokens, *(node.token for node in prompt.nodes)]


def losses_and_gradients(scorer: OptionScorer, parts: list[list[EncodedPrompt]]) -> list[Tensor]:
    """log p of every option and of every answer's beginning, and the gradients of a sum of them by the adapter."""
    scored = [scorer(part) for part in parts]
    found = [torch.cat([torch.cat([*one.options, one.leads]) for one in scored])]
    order = torch.linspace(0.5, 1.5, len(found[0]), dtype=found[0].dtype)
    if len(parts) > 1:  # as the packed ones come: options of all prompts, then leads
        found = [torch.cat([*(row for one in scored for row in one.options), *(one.leads for one in scored)])]
    trained = [parameter for parameter in scorer.parameters() if parameter.requires_grad]
    return [found[0].detach(), *torch.autograd.grad(found[0] @ order, trained)]


def assert_packed_equals_unpacked(model: Any, asked: list[EncodedPrompt], *, within: float) -> None:
    """One stream against every prompt in a padded batch of its own; relative to the largest of each tensor."""
    packed = losses_and_gradients(OptionScorer(model), [asked])
    alone = losses_and_gradients(OptionScorer(model, packed=False), [[prompt] for prompt in asked])
    for ours, theirs in zip(packed, alone, strict=True):
        assert float((ours - theirs).abs().max()) <= within * float(theirs.abs().max())


@pytest.mark.parametrize("order", ["question_first", "persona_first"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("precision", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_losses_and_gradients_are_those_of_unpacked_prompts(family: str, precision: torch.dtype, within: float, order: str) -> None:
    model = with_made_up_adapter(with_lora(tiny_model(family).to(precision), rank=3, alpha=6))
    assert_packed_equals_unpacked(model, prompts(tiny_tokenizer(), order=order), within=within)


@pytest.mark.flow
@pytest.mark.parametrize(("precision", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_losses_and_gradients_of_the_sample_model_are_those_of_unpacked_prompts(precision: torch.dtype, within: float, sample_model: FileSet) -> None:
    loaded = load_model(Path(sample_model.folder), ModelSection(dtype="float32"), device=torch.device("cpu"))
    model = with_made_up_adapter(with_lora(loaded.model.to(precision), rank=3, alpha=6))
    assert_packed_equals_unpacked(model, prompts(loaded.tokenizer)[:2], within=within)


def test_a_model_that_looks_back_only_so_far_falls_back_to_padded_batches_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = tiny_tokenizer()
    model = tiny_model("mistral")
    short = EncodedPrompt((5, 6, 7), 1, (1,), (), ((Step(ROOT, 8),),))
    assert scorer_for(model, [short, short]).packed, "a window that is longer than all prompts changes nothing"
    with caplog.at_level(logging.WARNING, logger="valuescape"):
        scorer = scorer_for(model, prompts(tokenizer))
    assert not scorer.packed
    assert "are not packed" in caplog.text and "sliding_window" in caplog.text
    assert model.config._attn_implementation == "sdpa"


def test_a_model_whose_attention_ignores_the_layout_falls_back_too(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.training.attention.NAME", "sdpa")
    with caplog.at_level(logging.WARNING, logger="valuescape"):
        scorer = scorer_for(tiny_model(), prompts(tiny_tokenizer()))
    assert not scorer.packed
    assert "the probability of an option differs by" in caplog.text


@pytest.mark.parametrize("family", FAMILIES)
def test_the_families_that_are_tested_are_packed_without_a_word(family: str, caplog: pytest.LogCaptureFixture) -> None:
    model = tiny_model(family)
    assert scorer_for(model, prompts(tiny_tokenizer())).packed
    assert caplog.text == ""
    assert model.config._attn_implementation == "sdpa", "outside the scorer the model is as it was"
