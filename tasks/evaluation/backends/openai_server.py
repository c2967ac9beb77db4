"""An OpenAI-compatible server: asked with patience, once for each prompt, by several threads.

    with AnswerCache(workspace / "registry.sqlite") as cache:
        asked = ask_all(prompts, served=ServedModel("gpt-x", access, settings), cache=cache, ledger=ledger)

Where the server is and its key stay in `Access`: neither is in a log line, an error, a stored answer or a key of the cache (which is a hash).
"""

import logging
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from tasks.errors import InputError, StepError
from tasks.evaluation.backends.answers import REFUSED, Answer, Usage, read_completion
from tasks.evaluation.backends.cache import AnswerCache
from tasks.evaluation.backends.ledger import Ledger
from tasks.files import hash_of
from tasks.progress import Meter
from tasks.prompting.prompt import messages
from tasks.study_evaluation import ServerSection

URL, KEY = "OPENAI_BASE_URL", "OPENAI_API_KEY"
USUAL_URL = "https://api.openai.com/v1"
MOST_ALTERNATIVES, FEWER_ALTERNATIVES = 20, 5  # log-probabilities for each token: what OpenAI and vLLM give at most, and others
LONGEST_BODY = 4 << 20  # bytes
LONGEST_PAUSE = 60.0  # seconds, whatever the server asks for
SEED = 1  # one for all studies: at temperature 0 it only asks the server to be steady, and replications share their answers
TEMPLATE_TOKENS = 64  # what a chat template may put around a prompt
HOPELESS = 5  # prompts without an answer, one after the other: the server is down, and the others need not find out too
BUSY = (408, 409, 425, 429)


@dataclass(frozen=True)
class Access:
    """Where a server is and what opens it. Neither is shown."""

    url: str = field(repr=False)
    key: str | None = field(repr=False)


def access_from(environment: Mapping[str, str]) -> Access:
    """Raises InputError when neither is set, or the address is none. A server without a key (of one's own) needs the address only."""
    url, key = environment.get(URL, "").strip(), environment.get(KEY, "").strip()
    if not (url or key):
        raise InputError(f"a served model needs {URL} (a server's address that ends in /v1) or {KEY} in the environment; neither is set")
    if not re.fullmatch(r"https?://\S+", url or USUAL_URL) or not re.fullmatch(r"[!-~]*", key):
        raise InputError(f"{URL} must begin with http:// or https://, and {KEY} may hold no spaces or other letters; correct what is set")
    return Access((url or USUAL_URL).rstrip("/") + "/", key or None)


@dataclass(frozen=True)
class ServedModel:
    name: str
    access: Access
    settings: ServerSection

    def parameters(self) -> dict[str, Any]:
        """What is asked for beside the prompt; what a server refuses of it is left out for that server."""
        tokens, alternatives = self.settings.answer_tokens, MOST_ALTERNATIVES
        return {"temperature": 0, "max_tokens": tokens, "seed": SEED, "logprobs": True, "top_logprobs": alternatives}

    def key_of(self, prompt: str) -> str:
        """What an answer is kept under: server, model, the whole chat and the parameters."""
        return hash_of([self.access.url, self.name, messages(prompt), self.parameters()])


class Failure(Exception):  # noqa: N818 -- it is caught here, and told as a StepError
    """A request without an answer. `billed`: the server may have worked for it; `pause`: seconds that it asks to wait."""

    def __init__(self, kind: str, *, billed: bool = False, pause: float | None = None) -> None:
        super().__init__(kind)
        self.kind, self.billed, self.pause = kind, billed, pause


class ParameterRefusedError(Exception):
    """The server does not know one of the parameters; without it the request may go through."""


def ask_all(prompts: Sequence[str], *, served: ServedModel, cache: AnswerCache, ledger: Ledger) -> dict[str, Answer]:
    """prompt -> answer, each asked once; answers are kept as they come.

    Raises StepError when a prompt has none after all attempts, BudgetError (a StepError) when the budget is spent: the message counts what is
    kept, and the same call goes on from there. Raises InputError when the server refuses the key, the model or the request.
    """
    keys = {prompt: served.key_of(prompt) for prompt in prompts}
    kept = cache.get(list(keys.values()))
    for answer in kept.values():
        ledger.add(answer.usage or Usage(requests=1))
    for kind, taken in cache.failed(list(keys.values())).items():
        ledger.add(taken)
        ledger.count_failures(kind, taken.requests)

    def failed(prompt: str, kind: str, taken: Usage) -> None:
        ledger.count_failures(kind, taken.requests)
        if taken.tokens:  # an attempt that nobody bills is no loss on another day
            cache.fail(keys[prompt], kind, taken)

    answered = {prompt: kept[key] for prompt, key in keys.items() if key in kept}
    missing = [prompt for prompt in keys if prompt not in answered]
    with Client(served, ledger, failed) as client, Meter("asking the server", len(missing)) as meter:
        run = _Run(client, total=len(keys), answered=answered, advance=meter.advance)
        run.ask(missing, keep=lambda prompt, answer: cache.put(keys[prompt], answer), threads=served.settings.concurrency)
    return {prompt: run.answered[prompt] for prompt in keys}


