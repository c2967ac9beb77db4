"""What Prefect costs: the sample study as a flow with a server and stored results, against the same functions called plainly, in turns.

    python -m benchmarks.operations --json operations.json [--rounds 5]

All tasks of the sample study, for one epoch. Its model is a tiny random one, unless another is named: what Prefect does for a task does not hang on
how long the task takes (but for an artifact's update every five seconds of fine-tuning), and the noise of minutes would hide seconds. Each side in a
process of its own, which first runs the study once unmeasured, so that imports and the server's start are in neither figure. `seconds` is the wall
clock's, `cpu_seconds` what the process and its trainer used (not the server). Plainly means: no task engine, no result store, no run log, and no
artifacts; what a run asks for twice is made once here too, files are written atomically, gates checked, the lineage and the manifest kept.
"""

import argparse
import json
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock
from uuid import uuid4

from flows.background import PROJECT
from flows.server import local_server
from tests.training.tiny import save_model

CHANGES = ("name=measured", "training.epochs=1.0")
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--model", help="`sample`, or a model folder, instead of a tiny random model.")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="One shows that it runs, and measures nothing.")
    parser.add_argument("--way", choices=sorted(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        WAYS[arguments.way](arguments.model)
        return
    with tempfile.TemporaryDirectory() as place:
        model = arguments.model or str(save_model(Path(place) / "tiny"))
        rounds = [{way: _measured(way, model) for way in WAYS} for _ in range(arguments.rounds)]
    found = {way: {name: statistics.median(each[way][name] for each in rounds) for name in ("seconds", "cpu_seconds")} for way in WAYS}
    overhead = statistics.median(each["flow"]["seconds"] - each["plain"]["seconds"] for each in rounds)
    result = {"rounds": rounds, "median": found, "overhead_seconds": overhead, "overhead_share": overhead / found["plain"]["seconds"]}
    arguments.json.write_text(json.dumps(result, indent=1), encoding="utf-8")
    print(json.dumps({name: value for name, value in result.items() if name != "rounds"}, indent=1))


def _measured(way: str, model: str) -> dict[str, float]:
    """In a process of its own: its last line is what it found."""
    command = [sys.executable, "-m", "benchmarks.operations", "--json", os.devnull, "--way", way, "--model", model]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _flow(model: str) -> None:
    with tempfile.TemporaryDirectory() as place, local_server(Path(place) / "prefect"):
        from flows.study import study_flow

        _report(study_flow, model)


def _plain(model: str) -> None:
    """The study's own functions; what Prefect gives them is taken away."""
    os.environ["PREFECT_API_URL"] = "http://127.0.0.1:9/api"  # nobody: whatever still asked a server would fail
    from prefect.logging import disable_run_logger

    import flows.run
    import flows.study

    made: dict[str, Any] = {}

    def call(_: Any, task: Any, *inputs: Any, folder: Path, fresh: bool) -> tuple[Any, bool]:
        asked = repr((task.name, inputs, folder))
        made[asked] = made.get(asked) or task.fn(*inputs, folder=folder)
        return made[asked], False

    def context() -> Any:
        return SimpleNamespace(flow_run=SimpleNamespace(id=uuid4(), created=datetime.now(UTC)))

    with ExitStack() as patched:
        patched.enter_context(disable_run_logger())
        patched.enter_context(mock.patch.object(flows.run.StudyRun, "_call", call))
        patched.enter_context(mock.patch.object(flows.run, "FlowRunContext", SimpleNamespace(get=context)))
        for name in ("publish", "show_lineage"):
            patched.enter_context(mock.patch.object(flows.study, name, getattr(flows.study, name).fn))
        for module, name in _tells_the_server():
            patched.enter_context(mock.patch.object(module, name))
        _report(flows.study.study_flow.fn, model)


def _tells_the_server() -> list[tuple[Any, str]]:
    """Where the steps, all imported by now, make artifacts."""
    steps = [module for name, module in sys.modules.items() if name.startswith("tasks.")]
    return [(module, name) for module in steps for name in vars(module) if name.endswith("_artifact")]


def _report(study: Any, model: str) -> None:
    logging.getLogger("valuescape").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        study(study="sample", model=model, overrides=list(CHANGES), workspace=first)
        began, used = time.monotonic(), _cpu_seconds()
        study(study="sample", model=model, overrides=list(CHANGES), workspace=second)
        found = {"seconds": time.monotonic() - began, "cpu_seconds": _cpu_seconds() - used}
    print(json.dumps(found), flush=True)


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


WAYS = {"plain": _plain, "flow": _flow}

if __name__ == "__main__":
    main()
