"""The shared-prefix forward gives each option the probability that the option has alone."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tasks.errors import InputError
from tasks.prompting.prompt import LEAD, messages, render_prompt
from tasks.prompting.tree import PromptEncoder
from tasks.training.forward import OptionScorer, ScoredOptions
from tests.training.tiny import QUESTIONS, TERMINATOR, tiny_model, tiny_tokenizer

FAMILIES = ("llama", "neox", "qwen2")
PERSONAS = ("You are a woman.", "You are a man of 65 or more, and a Muslim.", "You are a person from Singapore.")


def prompts_of(item: str = "Q2") -> list[str]:
    return [render_prompt(QUESTIONS[item], persona=persona, order="question_first") for persona in PERSONAS]


def mixed() -> list[tuple[str, tuple[int, ...]]]:
    """Prompts and options of different lengths: a row of the batch is padded to the longest."""
    return [(prompts_of(item)[row], QUESTIONS[item].codes) for row, item in enumerate(("Q3", "Q2", "Q1"))]


def plain_log_probabilities(model: Any, tokenizer: Any, text: str, answer: str) -> Tensor:
    """The answer's tokens, each by a full softmax, from one sequence through the model alone: log p of each."""
    opening = tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = tokenizer(f"{text}{answer}", add_special_tokens=False)["input_ids"]
    assert whole[: len(opening)] == opening
    logprobs = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
    return torch.stack([logprobs[place - 1, whole[place]] for place in range(len(opening), len(whole))])


def opening_of(tokenizer: Any, prompt: str) -> str:
    return str(tokenizer.apply_chat_template(messages(prompt), tokenize=False, add_generation_prompt=True))


def plain(model: Any, tokenizer: Any, asked: list[tuple[str, tuple[int, ...]]]) -> ScoredOptions:
    """Each option of each prompt by itself: the answer's beginning is the tokens that all options share."""
    options, leads = [], []
    for prompt, codes in asked:
        opening = opening_of(tokenizer, prompt)
        lead = plain_log_probabilities(model, tokenizer, opening, LEAD).sum()
        wholes = [plain_log_probabilities(model, tokenizer, opening, f"{LEAD}{code}{TERMINATOR}").sum() for code in codes]
        options.append(torch.stack(wholes) - lead)
        leads.append(lead)
    return ScoredOptions(options, torch.stack(leads))


def scored(model: Any, tokenizer: Any, asked: list[tuple[str, tuple[int, ...]]], *, packed: bool = True) -> ScoredOptions:
    encoder = PromptEncoder(tokenizer)
    found: ScoredOptions = OptionScorer(model, packed=packed)([encoder.encode(prompt, codes=codes) for prompt, codes in asked])
    return found


