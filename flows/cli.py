"""The command line: valuescape run | inspect | codebook | runs | report | compare | ask | clean.

Exit codes: 0 done; 1 a gate or a step failed; 2 the user's input is wrong; 130 interrupted.
"""

import json
import os
import sys
import traceback
import webbrowser
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.records import read_manifest, run_folders
from flows.rerun import compare_tables, find_run, is_same_model, rerun
from flows.server import local_server
from tasks.errors import InputError, InterruptedRunError, ValuescapeError
from tasks.files import make_workspace
from tasks.intake.formats import readable_format
from tasks.progress import report_to_terminal
from tasks.study import Study, load_study, overridden, shipped_studies
from tasks.training.launcher import THREADS

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, rich_markup_mode="rich", help=__doc__)
console = Console()

Workspace = Annotated[Path, typer.Option(envvar="VALUESCAPE_HOME", help="Folder that holds surveys, runs and results.")]
WORKSPACE = Path("workspace")
FinetuneOn = Annotated[
    Literal["inline", "gpu"], typer.Option(envvar="VALUESCAPE_FINETUNE_ON", help="Fine-tune in the run, or on the work pool gpu (after `make up`).")
]


@app.command()
def run(
    study: Annotated[str | None, typer.Argument(help=f"One of {', '.join(shipped_studies())}, or the path of a YAML file.")] = None,
    survey: Annotated[list[Path] | None, typer.Option(help="The survey file, instead of the study's own; repeated for several.")] = None,
    country: Annotated[list[str] | None, typer.Option(help="ISO 3166-1 alpha-3, for a file with several countries; repeated, or ALL.")] = None,
    model: Annotated[str | None, typer.Option(help="`sample`, a Hugging Face name, a model folder, or openai:NAME of a server.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, for example training.epochs=3.")] = None,
    codebook: Annotated[Path | None, typer.Option(help="A codebook of yours, for a wave that has none (`valuescape codebook`).")] = None,
    from_: Annotated[str | None, typer.Option("--from", metavar="RUN", help="Instead of a study: what this run was, exactly, once more.")] = None,
    workspace: Workspace = WORKSPACE,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute everything again, whatever is stored.")] = False,
    finetune_on: FinetuneOn = "inline",
) -> None:
    """Run a whole study. Example: valuescape run country --survey F00010885-WVS_Wave_7.xlsx

    What succeeded before is reused; repeating the command after a failure goes on where it stopped.
    """
    if (study is None) == (from_ is None):
        raise InputError("give a study, or a run with --from RUN: one of the two. `valuescape run sample` is the sample study")
    if from_ is not None:
        if country or model or set_ or codebook:
            raise InputError("--from takes a run as it was: leave out --country, --model, --set and --codebook, or run the study by its name")
        _run_again(find_run(from_, workspace), surveys=survey or [], workspace=workspace, fresh=fresh)
        return
    assert study is not None
    set_ = [*(set_ or []), *([f"survey.codebook={json.dumps(str(codebook.resolve()))}"] if codebook else [])]
    parameters: dict[str, Any] = {
        "study": str(Path(study).resolve()) if study not in shipped_studies() and Path(study).is_file() else study,
        "surveys": [str(path) for path in survey or []],
        "country": country,
        "model": model,
        "overrides": set_,
        "workspace": str(workspace.resolve()),
        "fresh": fresh,
        "finetune_on": finetune_on,
    }
    _show_result(_run(parameters, workspace=workspace))


def _run_again(before: Path, *, surveys: list[Path], workspace: Path, fresh: bool) -> None:
    """The run's study once more; says what is not as it was, and whether the tables are."""
    again = rerun(before, workspace=workspace, surveys=surveys)
    for difference in again.differs:
        console.print(f"Not as in run {before.name}: {difference}.", soft_wrap=True, style="yellow")
    folder = _run({"study": str(again.study), "workspace": str(workspace.resolve()), "fresh": fresh}, workspace=workspace)
    _show_result(folder)
    if not is_same_model(before, folder):
        console.print(f"Not as in run {before.name}: the model's files are others.", style="yellow")
    same, others = compare_tables(before, folder)
    console.print(f"{len(same)} tables are those of run {before.name} to the last byte.")
    if others:
        console.print(f"{len(others)} are not: {', '.join(others)}.", style="yellow")


