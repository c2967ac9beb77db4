"""Whom and what `valuescape ask` means: names as people write them, and what comes near to a wrong one."""

import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.evaluation.single import find_question, read_persona

LEVELS = {"sex": ["Female", "Male"], "religion": ["Hindu", "Muslim", "None"]}
ITEMS = pd.DataFrame(
    {
        "item": ["Q1", "Q2", "Q33"],
        "question": [
            "How important is your family in your life?",
            "How important are your friends in your life?",
            "Should men have priority over women when jobs are scarce?",
        ],
    }
)


def test_a_persona_is_read_whatever_its_spaces_and_case() -> None:
    assert read_persona(" Sex=female , religion = MUSLIM", known=LEVELS) == {"sex": "Female", "religion": "Muslim"}
    assert read_persona("", known=LEVELS) == {}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("religion=Muslin", "'Muslin' is no level of religion. Did you mean Muslim? Expected one of Hindu, Muslim, None"),
        ("relegion=Muslim", "'relegion' is no dimension. Did you mean religion? Expected one of sex, religion"),
        ("Female", "'Female' is no trait. Expected dimension=level, separated by commas, such as sex=Female,religion=Hindu"),
        ("sex=Female,sex=Male", "sex is given twice"),
    ],
)
def test_a_wrong_persona_is_refused_with_what_comes_near(text: str, told: str) -> None:
    with pytest.raises(InputError, match=".*") as raised:
        read_persona(text, known=LEVELS)
    assert told in str(raised.value)


def test_a_question_is_found_by_its_code_or_by_words_that_it_alone_has() -> None:
    assert [find_question(text, ITEMS) for text in ("q33", "Q1", "your FRIENDS", "jobs are scarce")] == ["Q33", "Q1", "Q2", "Q33"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("How important", "2 questions have the words 'How important'. Near: Q1 (How important is your family"),
        ("scarce jobs women", "the run asked no question 'scarce jobs women'. Near: Q33 (Should men have priority"),
        ("Q3", "no question 'Q3'. Near: Q33. Give"),
    ],
)
def test_a_question_that_is_not_there_or_not_alone_is_refused_with_what_comes_near(text: str, told: str) -> None:
    with pytest.raises(InputError, match=".*") as raised:
        find_question(text, ITEMS)
    assert told in str(raised.value)
