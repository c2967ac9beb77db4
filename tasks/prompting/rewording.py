"""The same question asked in other words: options in another order or under letters, persona and instruction rephrased.

    asked = reword(question, persona=persona, traits={"sex": "Female"}, variant="letters", study=study, seed=1)
    asked.prompt, asked.labels          # what to ask, and what each option is called in it, in scale order

An option keeps its meaning whatever it is called: labels are in the order of the question's codes, so answers are read as ever.
"""

import string
import zlib
from collections.abc import Mapping
from itertools import count, product
from typing import NamedTuple, get_args

import numpy as np

from tasks.prompting.persona import sentence_of, told_level
from tasks.prompting.prompt import INSTRUCTION, Question, render_prompt
from tasks.study import DimensionSection, Study
from tasks.study_evaluation import Rewording

REWORDINGS: tuple[Rewording, ...] = get_args(Rewording)
INSTRUCTIONS: dict[str, str] = {
    "letters": 'Reply with "Answer: X", where X is the letter of one option.',
    "instruction_reworded": 'Choose exactly one option and write nothing but "Answer: N", N being the number in front of it.',
    "instruction_as_question": 'Which one of the options do you choose? Give its number N in the form "Answer: N".',
}


class Reworded(NamedTuple):
    prompt: str
    labels: tuple[str, ...]


def reword(question: Question, *, persona: str, traits: Mapping[str, str], variant: Rewording, study: Study) -> Reworded:
    """The prompt of a variant. The permuted order is one for each question, by the study's seed, and never the question's own."""
    labels = letters(len(question.codes)) if variant == "letters" else tuple(map(str, question.codes))
    order = _order(question, variant, seed=study.seed)
    shown = Question(question.wording, tuple(labels[place] for place in order), tuple(question.options[place] for place in order))
    prompt = render_prompt(
        shown,
        persona=_persona(persona, traits=traits, variant=variant, dimensions=study.dimensions),
        order=study.prompt.order,
        instruction=INSTRUCTIONS.get(variant, INSTRUCTION),
    )
    return Reworded(prompt, labels)


def letters(number: int) -> tuple[str, ...]:
    """A, B, ... Z, AA, AB, ..., as a spreadsheet names its columns."""
    names = ("".join(parts) for length in count(1) for parts in product(string.ascii_uppercase, repeat=length))
    return tuple(next(names) for _ in range(number))


def _order(question: Question, variant: Rewording, *, seed: int) -> list[int]:
    usual = list(range(len(question.codes)))
    if variant == "reversed_options":
        return usual[::-1]
    if variant == "permuted_options":
        generator = np.random.default_rng([seed, zlib.crc32(question.wording.encode())])
        orders = (generator.permutation(len(usual)).tolist() for _ in count())
        others = (order for order in orders if order != usual and (order != usual[::-1] or len(usual) == 2))
        return next(others)
    return usual


def _persona(persona: str, *, traits: Mapping[str, str], variant: Rewording, dimensions: Mapping[str, DimensionSection]) -> str:
    """`persona_profile`: traits as a list instead of sentences, place and time as they are; `persona_framed`: the sentences with a frame."""
    if variant == "persona_framed":
        return f"Imagine that all of this is true of you, and speak for yourself. {persona}"
    if variant == "persona_profile":
        for name in [name for name in dimensions if name in traits]:
            told = told_level(dimensions[name], level=traits[name])
            persona = persona.replace(sentence_of(dimensions[name], level=told), f"{_heading(name)}: {told}.", 1)
    return persona


def _heading(dimension: str) -> str:
    return dimension.replace("_", " ").capitalize()
