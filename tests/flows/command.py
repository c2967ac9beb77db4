"""The command line as a user calls it: in a process of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from flows.server import NAMES, PROJECT
from tasks.study import STUDIES_FOLDER

VALUESCAPE = Path(sys.executable).with_name("valuescape")

SMALL_STUDY = {
    "name": "small",
    "title": "A small study for tests",
    "items": {"include": ["Q1", "Q57", "Q164"]},
    "training": {"epochs": 2.0, "checkpoint_steps": 2, "evaluate_steps": 4},
    "evaluation": {},  # the sample's readers, wordings and free answers would take minutes
}


class Ended(NamedTuple):
    code: int
    out: str
    err: str


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    return {**kept, "HF_HUB_OFFLINE": "1", "COLUMNS": "200", **more}


def valuescape(*arguments: str | Path, timeout: float = 600, **more: str) -> Ended:
    """`more` goes into the environment."""
    command = [str(VALUESCAPE), *(str(argument) for argument in arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment(**more))
    return Ended(ended.returncode, ended.stdout, ended.stderr)


@contextmanager
def server_up(workspace: Path) -> Iterator[str]:
    """The workspace's server, which the commands on it share instead of starting one each: its address."""
    command = [sys.executable, "-m", "flows.server", str(workspace / "prefect")]
    with subprocess.Popen(command, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
            assert found
            yield found.group()
        finally:
            process.terminate()  # not SIGINT, which whoever runs the tests in the background has made their processes ignore


def write_study(folder: Path, **changes: object) -> Path:
    """The sample study with three questions and a short training, on two dimensions; `changes` replace whole sections."""
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump({**_sample(), "dimensions": dimensions("sex", "religion"), **SMALL_STUDY, **changes}), encoding="utf-8")
    return path


def dimensions(*names: str) -> dict[str, object]:
    """Of the sample study's."""
    return {name: _sample()["dimensions"][name] for name in names}


def with_unknown_codes(survey: Path) -> Path:
    """Every second answer to Q57 becomes a code that the codebook does not know."""
    rows = pd.read_csv(survey, sep=";", dtype=str, encoding="utf-8-sig")
    rows.loc[::2, "Q57"] = "7"
    damaged = survey.with_name("damaged.csv")
    rows.to_csv(damaged, sep=";", index=False, encoding="utf-8-sig")
    return damaged


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _sample() -> dict[str, Any]:
    sample: dict[str, Any] = yaml.safe_load((STUDIES_FOLDER / "sample.yaml").read_text(encoding="utf-8"))
    return sample
