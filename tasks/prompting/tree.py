"""Prompts and options as tokens, each prompt's options as a tree.

    encoder = PromptEncoder(tokenizer)
    prompts = [encoder.encode(text, codes=(1, 2, 3, 4)) for text in texts]

Prompt and answer are tokenised as if they were one string. Every option ends with the turn's end (the terminator): without it "1" would be a
part of "10", and 10 could never be chosen. The options' tokens form a tree: options that begin alike share those tokens.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from jinja2 import TemplateError

from tasks.errors import InputError
from tasks.prompting.prompt import LEAD, SYSTEM, messages

ROOT = -1
Codes = tuple[int | str, ...]
MARK = "\u241fprompt\u241f"


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
    codes: Codes
    nodes: tuple[Node, ...]
    options: tuple[tuple[Step, ...], ...]

    def keeping(self, kept: Sequence[int]) -> "EncodedPrompt":
        """The same prompt with some of its options only, and no node that they do not need."""
        needed = sorted({step.node for option in kept for step in self.options[option]} - {ROOT})
        places = {ROOT: ROOT, **{node: place for place, node in enumerate(needed)}}
        nodes = tuple(self.nodes[node]._replace(parent=places[self.nodes[node].parent]) for node in needed)
        options = tuple(tuple(Step(places[node], token) for node, token in self.options[option]) for option in kept)
        return EncodedPrompt(self.tokens, self.lead, tuple(self.codes[option] for option in kept), nodes, options)


class PromptEncoder:
    """Turns prompt texts into tokens by the tokenizer's own chat template. Raises InputError for a tokenizer without one."""

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.chat_template:
            raise InputError("the model's tokenizer has no chat template, so nothing says how to ask it. Take an instruction-tuned model.")
        self._tokenizer = tokenizer
        self._before, after, self._terminator = self._template_parts()
        self._after, self._opening = self._parted(after)
        self._endings: dict[Codes, EncodedPrompt | None] = {}

    def encode(self, prompt: str, *, codes: Sequence[int] | Sequence[str]) -> EncodedPrompt:
        """What follows the template's last special token is the same for every prompt with these codes, and tokenised once: tokenizers part a text
        at special tokens. Whether this one does is seen at the first of the prompts."""
        text = f"{self._before}{prompt}{self._after}"
        wanted: Codes = tuple(codes)
        if known := self._endings.get(wanted):
            return self._joined(text, known)
        whole = self._encode_text(text + self._opening, wanted)
        if wanted not in self._endings:
            ending = self._encode_text(self._opening, wanted)
            self._endings[wanted] = ending if self._after and self._joined(text, ending) == whole else None
        return whole

    def _encode_text(self, opening: str, codes: Codes) -> EncodedPrompt:
        texts = [opening, *(f"{opening}{LEAD}{code}{self._terminator}" for code in codes)]
        rows = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        start, answers = _common_start(rows[0], rows[1]), rows[1:]
        shared = _common_start(*answers)
        nodes, options = _tree([tuple(answer[shared:]) for answer in answers])
        return EncodedPrompt(tuple(answers[0][:shared]), shared - start, codes, nodes, options)

    def _joined(self, text: str, ending: EncodedPrompt) -> EncodedPrompt:
        return replace(ending, tokens=(*self._tokenizer(text, add_special_tokens=False)["input_ids"], *ending.tokens))

    def _parted(self, after: str) -> tuple[str, str]:
        """What the template puts after a prompt, up to its last special token and from there on."""
        special = [str(token) for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        end = max((after.rfind(token) + len(token) for token in special if token in after), default=0)
        return after[:end], after[end:]

    def _template_parts(self) -> tuple[str, str, str]:
        """The template's text before and after a prompt, and its end of a turn. A template that refuses a system message gets it in front of
        the prompt."""
        chat = messages(MARK)
        try:
            text = self._render(chat)
        except TemplateError:
            chat = [{"role": "user", "content": f"{SYSTEM}\n\n{MARK}"}]
            text = self._render(chat)
        before, _, after = text.partition(MARK)
        return before, after, self._turn_end(chat)

    def _turn_end(self, chat: list[dict[str, str]]) -> str:
        """The special token that the template puts after an answer, which is not every tokenizer's end-of-text token; that one if it puts none."""
        answered = self._render([*chat, {"role": "assistant", "content": MARK}], opens_answer=False)
        closing = self._tokenizer(answered.rpartition(MARK)[2], add_special_tokens=False)["input_ids"]
        special = self._tokenizer.added_tokens_decoder
        return next((str(special[token]) for token in closing if token in special), str(self._tokenizer.eos_token))

    def _render(self, chat: list[dict[str, str]], *, opens_answer: bool = True) -> str:
        return str(self._tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=opens_answer))


def _common_start(*rows: Sequence[int]) -> int:
    return len(os.path.commonprefix([list(row) for row in rows]))


def _tree(answers: list[tuple[int, ...]]) -> tuple[tuple[Node, ...], tuple[tuple[Step, ...], ...]]:
    """The distinct beginnings of the answers as nodes, each before what it begins, and each answer as a path of steps over them."""
    places: dict[tuple[int, ...], int] = {(): ROOT}
    nodes: list[Node] = []
    for answer in sorted(answers):  # so that a node's descendants follow it
        for length in range(1, len(answer)):
            beginning = answer[:length]
            if beginning not in places:
                places[beginning] = len(nodes)
                nodes.append(Node(beginning[-1], places[beginning[:-1]], length))
    paths = tuple(tuple(Step(places[answer[:length]], token) for length, token in enumerate(answer)) for answer in answers)
    return tuple(nodes), paths
