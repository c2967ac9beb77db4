"""The study: from a survey file to a before/after report. A table of contents; each step is a task of tasks/<stage>/steps.py.

valuescape run sample
prefect deployment run study/study --param study=sample
"""

import os
from pathlib import Path

from prefect import flow

from flows.run import StudyRun, open_run
from tasks.evaluation.steps import (
    ask_server,
    calibrate_judge,
    compare_model,
    compare_served,
    judge_responses,
    read_served,
    respond,
    score_baselines,
    score_model,
    tabulate_comparison,
)
from tasks.fairness.steps import compare_replications, measure
from tasks.files import FileSet, file_set
from tasks.intake.ingest import choices_of, read_report
from tasks.intake.steps import ingest_survey, pool_surveys, write_synthetic_survey
from tasks.prompting.steps import build_pairs
from tasks.quality.evidence import Limits
from tasks.quality.steps import check_gate
from tasks.reporting.steps import publish
from tasks.study import load_study, overridden
from tasks.subgroups.steps import build_marts
from tasks.training.steps import finetune, prepare_model


@flow(name="study", flow_run_name="study: {study}", persist_result=False)
def study_flow(
    study: str = "sample",
    surveys: list[str] | None = None,
    country: str | list[str] | None = None,
    model: str | None = None,
    overrides: list[str] | None = None,
    workspace: str | None = None,
    fresh: bool = False,
) -> str:
    """Measure a model on a survey's subgroups before and after fine-tuning; returns the run's folder.

    Args:
        study: a name in flows/studies, or the path of a YAML file.
        surveys: the survey files, instead of the study's own.
        country: ISO 3166-1 alpha-3, one or several, for a file with several countries; ALL for all of them.
        model: `sample`, a Hugging Face name, or a model folder.
        overrides: lines `section.key=value` that change the study.
        workspace: the folder that holds surveys, runs and results; VALUESCAPE_HOME, or ./workspace, when left out.
        fresh: compute everything again, whatever is stored.
    """
    choices = overridden(overrides, surveys=surveys, country=country, model=model)
    place = Path(workspace or os.environ.get("VALUESCAPE_HOME", "workspace"))
    with open_run(load_study(study, overrides=choices), workspace=place, fresh=fresh) as run:
        staged = _staged(run)
        measured = [_measured(run.replication(number), staged) for number in range(run.study.replications)]
        if run.study.replications > 1:
            run.step(compare_replications, measured)
        run.write_manifest("running")
        publish(run.folder)
    return str(run.folder)


def _measured(run: StudyRun, staged: FileSet) -> FileSet:
    """One replication, from the staged answers to its metrics."""
    marts, pairs = _tables(run, staged)
    baselines = run.step(score_baselines, pairs, marts)
    models = _asked_of_a_server(run, pairs, marts) if run.study.model.served_name else _asked_here(run, pairs, marts)
    return run.step(measure, pairs, marts, [baselines, *models], run.study)


def _asked_here(run: StudyRun, pairs: FileSet, marts: FileSet) -> list[FileSet]:
    """The base model's predictions, and those of the tuned one where the study trains."""
    base = [run.step(prepare_model, run.study.model.name, folder=run.workspace / "models")]
    trains = run.study.training.objective != "none"
    predictions = [run.step(score_model, "base", pairs, base, run.study, not trains)]
    _gate(run, "base_predictions", pairs, predictions[-1])
    compared = _compared(run, "base", pairs, marts, model=base, base=base)
    if trains:
        tuned = [*base, run.step(finetune, pairs, base[0], run.study, folder=run.training).adopted_into(run.folder)]
        _gate(run, "training", tuned[-1])
        predictions.append(run.step(score_model, "tuned", pairs, tuned, run.study, True))
        _gate(run, "tuned_predictions", pairs, predictions[-1])
        compared += _compared(run, "tuned", pairs, marts, model=tuned, base=base)
    if compared:
        run.step(tabulate_comparison, pairs, [*predictions, *compared], run.study)
    return predictions


