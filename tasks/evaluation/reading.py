"""How an answer is taken from what a model said: strictly from its text, or from the log-probabilities of its first token.

    read_text("Answer: 3", labels=["1", "2", "3"])          # 2, the option's place; None for anything that is not exactly one answer
    first_token_probabilities(tokens, labels)               # p of each option, or None

`labels`: what the options are called in the prompt, in scale order: their numbers, or letters.
"""

import re
from collections.abc import Sequence

import numpy as np

from tasks.evaluation.backends.answers import Token
from tasks.prompting.prompt import LEAD

ANSWER = re.compile(rf"{LEAD.strip()}\s*(\w+)\.?")
START = re.compile(rf"\s*\**{LEAD.strip()}[\s*]*")


def read_text(text: str, *, labels: Sequence[str]) -> int | None:
    """The place of the chosen option. The whole text must be `Answer: N`, with a full stop or in bold at most: two answers, a number that is no
    option, a reason, a refusal are none."""
    found = ANSWER.fullmatch(text.replace("*", "").strip())
    return labels.index(found[1]) if found and found[1] in labels else None


def one_hot(place: int | None, *, size: int) -> np.ndarray:
    """All on the chosen option; nothing on any where none was chosen: [options]."""
    shares = np.zeros(size)
    if place is not None:
        shares[place] = 1.0
    return shares


def first_token_probabilities(tokens: Sequence[Token], labels: Sequence[str]) -> np.ndarray | None:
    """p(option) from the alternatives listed where the answer's option begins: after "Answer:", or at the text's start where the model left that out.

    A label counts with and without a space before it. A token that begins several labels (1 of 1 and 10) is divided as `_divide` says. An option
    that is not in the list is not impossible (servers list 20 tokens at most): it gets a part of what the list leaves, less than the least listed.
    None when no option is listed: the model did not answer. [options]
    """
    place = _answer_place(tokens)
    if place is None:
        return None
    listed = _by_word(tokens[place])
    shares = np.zeros(len(labels))
    following = _by_word(tokens[place + 1]) if place + 1 < len(tokens) else {}
    for word, mass in listed.items():
        continued = following if word == tokens[place].text.strip() else {}
        # A label that is listed whole is one token, which no other begins.
        open_labels = [label for label in labels if label == word or label not in listed]
        for label, part in _divide(word, open_labels, continued=continued).items():
            shares[labels.index(label)] += mass * part
    return _with_unlisted(shares, listed=list(listed.values())) if shares.any() else None


def _answer_place(tokens: Sequence[Token]) -> int | None:
    """The token in which the option's label begins; the first where the text does not begin as asked. None where it ends before."""
    found = START.match("".join(token.text for token in tokens))
    if not found:
        return 0 if tokens else None
    end = 0
    for place, token in enumerate(tokens):
        end += len(token.text)
        if end > found.end():
            # "Answer: 3" in one token lists alternatives of the whole, which say nothing of the other options.
            return place if end - len(token.text.lstrip()) >= found.end() else None
    return None


def _by_word(token: Token) -> dict[str, float]:
    """Probabilities of the alternatives, those that differ by spaces together."""
    listed: dict[str, float] = {}
    for text, logprob in token.alternatives:
        listed[text.strip()] = listed.get(text.strip(), 0.0) + float(np.exp(logprob))
    return listed


def _divide(word: str, labels: Sequence[str], *, continued: dict[str, float]) -> dict[str, float]:
    """The parts of a first token that each label gets. Where the model's own answer goes on from it, by what comes next; else alike, as nothing
    in one token tells the labels apart that begin with it."""
    begun = [label for label in labels if word and label.startswith(word)]
    if continued and len(begun) > 1:
        longer = {label: min(1.0, continued.get(label.removeprefix(word), 0.0)) for label in begun if label != word}
        if word in begun:
            return longer | {word: max(0.0, 1 - sum(longer.values()))}
        return longer
    return dict.fromkeys(begun, 1 / len(begun)) if begun else {}


def _with_unlisted(shares: np.ndarray, *, listed: list[float]) -> np.ndarray:
    unlisted = shares == 0
    left = max(0.0, 1 - sum(listed))
    shares[unlisted] = min(left, min(listed)) / (unlisted.sum() + 1)
    total: np.ndarray = shares / max(1.0, shares.sum())  # rounded log-probabilities may pass 1 by a little
    return total
