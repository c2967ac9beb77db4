"""One execution of a study: its folder, its manifest, and how it calls a step.

with open_run(study, workspace=workspace, fresh=False) as run:
    marts = run.step(build_marts, staged, run.study)
"""

import logging
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from prefect import Task
from prefect.context import FlowRunContext

from flows.records import LOCK, run_id_of
from tasks.errors import StepError, ValuescapeError
from tasks.files import FileSet, held_alone, make_workspace, write_json
from tasks.intake.ingest import published_report
from tasks.study import SHOWN_FROM, Study
from tasks.warehouse import database

PROJECT = Path(__file__).resolve().parents[1]
LIBRARIES = ("prefect", "duckdb", "pandas", "torch", "transformers", "accelerate", "peft", "great-expectations")
CITATION = (
    "Haerpfer, C., Inglehart, R., Moreno, A., Welzel, C., Kizilova, K., Diez-Medrano, J., Lagos, M., Norris, P., Ponarin, E. & Puranen, B. (eds.). "
    "2022. World Values Survey: Round Seven - Country-Pooled Datafile Version 6.0. doi:10.14281/18241.24"
)

logger = logging.getLogger("valuescape")


@dataclass
class StudyRun:
    """What the steps of a run have in common. `seconds` and `reused` fill up as steps end."""

    study: Study
    workspace: Path
    run_id: str
    fresh: bool
    survey: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    started: str = field(default_factory=lambda: _now())
    part: str = ""

    @property
    def folder(self) -> Path:
        return self.workspace / "runs" / self.study.name / self.run_id / self.part

    def replication(self, number: int) -> "StudyRun":
        """The run with the seeds of a replication; the first is the run itself, the others have a folder in it."""
        return replace(self, study=self.study.replicate(number), part=f"replications/{number + 1}") if number else self

    @property
    def results(self) -> Path:
        """Where the steps' results are stored: beside what they describe, so that whoever retries the run finds them."""
        return self.workspace / "prefect" / "storage"

    @property
    def training(self) -> Path:
        """Where training goes on from: shared by all runs, so that an adapter is trained once; a fresh run has its own."""
        return self.folder / "training" if self.fresh else self.workspace / "training"

    def step(self, task: Task[..., FileSet], *inputs: Any, folder: Path | None = None) -> FileSet:
        """Call a task with the run's folder (or a shared one). A stored result is used when its files still hold what they held; it is then
        linked into the run's folder, so that every run is whole."""
        began = time.monotonic()
        made, cached = self._call(task, *inputs, folder=folder or self.folder, fresh=self.fresh)
        if not made.holds():
            made, cached = self._call(task, *inputs, folder=folder or self.folder, fresh=True)
        name = f"{_label(task, inputs)}{self.part.replace('replications/', ', replication ')}"
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began, 2)
        if cached:
            self.reused.append(name)
        logger.info("%s %s", "reused:" if cached else "done:  ", f"{name} ({time.monotonic() - began:.1f} s)")
        return made if folder else made.adopted_into(self.folder)

    def _call(self, task: Task[..., FileSet], *inputs: Any, folder: Path, fresh: bool) -> tuple[FileSet, bool]:
        state: Any = task.with_options(refresh_cache=fresh, result_storage=self.results)(*inputs, folder=folder, return_state=True)
        result: FileSet = state.result()
        return result, state.name == "Cached"

    def write_manifest(self, status: Literal["running", "failed", "finished"], *, error: str | None = None) -> None:
        """The whole configuration, inputs, versions, hardware and timings; written at the start, and again when the run ends."""
        write_json(
            self.folder / "manifest.json",
            {
                "study_name": self.study.name,
                "run_id": self.run_id,
                "status": status,
                "error": error,
                "synthetic": self.survey.get("synthetic"),
                "started": self.started,
                "updated": _now(),
                "study": self.study.model_dump(mode="json"),
                "survey": published_report(self.survey, least=max(SHOWN_FROM, self.study.subgroups.minimum_respondents)),
                "citation": CITATION,
                "seed": self.study.seed,
                "commit": _commit(),
                "versions": {"valuescape": version("valuescape"), **{name: version(name) for name in LIBRARIES}},
                "hardware": _hardware(),
                "seconds": self.seconds,
                "reused": self.reused,
            },
        )

    def finish(self) -> None:
        """All tables in one database, the manifest's last word, and `latest` turned to this run."""
        database.collect(self.folder)
        self.write_manifest("finished")
        latest = self.folder.parent / "latest"
        turning = latest.with_name(f".latest.{os.getpid()}")
        turning.unlink(missing_ok=True)
        turning.symlink_to(self.run_id)
        turning.replace(latest)


@contextmanager
def open_run(study: Study, *, workspace: Path, fresh: bool) -> Iterator[StudyRun]:
    """A run in a folder of its own. Its manifest says how it ended, whatever happens; its lock tells a run from one that was killed."""
    logger.setLevel(logging.INFO)
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise StepError("a run needs a flow run: call study_flow, not its parts")
    run = StudyRun(study, workspace.resolve(), run_id=run_id_of(context.flow_run.id, context.flow_run.created or datetime.now(UTC)), fresh=fresh)
    make_workspace(run.workspace)
    with held_alone(run.folder / LOCK, refusal=f"run {run.run_id} is being executed by another process. Wait for its end."):
        run.write_manifest("running")
        try:
            yield run
            run.finish()
        except BaseException as error:
            with suppress(StepError):  # a full disk takes no manifest either; the error that filled it is the one to raise
                run.write_manifest("failed", error=_told(error))
            raise


def _told(error: BaseException) -> str:
    """What the manifest says of an error; a library's own message might quote a respondent's answer."""
    return f"{type(error).__name__}: {error}" if isinstance(error, ValuescapeError) else type(error).__name__


def _label(task: Task[..., FileSet], inputs: tuple[Any, ...]) -> str:
    """The step's name, with what tells it from its siblings: the gate's stage, the model's name."""
    several = task.task_run_name is not None
    return f"{task.name}: {inputs[0]}" if several else str(task.name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _commit() -> str | None:
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()


def _hardware() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"system": platform.platform(), "machine": platform.machine(), "cores": os.cpu_count(), "memory_gib": round(memory / 2**30, 1)}
