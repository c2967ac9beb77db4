"""A server that fails in every way: no answer is lost, none is asked for or counted twice, every failure is counted."""

import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import BudgetError, InputError, StepError
from tasks.evaluation.backends.answers import Answer, Usage
from tasks.evaluation.backends.cache import AnswerCache
from tasks.evaluation.backends.ledger import Ledger
from tasks.evaluation.backends.openai_server import Access, ServedModel, access_from, ask_all
from tasks.study_evaluation import BudgetSection, PricesSection, ServerSection
from tests.evaluation.flawed_server import COMPLETION_TOKENS, KEY, PROMPT_TOKENS, FlawedServer, flawed_server

SETTINGS = ServerSection(concurrency=4, attempts=3, deadline=0.5, pause=0.02)
PRICES = PricesSection(prompt=1.0, completion=10.0)
COST = (PROMPT_TOKENS + 10 * COMPLETION_TOKENS) / 1e6
GOES_WRONG = ("HTTP 429", "HTTP 500", "HTTP 503", "hang", "cut stream", "wrong JSON", "error page", "slow drip", "reset")
ANSWERED_BADLY = ("empty", "refusal", "two answers", "out of range", "huge text", "filtered")

Ask = Callable[..., dict[str, Answer]]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FlawedServer]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with flawed_server() as server:
        yield server


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[AnswerCache]:
    with AnswerCache(tmp_path / "registry.sqlite") as cache:
        yield cache


def served(access: Access, **settings: Any) -> ServedModel:
    return ServedModel("tiny", access, SETTINGS.model_copy(update=settings))


def ledger_of(**budget: Any) -> Ledger:
    return Ledger(BudgetSection(**budget), prices=PRICES)


def prompts(*flaws: str) -> list[str]:
    """Some prompts without a flaw, and one of each flaw."""
    return [*(f"choose {number} please" for number in range(1, 6)), *(f"choose 7 please [{flaw}]" for flaw in flaws)]


def test_what_goes_wrong_for_a_while_is_answered_in_the_end_and_counted(server: FlawedServer, cache: AnswerCache) -> None:
    asked, ledger = prompts(*(f"{flaw} x2" for flaw in GOES_WRONG)), ledger_of()
    answers = ask_all(asked, served=served(server.access), cache=cache, ledger=ledger)
    assert [answers[prompt].text for prompt in asked] == [f"Answer: {prompt.split()[1]}" for prompt in asked]
    assert ledger.failures == {
        "HTTP 429": 2, "HTTP 500": 2, "HTTP 503": 2, "time-out": 4, "cut off": 4, "no chat completion": 4
    }  # fmt: skip
    assert server.requests == {prompt: 3 if "x2" in prompt else 1 for prompt in asked}
    assert ledger.spent.requests == server.requests.total()


@pytest.mark.parametrize("flaw", GOES_WRONG)
def test_a_server_that_never_answers_stops_the_evaluation_and_keeps_the_rest(server: FlawedServer, cache: AnswerCache, flaw: str) -> None:
    asked, model = prompts(flaw), served(server.access, attempts=2, deadline=0.2)
    with pytest.raises(StepError, match="no answer to 1 of 6 prompts after 2 attempts each .*5 of 6 answers are kept"):
        ask_all(asked, served=model, cache=cache, ledger=ledger_of())
    assert server.requests == {prompt: 2 if flaw in prompt else 1 for prompt in asked}
    with pytest.raises(StepError, match="5 of 6 answers are kept"):
        ask_all(asked, served=model, cache=cache, ledger=ledger_of())
    assert server.requests == {prompt: 4 if flaw in prompt else 1 for prompt in asked}


def test_what_a_model_says_is_an_answer_however_bad(server: FlawedServer, cache: AnswerCache) -> None:
    asked, ledger = prompts(*ANSWERED_BADLY), ledger_of()
    answers = ask_all(asked, served=served(server.access), cache=cache, ledger=ledger)
    assert set(answers) == set(asked)
    assert not ledger.failures
    assert set(server.requests.values()) == {1}
    assert all(len(answer.text) <= 2000 for answer in answers.values())


def test_a_server_that_is_down_is_found_out_soon(cache: AnswerCache) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        access = Access(f"http://127.0.0.1:{taken.getsockname()[1]}/v1/", KEY)
    ledger = ledger_of()
    with pytest.raises(StepError, match=r"no answer to 5 of 200 prompts .*connection refused: 5.* 0 of 200 answers are kept") as raised:
        ask_all([f"choose {number}" for number in range(200)], served=served(access), cache=cache, ledger=ledger)
    assert ledger.failures.total() < 60
    assert "127.0.0.1" not in str(raised.value)


def test_an_interrupted_evaluation_goes_on_without_asking_twice(server: FlawedServer, cache: AnswerCache, tmp_path: Path) -> None:
    asked, model = prompts(), served(server.access)
    first = ask_all(asked[:3], served=model, cache=cache, ledger=ledger_of())
    with AnswerCache(tmp_path / "registry.sqlite") as reopened:
        again = ask_all([*asked, *asked], served=model, cache=reopened, ledger=(ledger := ledger_of()))
    assert set(server.requests.values()) == {1}
    assert {prompt: again[prompt] for prompt in first} == first
    assert ledger.spent == Usage(requests=5, prompt_tokens=5 * PROMPT_TOKENS, completion_tokens=5 * COMPLETION_TOKENS)
    assert ledger.cost_of(ledger.spent) == pytest.approx(5 * COST)


