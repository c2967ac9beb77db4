"""What benchmarks against other programs share: the sample study's model and pairs, and sides that each run in a process of their own."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path
from typing import Any

from tasks.intake.ingest import ingest, read_report
from tasks.intake.synthetic import write_synthetic_survey
from tasks.prompting.pairs import build_pairs
from tasks.study import load_study
from tasks.subgroups.marts import build_marts
from tasks.training.launcher import MEMORY, THREADS
from tasks.training.model import prepare_model

ORDERS = {"question_first": "pairs", "persona_first": "pairs_persona_first"}


class Clock:
    """When steps ended, by the clock and by this process's own time, which what else the machine does leaves alone."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []

    def tick(self) -> None:
        self.ends.append((time.monotonic(), time.process_time()))

    @property
    def seconds(self) -> float:
        return self.ends[-1][0] - self.ends[0][0]

    def speed(self, samples: int) -> dict[str, Any]:
        """Of the samples after the first tick."""
        busy = self.ends[-1][1] - self.ends[0][1]
        return {"samples_per_second": round(samples / self.seconds, 2), "samples_per_cpu_second": round(samples / busy, 2)}


def prepare_sample(folder: Path) -> None:
    """The model (`model`), and the sample study's pairs in both orders of the prompt (`ORDERS`)."""
    study = load_study("sample")
    (folder / "model").symlink_to(prepare_model("sample", cache=folder / "models").folder)
    staged = ingest(write_synthetic_survey(folder / "survey"), section=study.survey, dimensions=study.dimensions, folder=folder / "staged")
    marts = build_marts(staged, study, folder=folder / "marts")
    for order, name in ORDERS.items():
        ordered = study.model_copy(update={"prompt": study.prompt.model_copy(update={"order": order})})
        build_pairs(marts, ordered, populations=read_report(staged)["populations"], folder=folder / name)


def pairs_file(folder: Path, order: str = "question_first") -> Path:
    return folder / ORDERS[order] / "tables" / "pairs.parquet"


def run_side(module: str, name: str, folder: Path, *, python: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `module` leaves for this side, run by `python` with the launcher's threads and memory."""
    out = folder / "side.json"
    given = [text for option, value in options.items() for text in (f"--{option}", str(value))]
    environment = {**THREADS, **MEMORY, **os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    subprocess.run([python, "-m", module, "--json", str(out), *given, "--side", name, str(folder)], check=True, env=environment)
    side: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    print(name, {key: value for key, value in side.items() if not isinstance(value, list)}, flush=True)
    return side


def leave_side(found: dict[str, Any], out: Path) -> None:
    """Writes a side's result, with the most memory that its process had."""
    peak = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)
    out.write_text(json.dumps({**found, "peak_gib": peak}), encoding="utf-8")
