"""docs/reference, made from the code: the command line, the keys of a study, the tables of a run.

    python -m tests.reference workspace/runs/sample/latest docs/reference          (make reference)

The run says which columns tables have; tests compare the pages with the code, and the columns with another run.
"""

import json
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pandas as pd
import typer
from typer.cli import get_docs_for_click

from flows.cli import app
from tasks.study import Study
from tasks.warehouse.database import SQL_FOLDER

MADE_IN_PYTHON = {
    "agreement": "One row per model and two of its readers, on the compared pairs: how often both choose the same, with Cohen's kappa.",
    "disparities": "One row per model, split, reader, variant, weighting, dimension and metric: how far apart the dimension's levels are.",
    "judge": "What the judge of free answers makes of the labelled texts, of all and by scale, level and style.",
    "metrics": "One row per model, split, reader, variant, weighting, group and metric, with interval; p of paired differences.",
    "metrics_by_topic": "One row per topic, model, split, reader, subgroup or level, and metric, with its interval.",
    "overlap": "The audit of shared respondents: accuracy on targets of the half that was learned from, of the other, and the difference.",
    "overlap_subgroups": "One row per unseen subgroup: how much of it is in trained tables, and how far the nearest trained subgroup is.",
    "predictions": "One row per model, reader, variant and test pair: the probability of each option, the choice, and the mass outside.",
    "replications": "With several replications: each metric's mean, and its spread over seeds of split and training.",
    "responses": "Free answers to the compared pairs, with the judge's verdict.",
    "robustness": "One row per model and rewording: accuracy on the compared pairs, plainly asked and reworded, and the ranking of levels.",
    "training_log": "One row per optimizer step.",
}
STUDY_TEXT = """# The keys of a study

A study is a YAML file (`flows/studies/` has examples); a single key is set with `--set section.key=value`. Unknown keys are refused.
`like: NAME`, at the top of the file, takes all that is not said from another study, its name and title included. Made from the
code by `make reference`.
"""
TABLES_TEXT = """# The tables of a run

Each is `tables/NAME.parquet` in the run's folder, and a table of `study.duckdb`. They hold exact shares and stay private (README). A run has those
that its study asks for. `pairs` is the one to begin with. Made from the code and a run by `make reference`.
"""


def command_line() -> str:
    command: Any = typer.main.get_command(app)
    with command.make_context("valuescape", ["runs"]) as context:
        context.command = command
        text = get_docs_for_click(obj=command, ctx=context, name="valuescape")
    return "\n".join(line.rstrip() for line in text.strip().splitlines()) + "\n"


def study_keys() -> str:
    schema = Study.model_json_schema()
    return "\n".join([STUDY_TEXT, *_sections("", schema, sections=schema["$defs"])])


def _sections(path: str, section: dict[str, Any], *, sections: dict[str, Any]) -> list[str]:
    """A section with its keys, then the sections in it."""
    text = " ".join(section.get("description", "").split())
    rows = ["| key | holds | left out |", "|---|---|---|"]
    within = []
    for key, described in section["properties"].items():
        rows.append(f"| `{key}` | {_held(described)} | {_left_out(key, described, section)} |")
        for name in _targets(described):
            inner = f"{path}.{key}".lstrip(".")
            within += _sections(inner if described.get("type") != "object" else f"{inner}.NAME", sections[name], sections=sections)
    return [f"## {f'`{path}`' if path else 'At the top'}\n\n{text}\n\n" + "\n".join(rows) + "\n", *within]


def _left_out(key: str, described: dict[str, Any], section: dict[str, Any]) -> str:
    """What holds when the key is left out."""
    if key in section.get("required", []):
        return "required"
    return "" if "$ref" in described or "default" not in described else f"`{json.dumps(described['default'])}`"


def _targets(described: dict[str, Any]) -> list[str]:
    """The sections that a key may hold, under names of the user's own for an object."""
    held = [described, *described.get("anyOf", []), *described.get("patternProperties", {}).values()]
    return [str(each["$ref"]).rpartition("/")[2] for each in held if "$ref" in each]


def _held(described: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "anyOf" in described:
        return " or ".join(_held(each) for each in described["anyOf"])
    if "enum" in described:
        return ", ".join(f"`{each}`" for each in described["enum"])
    if "const" in described:
        return f"`{described['const']}`"
    if "$ref" in described:
        return "a section, below"
    kind = str(described.get("type", "anything"))
    if kind == "array":
        return f"list of {_held(described['items'])}" if "items" in described else "list"
    if "patternProperties" in described:
        return "names, each with a section, below"
    if kind == "object":
        held = described.get("additionalProperties")
        return f"names, each with {_held(held)}" if isinstance(held, dict) else "names and values"
    bounds = {"minimum": "at least", "exclusiveMinimum": "over", "maximum": "at most", "exclusiveMaximum": "under"}
    limits = ", ".join(f"{words} {described[bound]}" for bound, words in bounds.items() if bound in described)
    return f"{kind} {limits}".strip()


def tables(run: Path) -> str:
    found = sorted((run / "tables").glob("*.parquet"))
    return "\n".join([TABLES_TEXT, *(described(path.stem, list(pd.read_parquet(path).columns)) for path in found)])


def described(name: str, columns: list[str]) -> str:
    return f"## {name}\n\n{meaning(name)}\n\nColumns: {', '.join(f'`{column}`' for column in columns)}.\n"


def meaning(name: str) -> str:
    """The comment at the head of the table's SQL, or what is said above."""
    if name in MADE_IN_PYTHON:
        return MADE_IN_PYTHON[name]
    (path,) = SQL_FOLDER.glob(f"*/{name}.sql")
    comment = takewhile(lambda line: line.startswith("--"), path.read_text(encoding="utf-8").splitlines())
    text = " ".join(line.removeprefix("--").strip() for line in comment).replace("$minimum_respondents", "the study's minimum of respondents")
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def main() -> None:
    run, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    for name, text in (("command-line", command_line()), ("study", study_keys()), ("tables", tables(run))):
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        print(out / f"{name}.md")


if __name__ == "__main__":
    main()