def assert_close(one: ScoredOptions, other: ScoredOptions, *, within: float) -> None:
    for ours, theirs in zip([*one.options, one.leads], [*other.options, other.leads], strict=True):
        torch.testing.assert_close(ours.double(), theirs.double(), rtol=0, atol=within)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("precision", "within"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_an_option_gets_the_probability_that_it_has_alone(family: str, precision: torch.dtype, within: float) -> None:
    model, tokenizer = tiny_model(family).to(precision), tiny_tokenizer()
    with torch.inference_mode():
        assert_close(scored(model, tokenizer, mixed()), plain(model, tokenizer, mixed()), within=within)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_shared_beginning_changes_nothing(family: str) -> None:
    model, tokenizer = tiny_model(family).double(), tiny_tokenizer()
    asked = [(prompt, QUESTIONS["Q2"].codes) for prompt in prompts_of()]
    with torch.inference_mode():
        together = scored(model, tokenizer, asked)
        assert_close(together, scored(model, tokenizer, asked, packed=False), within=1e-9)
        for row, one in enumerate(asked):
            alone = scored(model, tokenizer, [one])
            torch.testing.assert_close(alone.options[0], together.options[row], rtol=0, atol=1e-9)


def test_a_prompt_that_comes_twice_in_a_group_is_scored_twice_alike() -> None:
    model, tokenizer = tiny_model().double(), tiny_tokenizer()
    asked = [(prompts_of()[0], QUESTIONS["Q2"].codes)] * 2
    with torch.inference_mode():
        assert_close(scored(model, tokenizer, asked), plain(model, tokenizer, asked), within=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_of_the_shared_path_are_those_of_single_sequences(family: str) -> None:
    model, tokenizer = tiny_model(family).double(), tiny_tokenizer()

    def gradients(found: ScoredOptions) -> list[Tensor]:
        loss = -(found.leads.sum() + sum(row[0] + 0.3 * row[-1] for row in found.options))
        return [gradient.clone() for gradient in torch.autograd.grad(loss, list(model.parameters()))]

    ours, theirs = gradients(scored(model, tokenizer, mixed())), gradients(plain(model, tokenizer, mixed()))
    within = 1e-10 if family == "neox" else 1e-5  # the others' norms compute in float32, whatever the model's type
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=within)


@pytest.mark.parametrize("single_digits", [True, False])
def test_peers_trap_6_option_1_does_not_contain_option_10(single_digits: bool) -> None:
    """Without a terminator p(1) >= p(10) always; with it, the probabilities of all ten and of what is outside make one."""
    tokenizer = tiny_tokenizer(single_digits=single_digits)
    prompt = PromptEncoder(tokenizer).encode(prompts_of()[0], codes=QUESTIONS["Q2"].codes)
    tokens = [tuple(step.token for step in option) for option in prompt.options]
    assert len(set(tokens)) == 10 and all(option[-1] == tokenizer.eos_token_id for option in tokens)
    if single_digits:
        assert [len(option) for option in tokens] == [2] * 9 + [3]
    assert not any(one != other and other[: len(one)] == one for one in tokens for other in tokens)


def test_peers_trap_6_a_model_that_favours_10_chooses_it() -> None:
    """After "1" the model is taught "0" and then the end: 10 must win over 1, though both begin alike."""
    model, tokenizer = tiny_model(), tiny_tokenizer()
    asked = [PromptEncoder(tokenizer).encode(prompts_of()[0], codes=QUESTIONS["Q2"].codes)]
    scorer, optimizer = OptionScorer(model), torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        loss = -scorer(asked).options[0][-1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.inference_mode():
        probabilities = scorer(asked).options[0].exp().numpy()
    assert QUESTIONS["Q2"].codes[int(np.argmax(probabilities))] == 10
    assert probabilities[-1] > 0.8 and probabilities.sum() < 1 + 1e-6


def test_peers_trap_8_the_terminator_is_scored_though_it_is_the_padding_token() -> None:
    model, tokenizer = tiny_model().double(), tiny_tokenizer()
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    with torch.inference_mode():
        before = scored(model, tokenizer, mixed())
        row = model.get_output_embeddings().weight
        row[tokenizer.eos_token_id] += 0.5 * torch.randn(row.shape[1], generator=torch.Generator().manual_seed(1), dtype=row.dtype)
        after = scored(model, tokenizer, mixed())
        assert_close(after, plain(model, tokenizer, mixed()), within=1e-9)
    assert all((one != other).all() for one, other in zip(before.options, after.options, strict=True))


def test_peers_trap_5_every_option_has_a_probability_however_unlikely() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with torch.inference_mode():
        for options in scored(model, tokenizer, mixed()).options:
            assert torch.isfinite(options).all() and (options < 0).all()


def test_peers_trap_14_near_ties_of_a_bfloat16_model_stay_apart() -> None:
    """Logits in bfloat16 have 8 bits: many options would tie. The last hidden state meets the vocabulary in float32."""
    model, tokenizer = tiny_model().bfloat16(), tiny_tokenizer()
    with torch.inference_mode():
        options = scored(model, tokenizer, [(prompt, QUESTIONS["Q2"].codes) for prompt in prompts_of()]).options
    assert all(row.dtype == torch.float32 and len(set(row.tolist())) == 10 for row in options)
    assert any(row.bfloat16().unique().numel() < 10 for row in options), "the example has no near-tie"


def test_only_the_answers_positions_meet_the_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with torch.inference_mode():
        expected = scored(model, tokenizer, mixed())
        monkeypatch.setattr(type(model), "forward", lambda *_, **__: pytest.fail("the whole model computed logits of every position"))
        assert_close(scored(model, tokenizer, mixed()), expected, within=0)


def test_a_bias_of_the_output_layer_counts() -> None:
    model, tokenizer = tiny_model().double(), tiny_tokenizer()
    output = model.get_output_embeddings()
    output.bias = torch.nn.Parameter(torch.randn(output.out_features, generator=torch.Generator().manual_seed(3), dtype=torch.float64))
    with torch.inference_mode():
        assert_close(scored(model, tokenizer, mixed()), plain(model, tokenizer, mixed()), within=1e-9)


@pytest.mark.parametrize("setting", ["final_logit_softcapping", "logit_scale", "logits_scaling"])
def test_a_model_that_changes_its_logits_afterwards_is_refused(setting: str) -> None:
    """Gemma 2, Cohere, Granite: their probabilities would come out wrong, and nothing would show it."""
    model = tiny_model()
    setattr(model.config, setting, 30.0)
    with pytest.raises(InputError, match=setting):
        OptionScorer(model)
