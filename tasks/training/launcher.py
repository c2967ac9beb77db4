"""Starts the fine-tuning worker, follows its log, and brings back an adapter.

    tuned = finetune(pairs, model, study, folder=workspace / "training")

The work folder is named by what goes into the training (pairs, model, settings), so a run that was cut off goes on from its newest checkpoint,
whoever starts it again.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import yaml

from tasks.errors import InputError, StepError
from tasks.files import FileSet, file_set, hash_of, held_alone, link_or_copy, write_atomically, write_json, write_table, writing
from tasks.progress import Meter
from tasks.study import Study
from tasks.training.job import BEST, LAUNCHER, LOG, Job, die_with_parent
from tasks.training.order0 import order0_pairs, training_of_order0

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATIONS = ROOT / "infra" / "accelerate"
CHOSEN = "VALUESCAPE_HARDWARE"  # a file in infra/accelerate, by its name, or one of the user's by its path
MADE = "made.json"  # what a finished training left, with checksums
ERROR_LINES = 15
# Threads that wait for one another sleep after a moment: spinning for ever, two busy processes on two cores all but stop each other.
THREADS = {"GOMP_SPINCOUNT": "10000"}
# Freed memory is kept and used again: asking the system anew, for every tensor of every layer, costs a tenth of a step.
MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**33), "MALLOC_TOP_PAD_": str(2**26)}
# Told to end, the starter of several processes would kill them after half a minute: an evaluation and a checkpoint may take longer.
PATIENCE = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "600"}
CODE_VERSION = 3
SECTIONS = ("training", "model", "prompt", "seed")  # of the study, that change the adapter

logger = logging.getLogger("valuescape")

TAKEN = "another run is training the same adapter in {work}. Wait for its end, then run again: its result is used."
CARD = """---
base_model: {model}
library_name: peft
---
# {title}

LoRA adapter by Valuescape: objective `{objective}`, {epochs} epochs, rank {rank}, seed {seed}. {loss}.
It was trained on the answers of survey subgroups, to be compared with the survey, not to speak for anybody.
"""


class Standing(NamedTuple):
    """How far a training is; `seconds_left` by the steps so far."""

    step: int
    total: int
    loss: float
    samples_per_second: float
    seconds_left: float

    def __str__(self) -> str:
        left = timedelta(seconds=round(self.seconds_left))
        return f"step {self.step} of {self.total}, loss {self.loss:.3f}, {self.samples_per_second:.1f} pairs/s, {left} left"


Listener = Callable[[Standing], None]


def finetune(pairs: FileSet, model: FileSet, study: Study, *, folder: Path, order0: bool = False, tell: Listener = lambda _: None) -> FileSet:
    """Train (or go on training) an adapter; leaves adapter/ and tables/training_log.parquet in a work folder under `folder`. `order0`: on everybody's
    answers only (tasks/training/order0.py). `tell` hears of every step.

    Raises StepError with the worker's last lines when it dies.
    """
    work = work_folder(pairs, model, study, folder=folder, order0=order0)
    study = _as_trained(study, pairs, order0=order0)
    job = Job(
        model_folder=model.folder,
        model=study.model,
        pairs=str(work / "pairs.parquet" if order0 else pairs.path("tables/pairs.parquet")),
        folder=str(work),
        seed=study.seed,
        training=study.training,
    )
    with held_alone(work / "lock", refusal=TAKEN.format(work=work)):
        if not _is_trained(work):
            shutil.rmtree(work / "adapter", ignore_errors=True)
            if order0:
                write_table(order0_pairs(pairs.read("pairs")), work / "pairs.parquet")
            write_json(work / "job.json", job.model_dump(mode="json"))
            _launch(work, tell=tell)
        _finish(work, study)
        made = file_set(work, ["adapter", "tables/training_log.parquet"])
        write_json(work / MADE, made.files)
    return made


def work_folder(pairs: FileSet, model: FileSet, study: Study, *, folder: Path, order0: bool = False) -> Path:
    """Where under `folder` this adapter is trained, and found again."""
    settings = _as_trained(study, pairs, order0=order0).model_dump(mode="json", include=set(SECTIONS))
    named = [CODE_VERSION, pairs.files["tables/pairs.parquet"], model.content_key, settings, *(["order0"] if order0 else [])]
    return folder / hash_of(named)[:16]


def _as_trained(study: Study, pairs: FileSet, *, order0: bool) -> Study:
    """The study itself, or with the steps that suit everybody's answers only."""
    return study.model_copy(update={"training": training_of_order0(study.training, pairs.read("pairs"))}) if order0 else study


def trained(work: Path) -> FileSet | None:
    """What a finished training left in its work folder; None before that, or when its files are not what they were."""
    if not (work / MADE).is_file():
        return None
    made = FileSet(folder=str(work), files=json.loads((work / MADE).read_text(encoding="utf-8")))
    return made if made.holds() else None


