"""Prefect tasks of the evaluation stage."""

from pathlib import Path
from typing import Literal

import pandas as pd
from prefect import get_run_logger, task

from tasks.evaluation import baselines
from tasks.evaluation.predictions import write_predictions
from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key, is_worth_retrying
from tasks.study import Study


@task(name="score the baselines", cache_key_fn=content_key("baselines", version=2), **STORED, **TRIED_AGAIN)
def score_baselines(pairs: FileSet, marts: FileSet, folder: Path) -> FileSet:
    """What tables say without a model."""
    predictions = baselines.score_baselines(pairs.read("pairs"), marts.read("subgroups"))
    return write_predictions(predictions, name="baselines", folder=folder)


@task(
    name="score a model",
    task_run_name="score the {name} model",
    tags=["gpu"],
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=is_worth_retrying,
    cache_key_fn=content_key("score", version=3, sections=("model", "evaluation", "prompt", "seed")),
    **STORED,
)
def score_model(name: Literal["base", "tuned"], pairs: FileSet, model: list[FileSet], study: Study, controls: bool, folder: Path) -> FileSet:
    """Option probabilities on both test splits; `model` is the base model and, for the tuned one, its adapter. `controls`: other personas too."""
    from tasks.evaluation import scoring

    adapter = model[1].path("adapter") if len(model) > 1 else None
    job = scoring.job_of(study, model=name, controls=controls)
    predictions: pd.DataFrame = scoring.score(pairs.read("pairs"), Path(model[0].folder), adapter=adapter, job=job)
    get_run_logger().info("%d predictions", len(predictions))
    return write_predictions(predictions, name=name, folder=folder)