@dataclass
class _Run:
    """Threads ask; answers are kept by the thread that got them, so that an interruption loses none that has arrived."""

    client: "Client"
    total: int
    answered: dict[str, Answer]
    advance: Callable[[int], None]
    lost: Counter[str] = field(default_factory=Counter)
    in_a_row: int = 0

    def ask(self, prompts: Sequence[str], *, keep: Callable[[str, Answer], None], threads: int) -> None:
        def one(prompt: str) -> None:
            answer = self.client.ask(prompt)
            keep(prompt, answer)
            self.answered[prompt] = answer

        try:
            self._in_threads(prompts, one, threads=threads)
        except StepError as error:
            raise type(error)(f"{error}. {self._kept()}") from error
        if self.lost:
            raise StepError(f"{self._without_answer()}. {self._kept()}")

    def _in_threads(self, prompts: Sequence[str], one: Callable[[str], None], *, threads: int) -> None:
        """However it ends, what is under way is waited for and kept, and nothing more is begun."""
        pool = ThreadPoolExecutor(threads, thread_name_prefix="server")
        try:
            for future in as_completed([pool.submit(one, prompt) for prompt in prompts]):
                self._look_at(future)
        finally:
            self.client.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _look_at(self, future: "Future[None]") -> None:
        try:
            future.result()
            self.in_a_row = 0
            self.advance(1)
        except Failure as failure:
            self.lost[failure.kind] += 1
            self.in_a_row += 1
            if self.in_a_row >= HOPELESS:
                raise StepError(self._without_answer()) from failure

    def _without_answer(self) -> str:
        kinds = ", ".join(f"{kind}: {times}" for kind, times in self.lost.most_common())
        return f"the server gave no answer to {self.lost.total()} of {self.total} prompts after {self.client.attempts} attempts each ({kinds})"

    def _kept(self) -> str:
        return (
            f"{len(self.answered)} of {self.total} answers are kept: repeat the command to ask for the others only (raise the budget, or see that "
            "the server is up, first)"
        )


