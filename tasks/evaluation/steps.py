"""Prefect tasks of the evaluation stage."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pandas as pd
from prefect import get_run_logger, task
from prefect.blocks.system import Secret

from tasks.evaluation import baselines, comparison, judge, open_ended, served
from tasks.evaluation.asking import Marts, compared_pairs
from tasks.evaluation.backends.answers import Usage
from tasks.evaluation.backends.ledger import NOTHING
from tasks.evaluation.backends.openai_server import KEY, URL, Access, ServedModel, access_from
from tasks.evaluation.microdata import read_microdata
from tasks.evaluation.predictions import write_predictions
from tasks.files import FileSet
from tasks.policy import STORED, TRIED_AGAIN, content_key, is_worth_retrying
from tasks.registry import REGISTRY
from tasks.section import SERVED
from tasks.study import Study

SECTIONS = ("model", "evaluation", "prompt", "seed")
BLOCKS = {URL: "openai-base-url", KEY: "openai-api-key"}  # Prefect Secret blocks, where the environment says nothing


@task(name="score the baselines", cache_key_fn=content_key("baselines", version=3, sections=("dimensions", "split", "seed")), **STORED, **TRIED_AGAIN)
def score_baselines(pairs: FileSet, marts: FileSet, staged: FileSet, study: Study, folder: Path) -> FileSet:
    """What tables say without a model, and what the respondents behind them do."""
    tables = (marts.read(name) for name in ("subgroups", "items"))
    predictions = baselines.score_baselines(pairs.read("pairs"), *tables, study=study, microdata=read_microdata(staged, marts, study))
    return write_predictions(predictions, name="baselines", folder=folder)


@task(
    name="score a model",
    task_run_name="score the {name} model",
    tags=["gpu"],
    retries=1,
    retry_delay_seconds=10,
    retry_condition_fn=is_worth_retrying,
    cache_key_fn=content_key("score", version=4, sections=SECTIONS),
    **STORED,
)
def score_model(
    name: Literal["base", "tuned", "order0"], pairs: FileSet, model: list[FileSet], study: Study, controls: bool, folder: Path
) -> FileSet:
    """Option probabilities on both test splits; `model` is the base model and, for a tuned one, its adapter. `controls`: other personas too."""
    from tasks.evaluation import scoring

    adapter = model[1].path("adapter") if len(model) > 1 else None
    job = scoring.job_of(study, model=name, controls=controls)
    predictions: pd.DataFrame = scoring.score(pairs.read("pairs"), Path(model[0].folder), adapter=adapter, job=job)
    get_run_logger().info("%d predictions", len(predictions))
    return write_predictions(predictions, name=name, folder=folder)


@task(
    name="compare readers and wordings",
    task_run_name="compare readers and wordings: {name}",
    tags=["gpu"],
    cache_key_fn=content_key("compare", version=3, sections=(*SECTIONS, "dimensions")),
    **STORED,
    **TRIED_AGAIN,
)
def compare_model(name: Literal["base", "tuned"], pairs: FileSet, marts: FileSet, model: list[FileSet], study: Study, folder: Path) -> FileSet:
    """The study's other readers and its variants, on a sample of the test pairs; `model` as in score_model."""
    from tasks.evaluation import scoring

    adapter = model[1].path("adapter") if len(model) > 1 else None
    job = scoring.job_of(study, model=name, controls=False)
    made = scoring.compare(pairs.read("pairs"), _marts(marts), Path(model[0].folder), adapter=adapter, job=job, study=study)
    return write_predictions(made, name=f"{name}_comparison", folder=folder)


@task(name="ask the server", cache_key_fn=content_key("ask", version=3, sections=(*SECTIONS, "dimensions")), **STORED, **TRIED_AGAIN)
def ask_server(pairs: FileSet, marts: FileSet, study: Study, workspace: Path, folder: Path) -> FileSet:
    """Every prompt that a served model is asked, controls and variants included; answers are kept in the workspace as they come."""
    asked = served.everything_asked(pairs.read("pairs"), _marts(marts), study)
    till = served.Till(workspace / REGISTRY, study, taken=NOTHING)
    answers = till.ask(asked, served.served_of(study, _access()))
    get_run_logger().info("%d answers", len(answers))
    return served.write_answers(answers, till, folder=folder)


@task(name="read the server's answers", cache_key_fn=content_key("read-answers", version=1, sections=SECTIONS), **STORED, **TRIED_AGAIN)
def read_served(pairs: FileSet, answers: FileSet, study: Study, folder: Path) -> FileSet:
    """Predictions on both test splits, by log-probabilities where the server gives them."""
    made = served.headline(pairs.read("pairs"), answers.read("server_answers"), study)
    return write_predictions(made, name="base", folder=folder)


