"""One fine-tuning run, as a flow of its own: the deployment finetune/finetune executes it on the work pool `gpu`.

A study asks for it with `finetune_on: gpu`; by itself it is retried in the Prefect UI, and goes on from its newest checkpoint.
"""

import logging
from pathlib import Path
from typing import Literal

from prefect import flow, task

from flows.child import run_child
from tasks.errors import StepError
from tasks.files import FileSet, hash_of
from tasks.policy import STORED
from tasks.study import Study
from tasks.training.launcher import trained, work_folder
from tasks.training.steps import ADAPTER_KEY, finetune

DEPLOYMENT = "finetune/finetune"


@flow(name="finetune", flow_run_name="finetune: {study.name}, {name}", persist_result=False)
def finetune_flow(name: Literal["tuned", "order0"], pairs: FileSet, model: FileSet, study: Study, folder: str) -> None:
    """Train an adapter, or go on training it.

    Args:
        name: tuned; or order0, the control that sees everybody's answers only.
        pairs: the study's pairs: the folder that holds them, and the files' hashes.
        model: the prepared model's files, likewise.
        study: the whole study; its sections training, model and prompt, and its seed, decide what is trained.
        folder: where trainings are kept, on a disk that this worker shares with the study's.
    """
    logging.getLogger("valuescape").setLevel(logging.INFO)
    # The study looks for a stored result before it asks; a training that is done is known by its folder.
    finetune.with_options(persist_result=False, refresh_cache=True)(name, pairs, model, study, folder=Path(folder))


# No tag gpu: its slot is for the run that trains, which this one waits for.
@task(name="fine-tune", task_run_name="fine-tune: {name}", cache_key_fn=ADAPTER_KEY, **STORED)
def finetune_elsewhere(name: Literal["tuned", "order0"], pairs: FileSet, model: FileSet, study: Study, folder: Path) -> FileSet:
    """A LoRA adapter by a run of the deployment; a study that is retried arms the same run again."""
    work = work_folder(pairs, model, study, folder=folder, order0=name == "order0")
    given = {key: value.model_dump(mode="json") for key, value in (("pairs", pairs), ("model", model), ("study", study))}
    run_child(DEPLOYMENT, {**given, "name": name, "folder": str(folder)}, key=hash_of(str(work)), is_done=lambda: trained(work) is not None)
    made = trained(work)
    if made is None:
        raise StepError(f"the adapter in {work} was taken away as soon as it was made. Repeat the command")
    return made