def _run(parameters: dict[str, Any], *, workspace: Path) -> Path:
    """Check what is given, then run it; returns the run's folder."""
    choices = overridden(**{name: parameters.get(name) for name in ("overrides", "surveys", "country", "model")})
    checked = load_study(parameters["study"], overrides=choices)
    _refuse_early(checked, workspace)
    parameters |= _whole_paths(checked)
    try:
        folder = _execute(parameters, home=workspace / "prefect")
    except KeyboardInterrupt as error:
        again = "the same command without --fresh uses its finished steps" if parameters["fresh"] else "the same command goes on from there"
        raise InterruptedRunError(f"interrupted; what was done is kept, and {again}") from error
    return folder


def _execute(parameters: dict[str, Any], *, home: Path) -> Path:
    """Through the deployment where a worker is up, so that the Prefect UI can retry the run; else here. Returns the run's folder."""
    with local_server(home) as server:
        from flows.deployed import run_deployed
        from flows.study import study_flow

        if server.started_here and parameters.get("finetune_on") == "gpu":
            raise InputError("--finetune-on gpu needs a worker of the work pool gpu: `make up` first. Without it the run trains here")
        deployed = None if server.started_here else run_deployed(parameters)
        return deployed or Path(study_flow(**parameters))


def _whole_paths(study: Study) -> dict[str, Any]:
    """The study's files wherever it is executed: a worker, or a retry of the run, may start in another folder."""
    surveys = [] if study.survey.is_synthetic else [str(path) for path in study.survey.paths()]
    return {"surveys": surveys, "model": str(Path(study.model.name).resolve()) if Path(study.model.name).is_dir() else study.model.name}


def _refuse_early(study: Study, workspace: Path) -> None:
    """What is plainly wrong with the survey file or the workspace is said before a server starts."""
    for path in [] if study.survey.is_synthetic else study.survey.paths():
        readable_format(path)
    make_workspace(workspace)


