"""Prompts and options as tokens: what a group of prompts shares once, and each prompt's options as a tree.

    encoder = PromptEncoder(tokenizer)
    prompts = [encoder.encode(text, codes=(1, 2, 3, 4)) for text in texts]
    group = group_prompts(prompts)          # group.prefix is computed once, group.tails once each

Prompt and answer are tokenised as one string. Every option ends with the turn's end (the terminator): without it "1" would be a part of "10",
and 10 could never be chosen. The options' tokens form a tree: options that begin alike share those tokens.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from jinja2 import TemplateError

from tasks.prompting.prompt import LEAD, SYSTEM, messages

ROOT = -1


class Node(NamedTuple):
    """A token that the model is fed after the prompt; `parent` is an index into the nodes, ROOT is the prompt's last token."""

    token: int
    parent: int
    depth: int  # 1 for the first token after the prompt


class Step(NamedTuple):
    """One factor of an option's probability: `token` is predicted at `node`."""

    node: int
    token: int


@dataclass(frozen=True)
class EncodedPrompt:
    """`tokens` up to where the options part, of which the last `lead` begin the answer; `options`: for each code, the steps of its probability."""

    tokens: tuple[int, ...]
    lead: int
    codes: tuple[int, ...]
    nodes: tuple[Node, ...]
    options: tuple[tuple[Step, ...], ...]


class PromptGroup(NamedTuple):
    """Prompts that begin with the same tokens."""

    prefix: tuple[int, ...]
    prompts: tuple[EncodedPrompt, ...]


class PromptEncoder:
    """Turns prompt texts into tokens by the tokenizer's own chat template."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._terminator = tokenizer.eos_token
        self._before, self._after = self._template_parts()

    def encode(self, prompt: str, *, codes: Sequence[int]) -> EncodedPrompt:
        opening = f"{self._before}{prompt}{self._after}"
        texts = [opening, *(f"{opening}{LEAD}{code}{self._terminator}" for code in codes)]
        rows = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        start, answers = _common_start(rows[0], rows[1]), rows[1:]
        shared = _common_start(*answers)
        nodes, options = _tree([tuple(answer[shared:]) for answer in answers])
        return EncodedPrompt(tuple(answers[0][:shared]), shared - start, tuple(codes), nodes, options)

    def _template_parts(self) -> tuple[str, str]:
        """The template's text before and after a prompt. A template that refuses a system message gets it in front of the prompt."""
        mark = "\u241fprompt\u241f"
        chat = messages(mark)
        try:
            text = self._render(chat)
        except TemplateError:
            text = self._render([{"role": "user", "content": f"{SYSTEM}\n\n{mark}"}])
        before, _, after = text.partition(mark)
        return before, after

    def _render(self, chat: list[dict[str, str]]) -> str:
        return str(self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))


def group_prompts(prompts: Sequence[EncodedPrompt], *, shared: bool = True) -> PromptGroup:
    """What all prompts begin with, never all of a prompt; nothing when `shared` is off (plain padded batches)."""
    if not shared or len(prompts) < 2:
        return PromptGroup((), tuple(prompts))
    shortest = min(len(prompt.tokens) - max(prompt.lead, 1) for prompt in prompts)
    length = min(_common_start(*(prompt.tokens for prompt in prompts)), shortest)
    return PromptGroup(prompts[0].tokens[:length], tuple(prompts))


def _common_start(*rows: Sequence[int]) -> int:
    return len(os.path.commonprefix([list(row) for row in rows]))


def _tree(answers: list[tuple[int, ...]]) -> tuple[tuple[Node, ...], tuple[tuple[Step, ...], ...]]:
    """The distinct beginnings of the answers as nodes, and each answer as a path of steps over them."""
    places: dict[tuple[int, ...], int] = {(): ROOT}
    nodes: list[Node] = []
    for answer in answers:
        for length in range(1, len(answer)):
            beginning = answer[:length]
            if beginning not in places:
                places[beginning] = len(nodes)
                nodes.append(Node(beginning[-1], places[beginning[:-1]], length))
    paths = tuple(tuple(Step(places[answer[:length]], token) for length, token in enumerate(answer)) for answer in answers)
    return tuple(nodes), paths
