"""A real OpenAI-compatible server: `transformers serve` says to each prompt what the model says here."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tasks.evaluation.asking import asked_pairs
from tasks.evaluation.backends.ledger import NOTHING
from tasks.evaluation.backends.openai_server import Access, ServedModel
from tasks.evaluation.generation import Generator
from tasks.evaluation.served import Till
from tasks.prompting.tree import PromptEncoder
from tasks.registry import REGISTRY
from tasks.study import ModelSection, load_study
from tasks.study_evaluation import ServerSection
from tasks.training.model import load_model
from tests.training.tiny import made_up_pairs, save_model

pytestmark = pytest.mark.flow
SECONDS_TO_START = 120


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def access(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "transformers.cli.transformers",
        "serve",
        "--device",
        "cpu",
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        str(model),
    ]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROXY": "127.0.0.1"}
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            _wait_for(f"http://127.0.0.1:{port}/health", process)
            yield Access(f"http://127.0.0.1:{port}/v1/", None)
        finally:
            process.terminate()
            process.wait(30)


def _wait_for(address: str, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(address, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise AssertionError("the server did not start")


def test_a_served_model_says_what_it_says_here(model: Path, access: Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    asked = asked_pairs(made_up_pairs(), ("plain",), seed=1)
    served = ServedModel(str(model), access, ServerSection(concurrency=2))
    till = Till(tmp_path / REGISTRY, load_study("sample"), taken=NOTHING)
    made = till.ask(asked, served)
    loaded = load_model(model, ModelSection(dtype="float32"))
    encoder = PromptEncoder(loaded.tokenizer)
    here = Generator(loaded, most_tokens=served.settings.answer_tokens)([encoder.encode(prompt, codes=("1", "2")) for prompt in asked["prompt"]])
    there = made.set_index("prompt")["text"].loc[list(asked["prompt"])]
    assert [text.strip() for text in there] == [text.strip() for text in here]
    (left,) = till.leave("test_pairs", tmp_path)
    usage = json.loads((tmp_path / left).read_text(encoding="utf-8"))
    assert usage["failed_attempts"] == {}
    assert usage["answers"]["completion_tokens"] > 0