def _compared(run: StudyRun, name: str, pairs: FileSet, marts: FileSet, *, model: list[FileSet], base: list[FileSet]) -> list[FileSet]:
    """Other readers, other words and free answers, as far as the study asks for them."""
    asked = run.study.evaluation
    made = []
    if asked.readers or asked.variants:
        made.append(run.step(compare_model, name, pairs, marts, model, run.study))
        _gate(run, f"{name}_comparison", pairs, made[-1])
    if asked.open_ended:
        made.append(_answered_freely(run, name, pairs, marts, model=model, base=base))
    return made


def _answered_freely(run: StudyRun, name: str, pairs: FileSet, marts: FileSet, *, model: list[FileSet], base: list[FileSet]) -> FileSet:
    """Texts, what the judge makes of them, and how good the judge is."""
    run.step(calibrate_judge, base, run.study, run.workspace)
    responses = run.step(respond, name, pairs, marts, model, run.study, run.workspace)
    return run.step(judge_responses, name, responses, marts, base, run.study, run.workspace)


def _asked_of_a_server(run: StudyRun, pairs: FileSet, marts: FileSet) -> list[FileSet]:
    """A served model's predictions; its answers are kept in the workspace as they come."""
    answers = run.step(ask_server, pairs, marts, run.study, run.workspace)
    predictions = [run.step(read_served, pairs, answers, run.study)]
    _gate(run, "base_predictions", pairs, predictions[-1])
    compared = []
    if run.study.evaluation.readers or run.study.evaluation.variants:
        compared.append(run.step(compare_served, pairs, marts, answers, run.study))
        _gate(run, "base_comparison", pairs, compared[-1])
    if run.study.evaluation.open_ended:
        compared.append(_answered_freely(run, "base", pairs, marts, model=[], base=[]))
    if compared:
        run.step(tabulate_comparison, pairs, [*predictions, *compared], run.study)
    return predictions


def _tables(run: StudyRun, staged: FileSet) -> tuple[FileSet, FileSet]:
    """Staged answers -> subgroup tables -> pairs, each behind its gate."""
    marts = run.step(build_marts, staged, run.study)
    _gate(run, "marts", marts)
    pairs = run.step(build_pairs, marts, run.study, run.survey["populations"])
    _gate(run, "pairs", pairs)
    return marts, pairs


def _staged(run: StudyRun) -> FileSet:
    """Each file by itself and behind its gates, then all of them as one."""
    files, choices = [], choices_of(run.study.survey, run.study.dimensions)
    for number, survey in enumerate(_surveys(run), start=1):
        files.append(run.step(ingest_survey, survey, _codebook(run), choices, run.study, folder=run.workspace / "surveys"))
        run.survey = read_report(files[-1])
        of_file = "" if run.study.survey.has_one_file else f"-{number}"
        _gate(run, f"intake{of_file}", files[-1])
        _gate(run, f"staging{of_file}", files[-1])
    if len(files) == 1:
        return files[0]
    pooled = run.step(pool_surveys, files, _codebook(run), folder=run.workspace / "surveys")
    run.survey = read_report(pooled)
    _gate(run, "pooled", pooled)
    return pooled


def _surveys(run: StudyRun) -> list[FileSet]:
    """The user's files where they lie, or the synthetic survey."""
    if run.study.survey.is_synthetic:
        return [run.step(write_synthetic_survey, run.study.survey.synthetic_seed, folder=run.workspace / "surveys" / "synthetic")]
    return [file_set(path.parent, [path.name]) for path in run.study.survey.paths()]


def _codebook(run: StudyRun) -> list[FileSet]:
    """The user's codebook, with the file of its respondent columns where there is one; none when a shipped one serves."""
    path = run.study.survey.codebook_path()
    names = [] if path is None else [path.name, f"{path.stem}_respondents.csv"]
    return [file_set(path.parent, [name for name in names if (path.parent / name).is_file()])] if path else []


def _gate(run: StudyRun, stage: str, *made: FileSet) -> None:
    limits = Limits(
        minimum_respondents=run.study.subgroups.minimum_respondents,
        minimum_effective_n=run.study.subgroups.minimum_effective_n,
        subgroup_order=run.study.subgroups.order,
        quarantine_limit=run.study.survey.quarantine_limit,
        countries=sorted({population["country"] for population in run.survey["populations"]}),
    )
    run.step(check_gate, stage, list(made), limits)