def _is_trained(work: Path) -> bool:
    """The worker has left an adapter, and nothing has happened to it since it was recorded."""
    intact = not (work / MADE).exists() or trained(work) is not None
    return intact and (work / "adapter").is_dir()


def hardware() -> Path:
    """The Accelerate configuration: the one that the environment names, else by the GPUs that there are."""
    if chosen := os.environ.get(CHOSEN):
        found = [path for path in (CONFIGURATIONS / f"{chosen}.yaml", Path(chosen)) if path.is_file()]
        if not found:
            known = ", ".join(sorted(path.stem for path in CONFIGURATIONS.glob("*.yaml")))
            raise InputError(f"{CHOSEN}={chosen} is no Accelerate configuration: expected one of {known}, or the path of a file of yours")
        return found[0]
    import torch

    return CONFIGURATIONS / ("cpu.yaml", "gpu.yaml", "multi-gpu.yaml")[min(2, torch.cuda.device_count())]


def _command(job: Path, configuration: Path, settings: dict[str, Any]) -> list[str]:
    here = max(1, int(settings["num_processes"]) // int(settings["num_machines"]))
    threads = max(1, len(os.sched_getaffinity(0)) // here)  # Accelerate would take one
    command = [sys.executable, "-m", "accelerate.commands.launch", "--quiet", "--config_file", str(configuration)]
    return [*command, "--num_cpu_threads_per_process", str(threads), "-m", "tasks.training.worker", str(job)]


def _launch(work: Path, *, tell: Listener) -> None:
    configuration = hardware()
    settings = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    command = _command(work / "job.json", configuration, settings)
    # Of several processes that it starts, Accelerate tells none to stay on the CPU: without a GPU each would train alone.
    place = {"ACCELERATE_USE_CPU": str(settings.get("use_cpu", False)), LAUNCHER: str(os.getpid())}
    usual = {**THREADS, **MEMORY, **PATIENCE, **os.environ}
    environment = {**usual, **place, "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1"}
    with writing(work / "worker.log"):
        errors = (work / "worker.log").open("w", encoding="utf-8")
    with errors:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid()),
        )  # fmt: skip
        try:
            reason = _follow(process, tell=tell)
        except BaseException:
            # Ctrl-C or a cancelled run: the worker writes a checkpoint and ends; only then do we. The whole group is told, because a worker that
            # is still being imported is not yet bound to Accelerate's launcher.
            os.killpg(process.pid, signal.SIGTERM)
            for _ in process.stdout or ():
                pass
            process.wait()
            raise
    if process.wait() != 0 or not (work / "adapter").is_dir():
        raise StepError(
            f"fine-tuning stopped: {reason or f'the worker ended with exit code {process.returncode}, saying: {_last_words(work)}'}. Checkpoints are "
            f"kept: mend the cause and repeat the command. Evidence: {work / 'worker.log'}"
        )


def _follow(process: "subprocess.Popen[str]", *, tell: Listener) -> str | None:
    """Show the worker's steps and warnings as they come; returns the reason that it gave for its failure."""
    reason: str | None = None
    with Meter("fine-tuning", total=None) as meter:
        for line in process.stdout or ():
            entry = _entry(line)
            reason = entry.get("error", reason)
            if "resumed" in entry:
                logger.info("fine-tuning goes on from step %d of %d", entry["resumed"], entry["total"])
                meter.total = entry["total"]
                meter.advance(entry["resumed"])
            if "warning" in entry:
                logger.warning("%s", entry["warning"])
            if "step" in entry:
                standing = _standing(entry)
                meter.total = standing.total
                meter.advance(standing.step - meter.done, note=f"loss {standing.loss:.3f}, {standing.samples_per_second:.1f} pairs/s")
                tell(standing)
    return reason


def _standing(entry: dict[str, Any]) -> Standing:
    left = (entry["total"] - entry["step"]) * entry["seconds"] / entry["step"]
    return Standing(entry["step"], entry["total"], entry["loss"], entry["samples_per_second"], left)


def _entry(line: str) -> dict[str, Any]:
    """A line of the worker's own log; libraries may print other things."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _last_words(work: Path) -> str:
    with (work / "worker.log").open(encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, maxlen=ERROR_LINES))


def _finish(work: Path, study: Study) -> None:
    """The log as a table and beside the adapter, the model card; checkpoints are of no more use."""
    log = pd.read_json(work / LOG, lines=True)
    write_table(log, work / "tables" / "training_log.parquet")
    link_or_copy(work / LOG, work / "adapter" / LOG)
    training = study.training
    best = log["validation_loss"].min()
    card = CARD.format(
        model=study.model.name, title=study.title, objective=training.objective, epochs=training.epochs, rank=training.lora_rank,
        seed=study.seed, loss="Nothing was kept back for validation" if pd.isna(best) else f"Best validation loss {best:.4f}",
    )  # fmt: skip
    with write_atomically(work / "adapter" / "README.md") as temporary:
        temporary.write_text(card, encoding="utf-8")
    shutil.rmtree(work / "checkpoints", ignore_errors=True)
    (work / BEST).unlink(missing_ok=True)
