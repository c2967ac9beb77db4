"""A text does not depend on the batch that it was generated in, and is what the library's own generation gives."""

from typing import Any

import pytest
import torch

from tasks.evaluation.generation import Generator
from tasks.prompting.prompt import messages, render_prompt
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.training.model import LoadedModel
from tests.training.tiny import QUESTIONS, tiny_model, tiny_tokenizer

PERSONAS = ("You are a woman.", "You are a man of 65 or more, and a Muslim.", "You are a person from Singapore.")
MOST = 12


def asked(item: str = "Q1") -> list[str]:
    return [render_prompt(QUESTIONS[item], persona=persona, order="question_first") for persona in PERSONAS]


def encoded(tokenizer: Any, prompts: list[str]) -> list[EncodedPrompt]:
    encoder = PromptEncoder(tokenizer)
    return [encoder.encode(prompt, codes=(1, 2, 3)) for prompt in prompts]


def loaded(family: str = "llama") -> LoadedModel:
    return LoadedModel(tiny_model(family), tiny_tokenizer(), torch.device("cpu"), torch.float32)


def plain(model: LoadedModel, prompt: str) -> str:
    """The library's generation of one prompt alone."""
    tokens = model.tokenizer.apply_chat_template(messages(prompt), add_generation_prompt=True, return_tensors="pt", return_dict=True)["input_ids"]
    seen = torch.ones_like(tokens)
    made = model.model.generate(
        tokens, attention_mask=seen, max_new_tokens=MOST, do_sample=False, pad_token_id=0, eos_token_id=model.tokenizer.eos_token_id
    )
    return str(model.tokenizer.decode(made[0, tokens.shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("family", ["llama", "neox", "qwen2"])
def test_a_batch_says_what_each_prompt_is_answered_alone(family: str) -> None:
    model, prompts = loaded(family), [*asked("Q1"), *asked("Q3")]
    texts = Generator(model, most_tokens=MOST)(encoded(model.tokenizer, prompts))
    assert texts == [plain(model, prompt) for prompt in prompts]
    assert len(set(texts)) > 1


def test_a_drawn_text_is_the_seeds_whatever_the_batch() -> None:
    model = loaded()
    prompts = encoded(model.tokenizer, asked())
    together = Generator(model, most_tokens=MOST, temperature=1.0, seed=1)(prompts)
    alone = [text for prompt in prompts for text in Generator(model, most_tokens=MOST, temperature=1.0, seed=1)([prompt])]
    assert together == alone
    assert together != Generator(model, most_tokens=MOST, temperature=1.0, seed=2)(prompts)


def test_a_text_ends_where_the_turn_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded()
    generator = Generator(model, most_tokens=MOST)
    whole = generator(encoded(model.tokenizer, asked()))[0]
    (end,) = model.tokenizer("Answer", add_special_tokens=False)["input_ids"]
    assert "Answer" in whole
    monkeypatch.setattr(generator, "_ends", {end})
    assert generator(encoded(model.tokenizer, asked()))[0] == whole.partition("Answer")[0]
