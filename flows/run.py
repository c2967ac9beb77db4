"""One execution of a study: its folder, its manifest, and how it calls a step.

with open_run(study, workspace=workspace, fresh=False) as run:
    marts = run.step(build_marts, staged, run.study)
"""

import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from prefect import Task
from prefect.context import FlowRunContext

from flows.circumstances import circumstances
from flows.journal import Journal, journal_of
from flows.records import LOCK, LOG, folder_of, found_again, newest_on_another_file, run_id_of
from tasks.errors import StepError, ValuescapeError
from tasks.files import FileSet, file_set, held_alone, make_workspace, write_json
from tasks.intake.ingest import published_report
from tasks.lineage import Lineage, Step, read_by, told_to
from tasks.policy import ContentKey
from tasks.study import SHOWN_FROM, Study
from tasks.subgroups import drift
from tasks.warehouse import database

CITATION = (
    "Haerpfer, C., Inglehart, R., Moreno, A., Welzel, C., Kizilova, K., Diez-Medrano, J., Lagos, M., Norris, P., Ponarin, E. & Puranen, B. (eds.). "
    "2022. World Values Survey: Round Seven - Country-Pooled Datafile Version 6.0. doi:10.14281/18241.24"
)

logger = logging.getLogger("valuescape")


@dataclass
class StudyRun:
    """What the steps of a run have in common; `elsewhere`: fine-tuning is another run's. `inputs`, `seconds` and `reused` fill up as steps end."""

    study: Study
    workspace: Path
    run_id: str
    fresh: bool
    journal: Journal
    elsewhere: bool = False
    survey: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    model_files: str | None = None  # the content key of the base model, once it is there
    seconds: dict[str, float] = field(default_factory=dict)
    reused: list[str] = field(default_factory=list)
    started: str = field(default_factory=lambda: _now())
    part: str = ""

    @property
    def folder(self) -> Path:
        return folder_of(self.workspace, self.study.name, self.run_id) / self.part

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

    def given(self, files: FileSet) -> FileSet:
        """The user's own files, as they are: the manifest says where they lay and what they held."""
        self.inputs.update({str(files.path(name)): sha256 for name, sha256 in files.files.items()})
        return files

    def before(self) -> FileSet | None:
        """The tables of the newest finished run of the study on another file of the same countries."""
        folder = newest_on_another_file(self.workspace, self.study.name, self.survey, having=drift.FILES)
        return file_set(folder, drift.FILES) if folder else None

    def step(self, task: Task[..., FileSet], *inputs: Any, folder: Path | None = None) -> FileSet:
        """Call a task with the run's folder (or a shared one). A stored result is used when its files still hold what they held; it is then
        linked into the run's folder, so that every run is whole."""
        began = time.monotonic()
        self.journal.stage = name = f"{_label(task, inputs)}{self.part.replace('replications/', ', replication ')}"
        made, cached = self._call(task, *inputs, folder=folder or self.folder, fresh=self.fresh)
        if not made.holds():
            made = found_again(made, self.workspace) or made
        if not made.holds():
            made, cached = self._call(task, *inputs, folder=folder or self.folder, fresh=True)
        self._record(task, inputs, name=name, made=made, reused=cached)
        self.seconds[name] = round(self.seconds.get(name, 0) + time.monotonic() - began, 2)
        if cached:
            self.reused.append(name)
        told = {"seconds": round(time.monotonic() - began, 2), "reused": cached, "rows": made.rows}
        logger.info("%s %s", "reused:" if cached else "done:  ", f"{name} ({told['seconds']:.1f} s)", extra={"told": told})
        return made if folder else made.adopted_into(self.folder)

    def _record(self, task: Task[..., FileSet], inputs: tuple[Any, ...], *, name: str, made: FileSet, reused: bool) -> None:
        key = task.cache_key_fn
        version_of = key.version if isinstance(key, ContentKey) else None
        told = told_to(task.fn, inputs, key=key)
        with Lineage(self.workspace) as lineage:
            lineage.record(Step(self.run_id, self.study.name, name, version_of, circumstances()["commit"], read_by(inputs), told, reused), made)

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
                "synthetic": self.survey.get("synthetic", self.study.survey.is_synthetic or None),  # a file says it once it is read
                "started": self.started,
                "updated": _now(),
                "study": self.study.model_dump(mode="json"),
                "inputs": self.inputs,
                "model_files": self.model_files,
                "survey": published_report(self.survey, least=max(SHOWN_FROM, self.study.subgroups.minimum_respondents)),
                "citation": CITATION,
                "seed": self.study.seed,
                **circumstances(),
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
def open_run(study: Study, *, workspace: Path, fresh: bool, elsewhere: bool = False) -> Iterator[StudyRun]:
    """A run in a folder of its own. Its manifest says how it ended, whatever happens; its lock tells a run from one that was killed."""
    logger.setLevel(logging.INFO)
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise StepError("a run needs a flow run: call study_flow, not its parts")
    run_id = run_id_of(context.flow_run.id, context.flow_run.created or datetime.now(UTC))
    folder = folder_of(workspace.resolve(), study.name, run_id)
    make_workspace(workspace.resolve())
    with (
        held_alone(folder / LOCK, refusal=f"run {run_id} is being executed by another process. Wait for its end."),
        journal_of(folder / LOG, run_id) as journal,
    ):
        run = StudyRun(study, workspace.resolve(), run_id, fresh=fresh, journal=journal, elsewhere=elsewhere)
        run.write_manifest("running")
        try:
            yield run
            run.finish()
        except BaseException as error:
            journal.write("ERROR", "failed", error=_told(error))
            with suppress(StepError):  # a full disk takes no manifest either; the error that filled it is the one to raise
                run.write_manifest("failed", error=_told(error))
            raise


def _told(error: BaseException) -> str:
    """What the manifest says of an error; a library's own message might quote a respondent's answer."""
    if isinstance(error, ValuescapeError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__ if isinstance(error, Exception) else f"ended from outside: cancelled, or with its worker ({type(error).__name__})"


def _label(task: Task[..., FileSet], inputs: tuple[Any, ...]) -> str:
    """The step's name, with what tells it from its siblings: the gate's stage, the model's name."""
    several = task.task_run_name is not None
    return f"{task.name}: {inputs[0]}" if several else str(task.name)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
