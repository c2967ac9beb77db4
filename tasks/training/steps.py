"""Prefect tasks of the training stage. Torch is imported by the functions that they call, when they are called: a run from the cache needs none."""

import time
from contextlib import suppress
from pathlib import Path
from typing import Literal, cast
from uuid import UUID

import httpx
from prefect import get_run_logger, task
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key, is_worth_retrying
from tasks.study import Study
from tasks.training import launcher

SECONDS_BETWEEN_UPDATES = 5.0
ADAPTER_KEY = content_key("adapter", version=launcher.CODE_VERSION, sections=launcher.SECTIONS)


@task(
    name="prepare the model",
    cache_key_fn=content_key("model", version=1),
    **STORED,
    **TRIED_AGAIN,
)
def prepare_model(name: str, folder: Path) -> FileSet:
    """The model's files on this machine."""
    from tasks.training import model

    made = model.prepare_model(name, cache=folder)
    get_run_logger().info("model %s in %s", name, made.folder)
    return made


@task(
    name="fine-tune",
    task_run_name="fine-tune: {name}",
    tags=["gpu"],
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=is_worth_retrying,
    cache_key_fn=ADAPTER_KEY,
    **STORED,
)
def finetune(name: Literal["tuned", "order0"], pairs: FileSet, model: FileSet, study: Study, folder: Path) -> FileSet:
    """A LoRA adapter by the Accelerate worker; goes on from its newest checkpoint. `order0`: the control that sees everybody's answers only."""
    made = launcher.finetune(pairs, model, study, folder=folder, order0=name == "order0", tell=_Shown())
    get_run_logger().info("adapter in %s", made.folder)
    return made


class _Shown:
    """The training's standing as an artifact in the UI."""

    def __init__(self) -> None:
        self._artifact: UUID | None = None
        self._last = 0.0

    def __call__(self, standing: launcher.Standing) -> None:
        if standing.step < standing.total and time.monotonic() - self._last < SECONDS_BETWEEN_UPDATES:
            return
        self._last = time.monotonic()
        with suppress(httpx.HTTPError):  # a server that does not answer for a while must not end the training
            self._show(standing)

    def _show(self, standing: launcher.Standing) -> None:
        percent = 100 * standing.step / standing.total
        if self._artifact is None:
            self._artifact = cast(UUID, create_progress_artifact(percent, key="fine-tuning", description=str(standing)))
        else:
            update_progress_artifact(self._artifact, percent, description=str(standing))
