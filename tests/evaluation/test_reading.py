"""An answer is exactly one of the options, or none."""

import numpy as np
import pytest

from tasks.evaluation.backends.answers import Token
from tasks.evaluation.reading import first_token_probabilities, one_hot, read_text

LABELS = [str(code) for code in range(1, 11)]


@pytest.mark.parametrize("text", ["Answer: 3", " Answer: 3\n", "Answer:3", "**Answer: 3**", "Answer: **3**.", "Answer: 3."])
def test_an_answer_as_asked_for_is_read(text: str) -> None:
    assert read_text(text, labels=LABELS) == 2


@pytest.mark.parametrize(
    "text",
    ["", "3", "Answer:", "Answer: 11", "Answer: 0", "Answer: -3", "Answer: 03", "Answer: 3 or 4", "Answer: 3\nAnswer: 4", "Answer: 3.5",
     "Answer: 3-4",
     "I cannot answer.", "Answer: three", "Answer: 3, because it is so", "My answer: 3", "Answer: 3" + " so" * 5000, "Answer: ³", "answer 3"],
)  # fmt: skip
def test_anything_else_is_no_answer(text: str) -> None:
    assert read_text(text, labels=LABELS) is None


def test_letters_are_read_as_labels() -> None:
    assert read_text("Answer: B", labels=["A", "B"]) == 1
    assert read_text("Answer: b", labels=["A", "B"]) is None


def test_no_answer_is_nothing_on_any_option() -> None:
    assert list(one_hot(1, size=3)) == [0, 1, 0]
    assert list(one_hot(None, size=2)) == [0, 0]


def token(text: str, **others: float) -> Token:
    """A token at what the others leave of 0.9."""
    alternatives = {text: 0.9 - sum(others.values()), **{name.removeprefix("_").replace("_", " "): mass for name, mass in others.items()}}
    return Token(text=text, alternatives=tuple((name, float(np.log(mass))) for name, mass in alternatives.items()))


def answered(*last: Token) -> list[Token]:
    return [token("Answer"), token(":"), *last]


def test_a_label_counts_with_and_without_a_space() -> None:
    """Trap: "Answer:" is followed by " 3" or by " " and "3", which are different tokens."""
    shares = first_token_probabilities(answered(token(" 3", _3=0.2, __2=0.3)), ["2", "3"])
    assert shares == pytest.approx([0.3, 0.6])
    shares = first_token_probabilities(answered(token(" "), token("3", _2=0.3)), ["2", "3"])
    assert shares == pytest.approx([0.3, 0.6])


def test_peers_trap_5_an_option_that_is_not_listed_is_not_impossible() -> None:
    """Trap: an option that is missing from a top-k list counted as probability 0. It is less likely than what is listed."""
    shares = first_token_probabilities(answered(token("3", _2=0.3, x=0.02)), ["1", "2", "3"])
    assert shares is not None
    assert 0 < shares[0] <= 0.02 / 2
    assert shares.sum() <= 1


def test_a_token_that_begins_two_labels_is_told_apart_by_what_comes_next() -> None:
    """Trap: with one digit for each token, "1" begins both 1 and 10."""
    ten = first_token_probabilities(
        answered(token("1", _3=0.1), Token(text="0", alternatives=(("0", np.log(0.75)), ("<end>", np.log(0.25))))), LABELS
    )
    assert ten is not None
    assert (ten[9], ten[0]) == pytest.approx((0.8 * 0.75, 0.8 * 0.25))
    unknown = first_token_probabilities(answered(token("3", _1=0.2)), LABELS)
    assert unknown is not None
    assert (unknown[0], unknown[9]) == pytest.approx((0.1, 0.1))
    one_token = first_token_probabilities(answered(token("10", _1=0.2)), LABELS)
    assert one_token is not None
    assert (one_token[0], one_token[9]) == pytest.approx((0.2, 0.7))


@pytest.mark.parametrize("tokens", [[], [token("Answer"), token(":")], [token("I"), token(" think")], [token("Answer: 3"), token(".")]])
def test_without_an_option_in_the_list_there_is_no_answer(tokens: list[Token]) -> None:
    assert first_token_probabilities(tokens, ["1", "2", "3"]) is None


def test_a_bare_number_has_log_probabilities_too() -> None:
    assert first_token_probabilities([token("2", _1=0.3)], ["1", "2"]) == pytest.approx([0.3, 0.6])


@pytest.mark.parametrize("seed", range(20))
def test_the_options_never_have_more_than_all(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masses = generator.dirichlet(np.full(12, 0.3)) * generator.uniform(0.3, 1)
    words = generator.permutation([*LABELS, "x", " 1"])[:12]
    place = Token(text=str(words[0]), alternatives=tuple((str(word), float(np.log(mass))) for word, mass in zip(words, masses, strict=True)))
    shares = first_token_probabilities(answered(place), LABELS)
    assert shares is not None
    assert shares.min() >= 0
    assert shares.sum() <= 1 + 1e-9
