"""The prompt: question, numbered options and persona, in the order that the study chose.

Options carry the survey's own numbers. The question comes first by default, so that all subgroups share the question's tokens.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

SYSTEM = "You answer survey questions as the person described would answer them."
INSTRUCTION = 'Reply with "Answer: N", where N is the number of one option.'
LEAD = "Answer: "


class Question(NamedTuple):
    """A question's wording and its fielded options in scale order, under their numbers (or letters, where a variant says so)."""

    wording: str
    codes: tuple[int, ...] | tuple[str, ...]
    options: tuple[str, ...]


def render_prompt(question: Question, *, persona: str, order: Literal["question_first", "persona_first"], instruction: str = INSTRUCTION) -> str:
    """The user's message."""
    asked = "\n".join([question.wording, *numbered(question.codes, question.options)])
    parts = [instruction, asked, persona] if order == "question_first" else [persona, asked, instruction]
    return "\n\n".join(parts)


def numbered(codes: Sequence[int] | Sequence[str], options: Sequence[str]) -> list[str]:
    return [f"{code}. {option}" for code, option in zip(codes, options, strict=True)]


def answer_text(code: int) -> str:
    """What a model says that chooses the option: `Answer: 3`."""
    return f"{LEAD}{code}"


def messages(prompt: str) -> list[dict[str, str]]:
    """The chat before the answer."""
    return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
