"""The conventions of the house, as tests: what CONTRIBUTING.md asks for and a reviewer would otherwise have to see."""

import ast
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tasks.study import load_study, shipped_studies

PROJECT = Path(__file__).resolve().parents[1]
STAGES = ("intake", "warehouse", "quality", "subgroups", "prompting", "training", "evaluation", "fairness", "reporting")
OPEN_TO_ALL = "tasks.warehouse.database"
LONGEST_MODULE = 400
TEXT = {".py", ".sql", ".yaml", ".yml", ".toml", ".md", ".txt", ".csv", ".html", ".css", ".js", ".json", ""}
MACHINE_PATH = re.compile("(?<![\\w.:/])/(?:" + "|".join(["work", "root", "home", "Users", "mnt", "tmp"]) + r")/[\w.]")

MODULES = sorted(path for folder in ("flows", "tasks", "tests") for path in (PROJECT / folder).rglob("*.py"))
SQL_FILES = sorted((PROJECT / "sql").rglob("*.sql"))


def named(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def imports_of(module: Path) -> set[str]:
    """Every module that is imported anywhere in the file, as `a.b.c` (and `a.b.c.name` for `from a.b.c import name`)."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def project_texts() -> list[Path]:
    """The files of the project, without environments, workspaces and caches: hidden folders other than .ci are no part of it."""
    folders = ("flows", "tasks", "tests", "sql", "infra", "benchmarks", ".ci")
    inside = [path for folder in folders for path in (PROJECT / folder).rglob("*") if "__pycache__" not in path.parts]
    return sorted(path for path in [*inside, *PROJECT.glob("*")] if path.is_file() and path.suffix in TEXT)


def test_under_tasks_only_steps_import_prefect() -> None:
    plain = [path for path in MODULES if path.is_relative_to(PROJECT / "tasks") and path.name != "steps.py"]
    assert [named(path) for path in plain if "prefect" in {name.split(".")[0] for name in imports_of(path)}] == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_from_earlier_stages_only(stage: str) -> None:
    later = {f"tasks.{other}" for other in STAGES[STAGES.index(stage) + 1 :]} | {"flows"}
    for module in (PROJECT / "tasks" / stage).rglob("*.py"):
        names = {name for name in imports_of(module) if not name.startswith(OPEN_TO_ALL) and name != "tasks.warehouse"}
        assert {name for name in names for root in later if name == root or name.startswith(f"{root}.")} == set(), named(module)


def test_every_folder_of_tasks_is_a_stage() -> None:
    folders = {path.name for path in (PROJECT / "tasks").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(STAGES)


def test_package_files_are_empty() -> None:
    assert [named(path) for path in MODULES if path.name == "__init__.py" and path.read_text(encoding="utf-8")] == []


def test_a_module_begins_by_saying_what_it_is() -> None:
    modules = [path for path in MODULES if path.name != "__init__.py" and not path.is_relative_to(PROJECT / "tests")]
    assert [named(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))] == []


def test_a_module_can_be_read_in_one_sitting() -> None:
    assert [named(path) for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_MODULE] == []


def test_sql_starts_with_its_grain_or_with_what_a_failure_means() -> None:
    def starts_well(file: Path) -> bool:
        return file.read_text(encoding="utf-8").startswith("-- one row " if file.parent.name == "checks" else "-- one row per ")

    assert [named(file) for file in SQL_FILES if not starts_well(file)] == []


def test_no_two_sql_files_make_a_relation_of_the_same_name() -> None:
    names = [file.stem for file in SQL_FILES]
    assert {name for name in names if names.count(name) > 1} == set()


def test_no_file_names_a_path_of_one_machine() -> None:
    found = {named(file): MACHINE_PATH.findall(file.read_text(encoding="utf-8-sig")) for file in project_texts()}
    assert {file: paths for file, paths in found.items() if paths} == {}


@pytest.mark.parametrize("name", shipped_studies())
def test_a_shipped_study_loads_and_its_header_is_the_command_that_runs_it(name: str) -> None:
    assert load_study(name).name == name
    first = (PROJECT / "flows" / "studies" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(f"# valuescape run {name}")


def test_every_deployment_names_a_flow_and_parameters_that_it_has() -> None:
    for deployment in yaml.safe_load((PROJECT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]:
        file, _, function = deployment["entrypoint"].partition(":")
        tree = ast.parse((PROJECT / file).read_text(encoding="utf-8"))
        flow = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}[function]
        assert set(deployment["parameters"]) <= {argument.arg for argument in [*flow.args.args, *flow.args.kwonlyargs]}


def test_every_direct_dependency_is_pinned_to_a_version_in_its_range() -> None:
    lines = [line for line in (PROJECT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    pins = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [Requirement(line) for line in [*project["dependencies"], *project["optional-dependencies"]["dev"]]]
    assert all(pins.values()), "every line is name==version"
    assert not [one.name for one in needed if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0"))]
