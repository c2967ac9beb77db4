"""The command line: valuescape run | inspect | runs | report.

Exit codes: 0 done; 1 a gate or a step failed; 2 the user's input is wrong; 130 interrupted.
"""

import json
import os
import sys
import traceback
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from flows.records import read_manifest, run_folders
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


@app.command()
def run(
    study: Annotated[str, typer.Argument(help=f"One of {', '.join(shipped_studies())}, or the path of a YAML file.")],
    survey: Annotated[list[Path] | None, typer.Option(help="The survey file, instead of the study's own; repeated for several.")] = None,
    country: Annotated[list[str] | None, typer.Option(help="ISO 3166-1 alpha-3, for a file with several countries; repeated, or ALL.")] = None,
    model: Annotated[str | None, typer.Option(help="`sample`, a Hugging Face name, or a model folder.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the study, for example training.epochs=3.")] = None,
    codebook: Annotated[Path | None, typer.Option(help="A codebook of yours, for a wave that has none (`valuescape codebook`).")] = None,
    workspace: Workspace = WORKSPACE,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute everything again, whatever is stored.")] = False,
) -> None:
    """Run a whole study. Example: valuescape run country --survey F00010885-WVS_Wave_7.xlsx

    What succeeded before is reused; repeating the command after a failure goes on where it stopped.
    """
    set_ = [*(set_ or []), *([f"survey.codebook={json.dumps(str(codebook.resolve()))}"] if codebook else [])]
    parameters: dict[str, Any] = {
        "study": study if study in shipped_studies() else str(Path(study).resolve()),
        "surveys": [str(path) for path in survey or []],
        "country": country,
        "model": model,
        "overrides": set_,
        "workspace": str(workspace.resolve()),
        "fresh": fresh,
    }
    choices = overridden(set_, surveys=parameters["surveys"], country=country, model=model)
    checked = load_study(study, overrides=choices)
    _refuse_early(checked, workspace)
    parameters |= _whole_paths(checked)
    try:
        folder = _execute(parameters, home=workspace / "prefect")
    except KeyboardInterrupt as error:
        again = "the same command without --fresh uses its finished steps" if fresh else "the same command goes on from there"
        raise InterruptedRunError(f"interrupted; what was done is kept, and {again}") from error
    _show_result(folder)


def _execute(parameters: dict[str, Any], *, home: Path) -> Path:
    """Through the deployment where a worker is up, so that the Prefect UI can retry the run; else here. Returns the run's folder."""
    with local_server(home) as server:
        from flows.deployed import run_deployed
        from flows.study import study_flow

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
    table = Table("study", Column("run", no_wrap=True), "status", "survey", Column("error", no_wrap=True, overflow="ellipsis"))
    for row in listed:
        first_line = str(row["error"] or "").partition("\n")[0]
        table.add_row(row["study_name"], row["run_id"], row["status"], "synthetic" if row["synthetic"] else "real", Text(first_line))
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


def _report_of(run: str | None, workspace: Path) -> Path:
    finished = [folder for folder in run_folders(workspace) if read_manifest(folder)["status"] == "finished"]
    wanted = [folder for folder in finished if run is None or run in (folder.name, folder.parent.name)]
    if not wanted:
        known = ", ".join(sorted({folder.parent.name for folder in finished})) or "none"
        raise InputError(f"no finished run {run or ''} in {workspace.resolve()} (finished studies: {known}). `valuescape runs` lists all runs")
    return (wanted[-1] / "report" / "index.html").resolve()


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
