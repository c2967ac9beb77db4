"""What a server said to a prompt, and what saying it took.

answer = read_completion(body)          # raises ValueError for a body that is no chat completion
"""

import json
import math
from typing import Any

from pydantic import BaseModel, ConfigDict

LONGEST_TEXT = 2000  # characters that are kept: an answer has a dozen, and a model that talks on has not answered
REFUSED = "content_filter"  # the finish reason of an answer that the server held back


class Token(BaseModel):
    """A token of an answer, and the likeliest tokens in its place with their log-probabilities, its own included."""

    model_config = ConfigDict(frozen=True)

    text: str
    alternatives: tuple[tuple[str, float], ...]


class Usage(BaseModel):
    model_config = ConfigDict(frozen=True)

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            requests=self.requests + other.requests,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )

    def __sub__(self, other: "Usage") -> "Usage":
        return self + Usage(requests=-other.requests, prompt_tokens=-other.prompt_tokens, completion_tokens=-other.completion_tokens)

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Answer(BaseModel):
    """`text` is empty where the server gave none or refused; `tokens` is None where it gave no log-probabilities."""

    model_config = ConfigDict(frozen=True)

    text: str
    finish: str
    tokens: tuple[Token, ...] | None
    usage: Usage | None


def read_completion(body: bytes) -> Answer:
    """An OpenAI chat completion. Raises ValueError when the body is none: cut, an error page, another shape."""
    try:
        value = json.loads(body)
        choice = value["choices"][0]
        message = choice["message"]
        text = str(message.get("content") or "")[:LONGEST_TEXT]
        return Answer(text=text, finish=str(choice.get("finish_reason") or ""), tokens=_tokens(choice.get("logprobs")), usage=_usage(value))
    except (LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no chat completion: {type(error).__name__}") from error


def _tokens(logprobs: Any) -> tuple[Token, ...] | None:
    """A server may name the token itself and no alternatives, or alternatives without it."""
    positions = (logprobs or {}).get("content") or []
    tokens = tuple(Token(text=str(position["token"]), alternatives=_alternatives(position)) for position in positions)
    return tokens or None


def _alternatives(position: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    listed = [position, *(position.get("top_logprobs") or [])]
    pairs = {(str(one["token"]), tuple(one.get("bytes") or ())): float(one["logprob"]) for one in listed}
    return tuple((text, value) for (text, _), value in pairs.items() if math.isfinite(value) and value <= 0)


def _usage(value: dict[str, Any]) -> Usage | None:
    """None where the server counts nothing."""
    used = value.get("usage") or {}
    if "prompt_tokens" not in used:
        return None
    return Usage(requests=1, prompt_tokens=int(used["prompt_tokens"]), completion_tokens=int(used.get("completion_tokens") or 0))