def _show_result(folder: Path) -> None:
    from tasks.reporting.summary import headline_table

    console.print(headline_table(_read(folder / "summary.json")))
    reused = read_manifest(folder)["reused"]
    if reused:
        console.print(f"Reused from earlier runs, because nothing that goes into them has changed: {', '.join(reused)}.", style="dim")
    console.print(f"Report: {folder / 'report' / 'index.html'}", soft_wrap=True)


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A survey file as downloaded.")],
    codebook: Annotated[Path | None, typer.Option(help="A codebook of yours, for a wave that has none.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Say what a survey file is, what it holds, and whether it can be studied. Example: valuescape inspect WVS_Wave_7_Singapore.csv"""
    from tasks.intake.inspection import describe, inspect_survey

    inspection = inspect_survey(file, codebook=codebook)
    if as_json:
        typer.echo(json.dumps(inspection.to_json(), indent=1, default=str))
    else:
        console.print(describe(inspection))
    if not inspection.can_be_studied:
        raise typer.Exit(InputError.exit_code)


@app.command()
def codebook(
    file: Annotated[Path, typer.Argument(help="A survey file with header texts: CsvTxt, ExcelTxt, Spss or Stata.")],
    out: Annotated[Path, typer.Option(help="The draft, a CSV for a spreadsheet; a new file.")],
) -> None:
    """Draft a codebook for a wave that has none, for a person to confirm. Example: valuescape codebook WVS_Wave_8.xlsx --out wave8.csv"""
    from tasks.intake.draft import draft_codebook, write_draft
    from tasks.intake.formats import opened

    if out.exists():
        raise InputError(f"{out} exists, and may be a draft that somebody has confirmed. Give another name with --out, or remove it first")
    with opened(file) as raw:
        draft = draft_codebook(raw.headers, {code: {str(cell): int(times) for cell, times in raw.counts(code)} for code in raw.headers})
    write_draft(draft, out)
    sure, open_ = len(draft.matched), len(draft.to_decide)
    console.print(f"{len(draft.rows)} columns: {sure} are like a known question, {len(draft.unmatched)} like none; {open_} need more than a glance.")
    console.print(
        f"Draft: {out}. Write yes or no into the column confirm of every row, correct what is wrong, then: valuescape run STUDY --codebook {out}"
    )


@app.command()
def runs(workspace: Workspace = WORKSPACE, as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False) -> None:
    """List the runs of a workspace, the newest last. Example: valuescape runs"""
    found = [read_manifest(folder) for folder in run_folders(workspace)]
    listed = [{name: manifest.get(name) for name in ("study_name", "run_id", "status", "synthetic", "error")} for manifest in found]
    if as_json:
        typer.echo(json.dumps(listed, indent=1))
        return
    whole = [Column(name, no_wrap=True) for name in ("study", "run", "status", "survey")]
    table = Table(*whole, Column("error", no_wrap=True, overflow="ellipsis", ratio=1), expand=True)
    for row in listed:
        first_line = str(row["error"] or "").partition("\n")[0]
        kind = "not read" if row["synthetic"] is None else "synthetic" if row["synthetic"] else "real"
        table.add_row(row["study_name"], row["run_id"], row["status"], kind, Text(first_line))
    console.print(table if found else f"No runs in {workspace.resolve()} yet; start one with `valuescape run sample`.")


@app.command()
def report(
    run: Annotated[str | None, typer.Argument(help="A run's id or a study's name; the newest finished run when left out.")] = None,
    workspace: Workspace = WORKSPACE,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Print the path of a report. Example: valuescape report sample --open"""
    page = _report_of(run, workspace)
    typer.echo(page)
    if open_:
        webbrowser.open(page.as_uri())


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Ids or folders of finished runs, or names of studies for their newest ones; two or more.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("compare.html"),
    other_surveys: Annotated[bool, typer.Option("--other-surveys", help="Compare runs on different surveys, too.")] = False,
    workspace: Workspace = WORKSPACE,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Write a page with several runs side by side. Example: valuescape compare country my-study --out compare.html"""
    from tasks.reporting.compare import write_comparison_page

    folders = [_finished(find_run(run, workspace)) for run in runs]
    page = write_comparison_page(folders, out=out, other_surveys=other_surveys).resolve()
    typer.echo(page)
    if open_:
        webbrowser.open(page.as_uri())


@app.command()
def ask(
    question: Annotated[str, typer.Option(help="A question's code, or words of its wording.")],
    persona: Annotated[str, typer.Option(metavar="DIMENSION=LEVEL,...", help="Whom to ask; everybody when left out.")] = "",
    run: Annotated[str | None, typer.Option(help="A run's id or a study's name; the newest finished run when left out.")] = None,
    workspace: Workspace = WORKSPACE,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Ask a run's models one question, beside the survey. Example: valuescape ask --persona sex=Female,religion=Muslim --question Q1"""
    from tasks.evaluation.single import AskedRun, ask_one
    from tasks.reporting.bars import answer_table

    folder = _report_of(run, workspace).parents[1]
    manifest = read_manifest(folder)
    asked = AskedRun.of(folder, Study.model_validate(manifest["study"]), populations=manifest["survey"]["populations"])
    answer = ask_one(asked, persona=persona, question=question, models=workspace.resolve() / "models")
    if as_json:
        typer.echo(json.dumps({"run_id": manifest["run_id"], "synthetic": manifest["synthetic"], **answer.to_json()}, indent=1))
        return
    if manifest["synthetic"]:
        console.print("SYNTHETIC SURVEY, evidence of nothing.", style="yellow")
    console.print(answer_table(answer))


@app.command()
def clean(
    older_than: Annotated[int | None, typer.Option(metavar="DAYS", min=0, help="Runs older than this; 30 when no size is given either.")] = None,
    max_size: Annotated[float | None, typer.Option(metavar="GB", min=0, help="The oldest runs, until the workspace is not larger.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask, for scripts.")] = False,
    workspace: Workspace = WORKSPACE,
) -> None:
    """List old runs with what only they used, and remove them once you say so. Example: valuescape clean --older-than 90

    Never the newest finished run of a study, nor what a run that stays uses.
    """
    from flows.retention import plan_removal, remove

    days = 30 if older_than is None and max_size is None else older_than
    plan = plan_removal(
        workspace.resolve(),
        older_than=None if days is None else timedelta(days=days),
        at_most_bytes=None if max_size is None else int(max_size * 1e9),
    )
    if not plan.entries:
        console.print(f"Nothing to remove in {workspace.resolve()}.", soft_wrap=True)
        return
    table = Table("what", Column("name", no_wrap=True), "last written")
    for entry in plan.entries:
        table.add_row(entry.kind, entry.name, f"{entry.touched:%Y-%m-%d %H:%M}")
    console.print(table)
    console.print(f"Removing them frees {plan.freed_bytes / 1e9:.2f} GB.")
    if dry_run or not (yes or (sys.stdin.isatty() and typer.confirm("Remove them?"))):
        console.print("Nothing was removed." if dry_run or sys.stdin.isatty() else "Nothing was removed: without a terminal, say --yes.")
        return
    left = remove(plan)
    console.print("\n".join(["Removed.", *(f"Left: {reason}" for reason in left)]), soft_wrap=True, markup=False)


def _report_of(run: str | None, workspace: Path) -> Path:
    finished = [folder for folder in run_folders(workspace) if read_manifest(folder)["status"] == "finished"]
    wanted = [folder for folder in finished if run is None or run in (folder.name, folder.parent.name)]
    if not wanted:
        known = ", ".join(sorted({folder.parent.name for folder in finished})) or "none"
        named = f" {run}" if run else ""
        raise InputError(f"no finished run{named} in {workspace.resolve()} (finished studies: {known}). `valuescape runs` lists all runs")
    return (wanted[-1] / "report" / "index.html").resolve()


def _finished(folder: Path) -> Path:
    """Raises InputError for a run that did not come to its end."""
    manifest = read_manifest(folder)
    if manifest["status"] != "finished":
        raise InputError(f"run {manifest['run_id']} is {manifest['status']}, expected a finished one. Repeat its command first")
    return folder


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def main() -> None:
    """Errors that a user is meant to read are printed alone, without a traceback."""
    report_to_terminal()
    os.environ.update({name: value for name, value in {**THREADS, "HF_HUB_DISABLE_TELEMETRY": "1"}.items() if name not in os.environ})
    code = _call_app()
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: DuckDB's bindings would list on the terminal every object that Prefect's daemon threads still hold.
    os._exit(code)


def _call_app() -> int:
    try:
        app()
    except SystemExit as ended:  # how Typer ends: help and results with 0, a wrong option with 2
        return int(ended.code or 0)
    except Exception as error:
        if told := _told_within(error):
            _print_error(f"{told}")
            return told.exit_code
        place = traceback.extract_tb(error.__traceback__)[-1]
        found = f"{type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        _print_error(f"this should not have happened: {found}. What was done is kept.")
        return 1
    return 0


def _print_error(message: str) -> None:
    Console(stderr=True).print(f"valuescape: {message}", markup=False, highlight=False, soft_wrap=True)


def _told_within(error: BaseException | None) -> ValuescapeError | None:
    """Our own error, or the one behind an error of Prefect's: on a full disk the server cannot write down what failed either."""
    if error is None or isinstance(error, ValuescapeError):
        return error
    return _told_within(error.__cause__ or error.__context__)
