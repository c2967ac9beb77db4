"""The study: from a survey file to a before/after report. A table of contents; each step is a task of tasks/<stage>/steps.py.

valuescape run sample
prefect deployment run study/study --param study=sample
"""

import os
from datetime import date
from pathlib import Path
from typing import Literal

from prefect import flow
from prefect.runtime import flow_run

from flows.finetune import finetune_elsewhere
from flows.run import StudyRun, open_run
from tasks.errors import InputError
from tasks.evaluation.served import spent_by
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
from tasks.fairness.steps import audit_overlap, compare_replications, measure
from tasks.files import FileSet, file_set
from tasks.intake.ingest import choices_of, read_report
from tasks.intake.steps import ingest_survey, pool_surveys, write_synthetic_survey
from tasks.prompting.steps import build_pairs
from tasks.quality.evidence import Limits
from tasks.quality.steps import check_gate
from tasks.reporting import names
from tasks.reporting.steps import publish, show_lineage
from tasks.study import load_study, overridden
from tasks.subgroups.steps import build_marts, compare_with_before
from tasks.training.steps import finetune, prepare_model


def _run_name() -> str:
    """`study: sample · SmolLM2-135M-Instruct · 2026-11-23`. What is wrong with a study that cannot be read is told by the flow, not here."""
    given, today = flow_run.parameters, date.today().isoformat()
    try:
        chosen = load_study(given["study"], overrides=overridden(given["overrides"], model=given["model"]))
    except InputError:
        return f"study: {given['study']} · {today}"
    return f"study: {chosen.name} · {names.MODELS.get(chosen.model.name, Path(chosen.model.name).name).partition(' (')[0]} · {today}"


@flow(name="study", flow_run_name=_run_name, persist_result=False)
def study_flow(
    study: str = "sample",
    surveys: list[str] | None = None,
    country: str | list[str] | None = None,
    model: str | None = None,
    overrides: list[str] | None = None,
    workspace: str | None = None,
    fresh: bool = False,
    finetune_on: Literal["inline", "gpu"] = "inline",
) -> str:
    """Measure a model on a survey's subgroups before and after fine-tuning; returns the run's folder.

    Args:
        study: a name in flows/studies, or the path of a YAML file.
        surveys: the survey files, instead of the study's own.
        country: ISO 3166-1 alpha-3, one or several, for a file with several countries; ALL for all of them.
        model: `sample`, a Hugging Face name, a model folder, or openai:NAME of a server.
        overrides: lines `section.key=value` that change the study.
        workspace: the folder that holds surveys, runs and results; VALUESCAPE_HOME, or ./workspace, when left out.
        fresh: compute everything again, whatever is stored.
        finetune_on: where to fine-tune: inline, in this run; gpu, in a run of the deployment finetune/finetune on the work pool gpu.
    """
    choices = overridden(overrides, surveys=surveys, country=country, model=model)
    place = Path(workspace or os.environ.get("VALUESCAPE_HOME", "workspace"))
    with open_run(load_study(study, overrides=choices), workspace=place, fresh=fresh, elsewhere=finetune_on == "gpu") as run:
        staged = _staged(run)
        measured = [_measured(run.replication(number), staged) for number in range(run.study.replications)]
        if run.study.replications > 1:
            run.step(compare_replications, [metrics for metrics, _ in measured], [audited for _, audited in measured])
        run.write_manifest("running")
        run.journal.stage = "report"
        publish(run.folder)
        show_lineage(run.run_id, run.workspace)
    return str(run.folder)


def _measured(run: StudyRun, staged: FileSet) -> tuple[FileSet, FileSet]:
    """One replication, from the staged answers to its metrics and its overlap audit."""
    marts, pairs = _tables(run, staged)
    baselines = run.step(score_baselines, pairs, marts, staged, run.study)
    models = _asked_of_a_server(run, pairs, marts) if run.study.model.served_name else _asked_here(run, pairs, marts)
    metrics = run.step(measure, pairs, marts, [baselines, *models], run.study)
    audited = run.step(audit_overlap, pairs, marts, [baselines, *models], run.study)
    _gate(run, "overlap", audited)
    return metrics, audited


def _asked_here(run: StudyRun, pairs: FileSet, marts: FileSet) -> list[FileSet]:
    """The base model's predictions, and those of the tuned one where the study trains."""
    base = [run.step(prepare_model, run.study.model.name, folder=run.workspace / "models")]
    run.model_files = base[0].content_key
    trains = run.study.training.objective != "none"
    predictions = [run.step(score_model, "base", pairs, base, run.study, not trains)]
    _gate(run, "base_predictions", pairs, predictions[-1])
    compared = _compared(run, "base", pairs, marts, model=base, base=base, before=[])
    if trains:
        tuned = [*base, _finetuned(run, "tuned", pairs, base=base).adopted_into(run.folder)]
        _gate(run, "training", tuned[-1])
        predictions.append(run.step(score_model, "tuned", pairs, tuned, run.study, True))
        _gate(run, "tuned_predictions", pairs, predictions[-1])
        compared += _compared(run, "tuned", pairs, marts, model=tuned, base=base, before=compared)
        predictions += _trained_on_everybody(run, pairs, base=base) if run.study.evaluation.order0 else []
    if compared:
        run.step(tabulate_comparison, pairs, [*predictions, *compared], run.study)
    return predictions


