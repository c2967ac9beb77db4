"""An OpenAI-compatible server, real but flawed: what a prompt says tells how its first requests go wrong.

with flawed_server() as server:
    access = server.access           # a prompt "... [HTTP 500 x2]" is answered at its third request; without "x2" never
"""

import json
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tasks.evaluation.backends.openai_server import Access

FLAW = re.compile(r"\[(?P<name>[^\]]+?)(?: x(?P<times>\d+))?\]")
ANSWERS = {
    "empty": "",
    "refusal": "I cannot answer for other people.",
    "two answers": "Answer: 1 or Answer: 2",
    "out of range": "Answer: 77",
    "huge text": "Answer: 1 " + "and so on " * 50_000,
}
KEY = "sk-secret-of-the-test"
PROMPT_TOKENS, COMPLETION_TOKENS = 50, 4


class FlawedServer(ThreadingHTTPServer):
    """`requests`: how often each prompt came, whatever became of it; `at_once`: the most requests under way together."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.under_way = self.at_once = 0
        self.refused: dict[str, str] = {}
        self.logprobs, self.counts_tokens, self.seconds = True, True, 0.0

    @property
    def access(self) -> Access:
        return Access(f"http://127.0.0.1:{self.server_port}/v1/", KEY)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is what is tested."""


class _Handler(BaseHTTPRequestHandler):
    server: FlawedServer

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 -- the base class's name
        pass

    def do_POST(self) -> None:  # noqa: N802 -- the base class's name
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][-1]["content"]
        with self.server.lock:
            self.server.requests[prompt] += 1
            self.server.bodies.append(body)
            self.server.under_way += 1
            self.server.at_once = max(self.server.at_once, self.server.under_way)
        try:
            time.sleep(self.server.seconds)
            self._respond(body, prompt)
        finally:
            with self.server.lock:
                self.server.under_way -= 1

    def _respond(self, body: dict[str, Any], prompt: str) -> None:
        if self.headers["authorization"] != f"Bearer {KEY}":
            return self._send(401, json.dumps({"error": {"message": f"Incorrect key: {self.headers['authorization']}"}}))
        for name, message in self.server.refused.items():
            if name in body:
                return self._send(400, json.dumps({"error": {"message": message}}))
        flaw = FLAW.search(prompt)
        lasts = flaw is not None and (flaw["times"] is None or self.server.requests[prompt] <= int(flaw["times"]))
        if flaw is None or not lasts:
            return self._send(200, self._completion(f"Answer: {_said(prompt)}"))
        if flaw["name"] in ANSWERS:
            return self._send(200, self._completion(ANSWERS[flaw["name"]]))
        return self._go_wrong(flaw["name"])

    def _go_wrong(self, name: str) -> None:
        if name.startswith("HTTP"):
            self._send(int(name.split()[1]), "out of order", {"retry-after": "0"})
        elif name == "hang":
            time.sleep(1.5)
        elif name == "wrong JSON":
            self._send(200, '{"choices": []}')
        elif name == "error page":
            self._send(200, "<html>Gateway</html>")
        elif name == "cut stream":
            whole = self._completion("Answer: 1")
            self._headers(200, len(whole))
            self.wfile.write(whole[:40].encode())
        elif name == "slow drip":
            self._headers(200, 1000)
            for _ in range(15):
                self.wfile.write(b" ")
                time.sleep(0.1)
        elif name == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif name == "filtered":
            self._send(400, json.dumps({"error": {"code": "content_filter"}}))
        else:
            raise AssertionError(f"no flaw {name!r}")

    def _completion(self, text: str) -> str:
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        if self.server.logprobs and len(text) < 20:
            choice["logprobs"] = {"content": [_position(token) for token in re.findall(r"Answer|:| |\d|\D+", text)]}
        usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
        return json.dumps({"choices": [choice], **({"usage": usage} if self.server.counts_tokens else {})})

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        self._headers(status, len(text.encode()), headers)
        self.wfile.write(text.encode())

    def _headers(self, status: int, length: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(length), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()


def _said(prompt: str) -> str:
    """The prompt's second word, where it is a number; the first option of a study's own prompts."""
    second = prompt.split()[1]
    return second if second.isdigit() else "1"


def _position(token: str) -> dict[str, Any]:
    """The token at 70%, and two digits at 20% and 5% where it is one."""
    others = [{"token": str((int(token) + step) % 10), "logprob": value} for step, value in ((1, -1.6094), (2, -2.9957))] if token.isdigit() else []
    return {"token": token, "logprob": -0.3567, "top_logprobs": [{"token": token, "logprob": -0.3567}, *others]}


@contextmanager
def flawed_server() -> Iterator[FlawedServer]:
    server = FlawedServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