class Client:
    """One model of one server. `failed` is told the prompt, the kind and what it may have taken of each attempt without an answer; `adapted`: the
    parameters that the server did not take."""

    def __init__(self, served: ServedModel, ledger: Ledger, failed: Callable[[str, str, Usage], None]) -> None:
        self._served, self._ledger, self._failed = served, ledger, failed
        self._parameters = served.parameters()
        self._stopped, self._adapting = threading.Event(), threading.Lock()
        self.attempts = served.settings.attempts
        self.adapted: list[str] = []
        for name in ("httpx", "httpcore"):  # they name the server in each line
            logging.getLogger(name).setLevel(logging.WARNING)
        headers = {"Authorization": f"Bearer {served.access.key}"} if served.access.key else {}
        limits = httpx.Limits(max_connections=served.settings.concurrency)
        self._http = httpx.Client(base_url=served.access.url, headers=headers, timeout=served.settings.deadline, limits=limits)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def stop(self) -> None:
        """Whoever waits for another attempt gives up."""
        self._stopped.set()

    def ask(self, prompt: str) -> Answer:
        """Raises Failure after the last attempt, InputError for what another attempt would not mend, BudgetError when there is no room."""
        attempt = 1
        while True:
            parameters = self._parameters
            try:
                return self._attempt(prompt, parameters)
            except ParameterRefusedError as refused:
                self._adapt(parameters, str(refused))
            except Failure as failure:
                if attempt >= self.attempts or self._stopped.wait(self._pause(attempt, failure)):
                    raise
                attempt += 1

    def _pause(self, attempt: int, failure: Failure) -> float:
        """Exponential, with full jitter (so that threads that were refused together do not return together); what the server asks for at least."""
        drawn = random.uniform(0, min(LONGEST_PAUSE, self._served.settings.pause * 2 ** (attempt - 1)))
        return min(LONGEST_PAUSE, (failure.pause or 0) + drawn)

    def _attempt(self, prompt: str, parameters: dict[str, Any]) -> Answer:
        chat = messages(prompt)
        # A token is at least one byte.
        letters = sum(len(message["content"].encode()) for message in chat)
        most = Usage(requests=1, prompt_tokens=letters + TEMPLATE_TOKENS, completion_tokens=self._served.settings.answer_tokens)
        with self._ledger.request(most) as settle:
            try:
                answer = self._request({"model": self._served.name, "messages": chat, **parameters}, parameters)
            except (ParameterRefusedError, InputError):
                settle(Usage(requests=1))
                raise
            except Failure as failure:
                taken = most if failure.billed else Usage(requests=1)
                settle(taken)
                self._failed(prompt, failure.kind, taken)
                raise
            answer = answer if answer.usage else answer.model_copy(update={"usage": most})
            settle(answer.usage or most)
        return answer

    def _request(self, body: dict[str, Any], parameters: dict[str, Any]) -> Answer:
        try:
            with self._http.stream("POST", "chat/completions", json=body) as response:
                content = self._body(response)
        except httpx.TimeoutException as error:
            raise Failure("time-out", billed=not isinstance(error, httpx.ConnectTimeout)) from error
        except httpx.ConnectError as error:
            raise Failure("connection refused") from error
        except httpx.HTTPError as error:
            raise Failure("cut off", billed=True) from error
        if response.status_code != httpx.codes.OK:
            return self._refused(response, content.decode(errors="replace"), parameters)
        try:
            return read_completion(content)
        except ValueError as error:
            raise Failure("no chat completion", billed=True) from error

    def _body(self, response: httpx.Response) -> bytes:
        """A time-out of the connection ends a server that is silent, not one that sends a byte now and then."""
        ends = time.monotonic() + self._served.settings.deadline
        content = bytearray()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > LONGEST_BODY:
                raise Failure("endless answer", billed=True)
            if time.monotonic() > ends:
                raise Failure("time-out", billed=True)
        return bytes(content)

    def _refused(self, response: httpx.Response, said: str, parameters: dict[str, Any]) -> Answer:
        status = response.status_code
        if status in BUSY or status >= 500:
            raise Failure(f"HTTP {status}", pause=_asked_pause(response.headers.get("retry-after")))
        if status in (401, 403):
            raise InputError(f"the server refuses the key (HTTP {status}). Check {KEY} and {URL}")
        if status == 404 or status < 400:
            raise InputError(f"the server knows no model {self._served.name!r}, or has no chat completions under its address. Check {URL}")
        if REFUSED in said or "content management policy" in said:
            return Answer(text="", finish=REFUSED, tokens=None, usage=Usage(requests=1))
        if _without_refused(parameters, said) != parameters:
            raise ParameterRefusedError(said)
        raise InputError(f"the server refuses the request (HTTP {status}): {self._shown(said)}")

    def _adapt(self, parameters: dict[str, Any], said: str) -> None:
        """Leave out what the server does not take; a thread that asked with what was left out meanwhile asks again with the rest."""
        with self._adapting:
            if self._parameters is parameters:
                self._parameters = _without_refused(parameters, said)
                first = self._served.parameters()
                self.adapted = sorted(name for name in first if self._parameters.get(name) != first[name])

    def _shown(self, said: str) -> str:
        """What the server said, without what it may repeat of the key or the address."""
        text = " ".join(said.split())
        for secret in filter(None, [self._served.access.key, self._served.access.url, self._served.access.url.rstrip("/")]):
            text = text.replace(secret, "[hidden]")
        return text[:200]


def _without_refused(parameters: dict[str, Any], said: str) -> dict[str, Any]:
    """The parameters without the one that the server's words name; unchanged when they name none."""
    named = set(re.findall(r"\b(?:temperature|max_tokens|seed|logprobs|top_logprobs)\b", said)) & parameters.keys()
    if "max_tokens" in named and "max_completion_tokens" in said:
        return {name: value for name, value in parameters.items() if name != "max_tokens"} | {"max_completion_tokens": parameters["max_tokens"]}
    if "top_logprobs" in named and parameters["top_logprobs"] > FEWER_ALTERNATIVES:
        return parameters | {"top_logprobs": FEWER_ALTERNATIVES}
    if named & {"logprobs", "top_logprobs"}:
        return {name: value for name, value in parameters.items() if "logprobs" not in name}
    return {name: value for name, value in parameters.items() if name not in named - {"max_tokens"}}


def _asked_pause(header: str | None) -> float | None:
    """Retry-After: seconds, or a date."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return None