def _finetuned(run: StudyRun, name: Literal["tuned", "order0"], pairs: FileSet, *, base: list[FileSet]) -> FileSet:
    """An adapter, by this run or by one on the work pool gpu."""
    return run.step(finetune_elsewhere if run.elsewhere else finetune, name, pairs, base[0], run.study, folder=run.training)


def _trained_on_everybody(run: StudyRun, pairs: FileSet, *, base: list[FileSet]) -> list[FileSet]:
    """The predictions of the control that never saw a subgroup; its adapter stays with the training."""
    adapter = _finetuned(run, "order0", pairs, base=base)
    _gate(run, "order0_training", adapter)
    predictions = run.step(score_model, "order0", pairs, [*base, adapter], run.study, False)
    _gate(run, "order0_predictions", pairs, predictions)
    return [predictions]


def _compared(
    run: StudyRun, name: str, pairs: FileSet, marts: FileSet, *, model: list[FileSet], base: list[FileSet], before: list[FileSet]
) -> list[FileSet]:
    """Other readers, other words and free answers, as far as the study asks for them. `before`: steps that may have asked a server."""
    asked = run.study.evaluation
    made = []
    if asked.other_readers or asked.variants:
        made.append(run.step(compare_model, name, pairs, marts, model, run.study))
        _gate(run, f"{name}_comparison", pairs, made[-1])
    if asked.open_ended:
        made.append(_answered_freely(run, name, pairs, marts, model=model, base=base, before=before))
    return made


def _answered_freely(
    run: StudyRun, name: str, pairs: FileSet, marts: FileSet, *, model: list[FileSet], base: list[FileSet], before: list[FileSet]
) -> FileSet:
    """Texts, what the judge makes of them, and how good the judge is: one budget for all that asks a server."""
    calibration = run.step(calibrate_judge, base, run.study, run.workspace, spent_by(before))
    responses = run.step(respond, name, pairs, marts, model, run.study, run.workspace, spent_by([*before, calibration]))
    return run.step(judge_responses, name, responses, marts, base, run.study, run.workspace, spent_by([*before, calibration, responses]))


def _asked_of_a_server(run: StudyRun, pairs: FileSet, marts: FileSet) -> list[FileSet]:
    """A served model's predictions; its answers are kept in the workspace as they come."""
    answers = run.step(ask_server, pairs, marts, run.study, run.workspace)
    predictions = [run.step(read_served, pairs, answers, run.study)]
    _gate(run, "base_predictions", pairs, predictions[-1])
    compared = []
    if run.study.evaluation.readers or run.study.evaluation.variants:
        others = run.step(compare_served, pairs, marts, answers, run.study)
        if others.rows["predictions"]:  # without log-probabilities and variants there is one reader, and nothing to compare
            _gate(run, "base_comparison", pairs, others)
            compared.append(others)
    if run.study.evaluation.open_ended:
        compared.append(_answered_freely(run, "base", pairs, marts, model=[], base=[], before=[answers]))
    if compared:
        run.step(tabulate_comparison, pairs, [*predictions, *compared], run.study)
    return predictions


def _tables(run: StudyRun, staged: FileSet) -> tuple[FileSet, FileSet]:
    """Staged answers -> subgroup tables -> pairs, each behind its gate."""
    marts = run.step(build_marts, staged, run.study)
    _gate(run, "marts", marts)
    if (before := run.before()) and not run.part:
        run.step(compare_with_before, marts, before)
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
    return [run.given(file_set(path.parent, [path.name])) for path in run.study.survey.paths()]


def _codebook(run: StudyRun) -> list[FileSet]:
    """The user's codebook, with the file of its respondent columns where there is one; none when a shipped one serves."""
    path = run.study.survey.codebook_path()
    names = [] if path is None else [path.name, f"{path.stem}_respondents.csv"]
    return [run.given(file_set(path.parent, [name for name in names if (path.parent / name).is_file()]))] if path else []


def _gate(run: StudyRun, stage: str, *made: FileSet) -> None:
    limits = Limits(
        minimum_respondents=run.study.subgroups.minimum_respondents,
        minimum_effective_n=run.study.subgroups.minimum_effective_n,
        subgroup_order=run.study.subgroups.order,
        quarantine_limit=run.study.survey.quarantine_limit,
        countries=sorted({population["country"] for population in run.survey["populations"]}),
        minimum_of_half=int(run.study.least_in_a_half["minimum_respondents"]),
        minimum_effective_n_of_half=run.study.least_in_a_half["minimum_effective_n"],
        split_kind=run.study.split.kind,
    )
    run.step(check_gate, stage, list(made), limits)