@task(name="compare the server's answers", cache_key_fn=content_key("compare-served", version=2, sections=SECTIONS), **STORED, **TRIED_AGAIN)
def compare_served(pairs: FileSet, marts: FileSet, answers: FileSet, study: Study, folder: Path) -> FileSet:
    """The other reader and the study's variants, on a sample of the test pairs."""
    made = served.compare(pairs.read("pairs"), _marts(marts), answers.read("server_answers"), study)
    return write_predictions(made, name="base_comparison", folder=folder)


@task(name="tabulate agreement", cache_key_fn=content_key("agreement", version=2, sections=("seed",)), **STORED, **TRIED_AGAIN)
def tabulate_comparison(pairs: FileSet, predictions: list[FileSet], study: Study, folder: Path) -> FileSet:
    """tables/agreement.parquet and tables/robustness.parquet from all predictions, those of the comparisons included."""
    together = pd.concat([one.table() for one in predictions], ignore_index=True)
    return comparison.write_comparison(together, pairs.read("pairs"), seed=study.seed, folder=folder)


@task(
    name="ask without options",
    task_run_name="ask without options: {name}",
    tags=["gpu"],
    cache_key_fn=content_key("respond", version=4, sections=SECTIONS),
    **STORED,
    **TRIED_AGAIN,
)
def respond(
    name: Literal["base", "tuned"],
    pairs: FileSet,
    marts: FileSet,
    model: list[FileSet],
    study: Study,
    workspace: Path,
    taken: Usage,
    folder: Path,
) -> FileSet:
    """Free answers to a sample of the test pairs: responses/<name>.parquet. `model` as in score_model; empty for a served one. `taken`: of the
    study's budget, before."""
    chosen = compared_pairs(pairs.read("pairs"), size=study.evaluation.compared_pairs, seed=study.seed)
    asked = open_ended.open_pairs(chosen, _marts(marts), study)
    till = served.Till(workspace / REGISTRY, study, taken=taken)
    if model:
        from tasks.evaluation import scoring
        from tasks.training.model import load_model

        adapter = model[1].path("adapter") if len(model) > 1 else None
        loaded = load_model(Path(model[0].folder), study.model, adapter=adapter)
        made = scoring.respond(asked, loaded, job=scoring.job_of(study, model=name, controls=False))
    else:
        made = served.respond(asked, served.served_of(study, _access()), till)
    return open_ended.write_responses(made, name=name, folder=folder).with_files(till.leave(f"free_answers_{name}", folder))


@task(
    name="judge free answers",
    task_run_name="judge free answers: {name}",
    tags=["gpu"],
    cache_key_fn=content_key("judge", version=2, sections=SECTIONS),
    **STORED,
    **TRIED_AGAIN,
)
def judge_responses(
    name: Literal["base", "tuned"],
    responses: FileSet,
    marts: FileSet,
    base: list[FileSet],
    study: Study,
    workspace: Path,
    taken: Usage,
    folder: Path,
) -> FileSet:
    """predictions/<name>_open_ended.parquet. `base`: the base model, which judges unless that, or the judge whom the study names, is served."""
    till = served.Till(workspace / REGISTRY, study, taken=taken)
    texts = open_ended.with_questions(responses.table(), _marts(marts))
    judged = judge.judge_texts(texts, _judge(base, study, till), seed=study.seed)
    made = write_predictions(judge.read_responses(texts, judged, model=name), name=f"{name}_open_ended", folder=folder)
    return made.with_files(till.leave(f"judging_{name}", folder))


@task(
    name="calibrate the judge",
    tags=["gpu"],
    cache_key_fn=content_key("calibrate", version=2, sections=SECTIONS, read=(judge.CALIBRATION,)),
    **STORED,
    **TRIED_AGAIN,
)
def calibrate_judge(base: list[FileSet], study: Study, workspace: Path, taken: Usage, folder: Path) -> FileSet:
    """tables/judge.parquet: how the judge does on the labelled texts; `usable` is for the report to heed."""
    till = served.Till(workspace / REGISTRY, study, taken=taken)
    made = judge.write_calibration(judge.calibrate(_judge(base, study, till), seed=study.seed), folder=folder)
    return made.with_files(till.leave("calibration", folder))


def _judge(base: list[FileSet], study: Study, till: served.Till) -> judge.Asks:
    name = study.model.served_name if study.evaluation.judge == "base" else study.evaluation.judge.removeprefix(SERVED)
    if name:
        model = ServedModel(name, _access(), study.evaluation.server)
        return served.judging(model, till)
    from tasks.evaluation import scoring

    return scoring.judging(Path(base[0].folder), job=scoring.job_of(study, model="base", controls=False))


def _marts(marts: FileSet) -> Marts:
    return Marts(*(marts.read(name) for name in Marts._fields))


def _access() -> Access:
    """The environment's; what it lacks is taken from Prefect's Secret blocks, where there are such."""
    found = {name: os.environ.get(name, "") for name in BLOCKS}
    for name in [name for name, value in found.items() if not value]:
        with suppress(ValueError):  # there is no such block
            found[name] = str(Secret.load(BLOCKS[name]).get())  # type: ignore[union-attr]
    return access_from(found)
