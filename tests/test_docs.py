"""What the documentation says can be done as it says: links lead somewhere, and no command is unknown.

A command of `valuescape` is read by the command line itself, and a study that it names is loaded with its settings. RUN_BY names, for each kind of
command, the test that runs it: that command on a small study, or what it calls.
"""

import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli import app
from flows.server import PROJECT
from tasks.study import load_study, overridden
from tests.flows.plant import PREFECT

PAGES = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
PROGRAM = re.compile(r"^(?:\w+=\S+ )*(?:\.venv/bin/)?(valuescape|make|prefect)\b")
# What a page calls by a word that its reader replaces.
GIVEN = {"FILE": "file.csv", "OTHER_FILE": "other.csv", "my-study.yaml": "sample", "STUDY": "country", "RUN": "sample", "OTHER_RUN": "country"}
STUDY_RUNS = "tests/flows/test_study.py::"
OPERATIONS = "tests/flows/test_operations.py::"
BY_CI = ".ci/run"
RUNBOOK = "tests/flows/test_prefect_ui.py::test_the_runbook_s_commands_find_the_failed_run_and_its_reason_and_cancel_one_that_waits"
RUN_BY = {
    "make setup": BY_CI,
    "make setup-system": BY_CI,
    "make check": BY_CI,
    "make test": BY_CI,
    "make test-faults": "tests/faults/test_storage.py::",
    "make format": "tests/test_docs.py::test_make_knows_its_targets",
    "make reference": "tests/test_reference.py::test_the_command_line_is_as_written",
    "make study": f"{STUDY_RUNS}test_a_run_leaves_what_the_readme_promises",
    "make up": f"{OPERATIONS}test_up_again_changes_nothing",
    "make status": f"{OPERATIONS}test_status_says_what_runs",
    "make down": "tests/flows/test_down_and_up.py::test_down_ends_what_up_started_and_nothing_else_and_up_shows_every_run_again",
    "valuescape run": f"{STUDY_RUNS}test_a_run_leaves_what_the_readme_promises",
    "valuescape run --survey": "tests/flows/test_surveys.py::test_two_files_are_one_study_that_tests_the_country_it_never_saw_in_two_replications",
    "valuescape run --from": "tests/flows/test_rerun.py::test_a_run_from_its_manifest_has_the_same_tables_and_says_what_differs",
    "valuescape run --finetune-on": f"{OPERATIONS}test_fine_tuning_on_its_pool_gives_what_it_gives_inline",
    "valuescape run --codebook": "tests/intake/test_draft.py::test_a_confirmed_draft_reads_as_the_known_items_under_the_new_codes",
    "valuescape runs": f"{STUDY_RUNS}test_runs_lists_how_each_ended",
    "valuescape report": f"{STUDY_RUNS}test_report_prints_the_newest_page",
    "valuescape compare": f"{STUDY_RUNS}test_compare_writes_a_page_of_two_runs",
    "valuescape --install-completion": "tests/test_docs.py::test_completion_is_there",
    "valuescape ask": f"{STUDY_RUNS}test_ask_gives_the_answers_of_the_run_beside_the_survey_s",
    "valuescape inspect": "tests/flows/test_cli.py::test_inspecting_a_survey_says_its_wave_and_country",
    "valuescape codebook": "tests/flows/test_cli.py::test_a_draft_is_written_from_the_header_texts",
    "valuescape clean": "tests/flows/test_retention.py::test_the_command_lists_and_removes_only_when_told_so",
    "prefect deployment run": f"{STUDY_RUNS}test_with_a_worker_up_a_run_goes_through_the_deployment_and_reuses_what_the_workspace_has",
    "prefect artifact inspect": RUNBOOK,
    "prefect flow-run ls": RUNBOOK,
    "prefect flow-run logs": RUNBOOK,
    "prefect flow-run cancel": RUNBOOK,
    "prefect deploy": f"{OPERATIONS}test_up_again_changes_nothing",  # make up calls it
    "prefect worker start": f"{OPERATIONS}test_up_starts_again_what_has_died",
    "prefect flow-run retry": f"{OPERATIONS}test_a_study_that_is_retried_arms_its_fine_tuning_again_which_goes_on_from_its_checkpoint",
    "prefect event emit": "tests/flows/test_watch.py::test_an_event_of_whoever_drops_files_runs_the_watcher_at_once",
}


def commands_of(page: Path) -> list[str]:
    """Lines of code blocks, and code within a sentence, that begin with a program of ours."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(?:console)?\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()]
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line.partition("  #")[0].strip() for line in [*lines, *(code for code in inline if " " in code)] if PROGRAM.match(line)]


COMMANDS = sorted({(page.name, command) for page in PAGES for command in commands_of(page)})
OURS = [case for case in COMMANDS if (found := PROGRAM.match(case[1])) and found[1] == "valuescape" and "completion" not in case[1]]


def parsed(command: str) -> tuple[str, dict[str, Any]]:
    """The subcommand and its options, as the command line reads them; anything that it does not know is an error."""
    found: list[tuple[str, dict[str, Any]]] = []
    group: Any = typer.main.get_command(app)
    for name, subcommand in group.commands.items():
        subcommand.callback = lambda _name=name, **options: found.append((_name, options))
    words = shlex.split(PROGRAM.sub("", command, count=1))
    group.main([GIVEN.get(word, word) for word in words], standalone_mode=False)
    return found[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


@pytest.mark.parametrize(("page", "command"), OURS)
def test_a_command_is_one_that_the_command_line_takes(page: str, command: str) -> None:
    name, options = parsed(command)
    if name == "run" and options["study"]:
        study = load_study(
            options["study"], overrides=overridden(options["set_"], surveys=[str(path) for path in options["survey"] or []], model=options["model"])
        )
        assert study.name


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_a_command_is_run_by_a_test(page: str, command: str) -> None:
    words = set(PROGRAM.sub(r"\1", command).replace("=", " ").split())
    known = [place for kind, place in RUN_BY.items() if set(kind.split()) <= words]
    assert known, "say in RUN_BY which test runs it"
    for place in known:
        module, _, test = place.partition("::")
        assert f"def {test}" in (PROJECT / module).read_text(encoding="utf-8") or module == BY_CI


def test_make_knows_its_targets() -> None:
    """Of those that tests do not run, too."""
    for target in {command.split()[-1] for _, command in COMMANDS if command.startswith("make ")} - {"#"}:
        subprocess.run(["make", "--dry-run", "--silent", target, "FILE=file.csv"], cwd=PROJECT, check=True, capture_output=True)


def test_completion_is_there() -> None:
    assert {"install_completion", "show_completion"} <= {parameter.name for parameter in typer.main.get_command(app).params}


@pytest.mark.parametrize("command", sorted({command for _, command in COMMANDS if command.startswith(("prefect flow-run ", "prefect artifact "))}))
def test_prefect_has_the_commands_of_the_runbook(command: str) -> None:
    """Their options, too; tests of flows run what they do."""
    words = [word for word in shlex.split(command) if word != "ID"]
    told = subprocess.run([PREFECT, *words[1:3], "--help"], capture_output=True, text=True, check=True).stdout
    assert [word for word in words[3:] if word.startswith("-") and word not in told] == []
