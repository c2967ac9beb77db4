"""The study: from a survey file to a before/after report. A table of contents; each step is a task of tasks/<stage>/steps.py.

valuescape run sample
prefect deployment run study/study --param study=sample
"""

import os
from pathlib import Path

from prefect import flow

from flows.run import StudyRun, open_run
from tasks.evaluation.steps import score_baselines, score_model
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
    base_model = run.step(prepare_model, run.study.model.name, folder=run.workspace / "models")
    predictions = [run.step(score_baselines, pairs, marts)]
    trains = run.study.training.objective != "none"
    predictions.append(run.step(score_model, "base", pairs, [base_model], run.study, not trains))
    _gate(run, "base_predictions", pairs, predictions[-1])
    if trains:
        adapter = run.step(finetune, pairs, base_model, run.study, folder=run.training).adopted_into(run.folder)
        _gate(run, "training", adapter)
        predictions.append(run.step(score_model, "tuned", pairs, [base_model, adapter], run.study, True))
        _gate(run, "tuned_predictions", pairs, predictions[-1])
    return run.step(measure, pairs, marts, predictions)


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