def test_failures_before_an_interruption_count_too(server: FlawedServer, cache: AnswerCache) -> None:
    asked, model = ["choose 3 [hang x3]"], served(server.access, attempts=2, deadline=0.2)
    with pytest.raises(StepError):
        ask_all(asked, served=model, cache=cache, ledger=(first := ledger_of()))
    for _ in range(2):  # the second time with nothing left to ask
        ask_all(asked, served=model, cache=cache, ledger=(ledger := ledger_of()))
        assert ledger.failures == {"time-out": 3}
        assert ledger.spent.requests == server.requests.total() == 4
    assert ledger.spent.prompt_tokens == 3 * first.spent.prompt_tokens / 2 + PROMPT_TOKENS
    with pytest.raises(BudgetError, match="requests is 4, 4 are taken"):
        ask_all([*asked, "choose 2 please"], served=model, cache=cache, ledger=ledger_of(requests=4))


def test_other_parameters_another_model_or_server_are_asked_anew(server: FlawedServer) -> None:
    model = served(server.access)
    others = [replace(model, name="other"), served(server.access, answer_tokens=8), served(Access("http://a/", KEY))]
    keys = {each.key_of("choose 1") for each in [model, *others]}
    assert len(keys) == 4
    assert model.key_of("choose 1") == served(Access(server.access.url, "another key"), concurrency=1).key_of("choose 1")


@pytest.mark.parametrize(
    ("budget", "answered"),
    [({"requests": 7}, 7), ({"tokens": 600}, 9), ({"cost": 920e-6}, 7)],
    ids=["requests", "tokens", "cost"],
)
def test_a_budget_is_never_passed_and_what_was_done_is_kept(server: FlawedServer, cache: AnswerCache, budget: dict[str, Any], answered: int) -> None:
    """A request is made only when the most that it can take fits; requests under way are waited for before there is said to be no room."""
    asked = [f"choose {number} please" for number in range(20)]
    server.seconds, ledger = 0.02, ledger_of(**budget)
    with pytest.raises(BudgetError, match=rf"evaluation.budget.{next(iter(budget))} is .*\. {answered} of 20 answers are kept"):
        ask_all(asked, served=served(server.access), cache=cache, ledger=ledger)
    assert server.requests.total() == answered
    assert ask_all(asked, served=served(server.access), cache=cache, ledger=ledger_of()).keys() == set(asked)
    assert set(server.requests.values()) == {1}


def test_what_a_server_may_have_billed_counts_as_the_most_it_can_be(server: FlawedServer, cache: AnswerCache) -> None:
    server.counts_tokens, ledger = False, ledger_of()
    answers = ask_all(["choose 3 [cut stream x1]"], served=served(server.access), cache=cache, ledger=ledger)
    (answer,) = answers.values()
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > PROMPT_TOKENS
    assert ledger.spent == answer.usage + answer.usage


def test_no_more_requests_are_under_way_than_the_study_says(server: FlawedServer, cache: AnswerCache) -> None:
    server.seconds = 0.02
    ask_all([f"choose {number}" for number in range(20)], served=served(server.access, concurrency=3), cache=cache, ledger=ledger_of())
    assert server.at_once == 3


@pytest.mark.parametrize(
    ("refused", "message", "left"),
    [
        ("logprobs", "logprobs is not supported with this model", {"temperature", "max_tokens", "seed"}),
        ("seed", "Unrecognized request argument supplied: seed", {"temperature", "max_tokens", "logprobs", "top_logprobs"}),
        ("max_tokens", "Unsupported parameter 'max_tokens'. Use 'max_completion_tokens'.",
         {"temperature", "max_completion_tokens", "seed", "logprobs", "top_logprobs"}),
    ],
)  # fmt: skip
def test_a_parameter_that_a_server_does_not_take_is_left_out(
    server: FlawedServer, cache: AnswerCache, refused: str, message: str, left: set[str]
) -> None:
    server.refused, ledger = {refused: message}, ledger_of()
    assert len(ask_all(prompts(), served=served(server.access), cache=cache, ledger=ledger)) == 5
    assert server.bodies[-1].keys() - {"model", "messages"} == left
    assert not ledger.failures


def test_the_key_and_the_address_are_shown_nowhere(
    server: FlawedServer, cache: AnswerCache, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    said = []
    for access in (server.access, Access(server.access.url, "sk-wrong")):
        server.refused = {"messages": f"nothing for {KEY} at {server.access.url}"}
        with pytest.raises(InputError) as raised:
            ask_all(["choose 1"], served=served(access), cache=cache, ledger=ledger_of())
        said += [str(raised.value), repr(access), repr(served(access))]
    server.refused = {}
    ask_all(["choose 1"], served=served(server.access), cache=cache, ledger=ledger_of())
    kept = b"".join(path.read_bytes() for path in tmp_path.glob("registry.sqlite*"))
    for secret in (KEY, "sk-wrong", f"127.0.0.1:{server.server_port}"):
        assert secret not in " ".join(said)
        assert secret not in caplog.text
        assert secret.encode() not in kept


def test_a_server_of_ones_own_needs_no_key_and_an_address_alone_is_enough() -> None:
    assert access_from({"OPENAI_BASE_URL": "http://localhost:8000/v1"}) == Access("http://localhost:8000/v1/", None)
    assert access_from({"OPENAI_API_KEY": "sk-1"}).url.startswith("https://")
    for environment in ({}, {"OPENAI_BASE_URL": "localhost:8000"}, {"OPENAI_API_KEY": "two words"}):
        with pytest.raises(InputError, match="OPENAI_BASE_URL") as raised:
            access_from(environment)
        assert "two words" not in str(raised.value)


def test_a_registry_that_is_none_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StepError, match="registry.* cannot be used"):
        AnswerCache(tmp_path / "registry.sqlite")
