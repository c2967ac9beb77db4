"""The same question in other words: options keep their meaning, whatever they are called and wherever they stand."""

import pytest

from tasks.prompting.prompt import INSTRUCTION, Question, render_prompt
from tasks.prompting.rewording import REWORDINGS, Reworded, letters, reword
from tasks.study import Study
from tasks.study_evaluation import Rewording

QUESTION = Question("How important is family?", (4, 1, 2, 3), ("Very", "Rather", "Not very", "Not at all"))
PERSONA = "You live in Singapore. You are a woman. Your religion is Muslim."
TRAITS = {"religion": "Muslim", "sex": "Female"}


def asked(variant: Rewording, study: Study, question: Question = QUESTION) -> Reworded:
    return reword(question, persona=PERSONA, traits=TRAITS, variant=variant, study=study)


def options_in(prompt: str) -> list[str]:
    return prompt.split("\n\n")[1].split("\n")[1:]


def test_every_variant_is_another_prompt(sample_study: Study) -> None:
    plain = render_prompt(QUESTION, persona=PERSONA, order="question_first")
    prompts = [asked(variant, sample_study).prompt for variant in REWORDINGS]
    assert len({plain, *prompts}) == len(REWORDINGS) + 1


def test_options_in_reverse_keep_their_numbers(sample_study: Study) -> None:
    reverse = asked("reversed_options", sample_study)
    assert options_in(reverse.prompt) == ["3. Not at all", "2. Not very", "1. Rather", "4. Very"]
    assert reverse.labels == ("4", "1", "2", "3")


def test_letters_stand_for_the_options_in_scale_order(sample_study: Study) -> None:
    lettered = asked("letters", sample_study)
    assert options_in(lettered.prompt) == ["A. Very", "B. Rather", "C. Not very", "D. Not at all"]
    assert lettered.labels == ("A", "B", "C", "D")
    assert INSTRUCTION not in lettered.prompt
    assert letters(28)[-3:] == ("Z", "AA", "AB")


@pytest.mark.parametrize("size", [2, 3, 4, 10])
def test_a_permuted_order_is_the_questions_own_and_neither_usual_nor_reversed(sample_study: Study, size: int) -> None:
    question = Question("How much?", tuple(range(1, size + 1)), tuple(f"step {step}" for step in range(1, size + 1)))
    shown = options_in(asked("permuted_options", sample_study, question).prompt)
    usual = [f"{step}. step {step}" for step in range(1, size + 1)]
    assert sorted(shown) == sorted(usual)
    assert shown != usual
    assert shown != usual[::-1] or size == 2
    other = reword(question, persona="You are a man.", traits={"sex": "Male"}, variant="permuted_options", study=sample_study)
    assert options_in(other.prompt) == shown


def test_a_profile_lists_the_traits_and_keeps_place_and_time(sample_study: Study) -> None:
    prompt = asked("persona_profile", sample_study).prompt
    assert prompt.endswith("\n\nYou live in Singapore. Sex: Female. Religion: Muslim.")


def test_a_persona_is_framed_and_an_instruction_replaced(sample_study: Study) -> None:
    assert asked("persona_framed", sample_study).prompt.endswith(f"speak for yourself. {PERSONA}")
    for variant in ("instruction_reworded", "instruction_as_question"):
        first, *rest = asked(variant, sample_study).prompt.split("\n\n")
        assert first != INSTRUCTION
        assert "Answer: N" in first
        assert rest == render_prompt(QUESTION, persona=PERSONA, order="question_first").split("\n\n")[1:]
