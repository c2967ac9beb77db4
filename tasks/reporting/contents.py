"""What a run folder holds, read once and checked: strict about what a report cannot do without, tolerant of the rest.

contents = read_contents(run_folder)
contents.tables["metrics"]          a frame; absent when the run has no such table
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import StepError
from tasks.study import SHOWN_FROM

TABLES: dict[str, tuple[str, ...]] = {
    "metrics": ("model", "split", "variant", "dimension", "group", "metric", "value"),
    "metrics_by_topic": ("topic", "model", "split", "reader", "dimension", "group", "metric", "value", "low", "high", "pairs"),
    "disparities": ("model", "split", "dimension", "metric", "gap", "worst_level", "best_level"),
    "subgroups": ("subgroup_id", "subgroup_order", "dimensions", "levels", "respondents"),
    "landscape": ("item", "topic", "dimension", "subgroups", "mds"),
    "landscape_topics": ("topic", "dimension", "mds", "mds_expected", "low", "high", "mds_sampling"),
    "pairs": ("item", "topic", "subgroup_id", "subgroup_order", "split", "codes", "shares", "code", "respondents"),
    "predictions": ("model", "reader", "variant", "split", "item", "subgroup_id", "probabilities", "choice"),
    "training_log": ("step", "loss", "validation_loss"),
    "items": ("item", "question"),
    "options": ("item", "code", "wording"),
    "replications": ("model", "split", "reader", "variant", "weighting", "dimension", "metric", "replications", "value", "sd", "low", "high"),
}
MANIFEST_KEYS = ("study", "study_name", "run_id", "survey")
SUMMARY_KEYS = ("synthetic", "pairs", "base", "baselines")
SPLITS = ("ood_test", "id_test")
REMEDY = "Run the study again (a step that already succeeded is taken from its cache), or delete this run."


class Statistic(NamedTuple):
    """A number and its interval; `low` and `high` are None until intervals are computed."""

    value: float
    low: float | None = None
    high: float | None = None


class Gate(NamedTuple):
    """A gate's counts of expectations; `docs` names the pages of its Data Docs under quality/<stage>/, one per table or check."""

    stage: str
    passed: int
    failed: int
    docs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Contents:
    """A run, as a report sees it. A table that the run does not have is absent from `tables`."""

    folder: Path
    manifest: dict[str, Any]
    summary: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    gates: tuple[Gate, ...]

    @property
    def synthetic(self) -> bool:
        return bool(self.summary["synthetic"])

    @property
    def trained(self) -> bool:
        return bool(self.summary.get("tuned"))

    @property
    def asked_from(self) -> int:
        """Valid answers of the smallest cell that the study asks about."""
        return int(setting(self.manifest, "study", "subgroups", "minimum_respondents", default=SHOWN_FROM))

    @property
    def shown_from(self) -> int:
        """Respondents of the smallest cell that a report shows, however small the study's own are."""
        return max(SHOWN_FROM, self.asked_from)

    @property
    def reader(self) -> str:
        return str(self.summary.get("reader", "likelihood"))

    @property
    def held_out(self) -> str:
        """The kind of thing that the study holds out."""
        return str(setting(self.manifest, "study", "split", "kind", default="unseen_subgroup"))

    @property
    def replications(self) -> int:
        return int(setting(self.manifest, "study", "replications", default=1))

    def statistic(self, *keys: str) -> Statistic | None:
        """A number of summary.json by its path, such as ("tuned", "accuracy", "ood_test")."""
        return statistic_at(self.summary, *keys)


def read_contents(folder: Path) -> Contents:
    """Read a run folder. Raises StepError that names the file when an essential part is absent, or a present one unreadable."""
    manifest = _read_object(folder / "manifest.json", MANIFEST_KEYS)
    summary = _read_object(folder / "summary.json", SUMMARY_KEYS)
    check_numbers(folder, summary)
    _check_synthetic(folder, manifest, summary)
    found = {name: _read_table(folder / "tables" / f"{name}.parquet", columns) for name, columns in TABLES.items()}
    tables = {name: frame for name, frame in found.items() if frame is not None}
    return Contents(folder, manifest, summary, tables, _read_gates(folder))


def setting(values: Any, *keys: str, default: Any) -> Any:
    """The value at a path of nested mappings, or `default` where the path ends early or holds null."""
    for key in keys:
        if not isinstance(values, Mapping) or key not in values:
            return default
        values = values[key]
    return default if values is None else values


def statistic_at(summary: Mapping[str, Any], *keys: str) -> Statistic | None:
    return as_statistic(setting(summary, *keys, default=None))


def as_statistic(value: Any) -> Statistic | None:
    """`{value, low, high}` or a bare number as a Statistic; None when there is no finite number."""
    if not isinstance(value, Mapping):
        value = {"value": value}
    number = finite(value.get("value"))
    return None if number is None else Statistic(number, finite(value.get("low")), finite(value.get("high")))


def finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _read_object(path: Path, required: tuple[str, ...]) -> dict[str, Any]:
    values = _read_json(path)
    if values is None:
        raise StepError(f"{path} is missing, and a report is made from it. {REMEDY}")
    if not isinstance(values, dict):
        raise StepError(f"{path} holds a {type(values).__name__}, expected an object with {', '.join(required)}. {REMEDY}")
    absent = [key for key in required if values.get(key) is None]
    if absent:
        raise StepError(f"{path} lacks {', '.join(absent)}, expected {', '.join(required)}. {REMEDY}")
    return values


def _read_json(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StepError(f"{path} is not readable JSON: {error}. {REMEDY}") from error


def check_numbers(folder: Path, summary: dict[str, Any]) -> None:
    """An accuracy never stands alone: the base model and the national mode must share a split."""
    for split in SPLITS:
        base = setting(summary, "base", "accuracy", split, default=None)
        baseline = setting(summary, "baselines", "national_mode", "accuracy", split, default=None)
        if as_statistic(base) and as_statistic(baseline):
            return
    raise StepError(
        f"{folder / 'summary.json'} has no split with both base.accuracy and baselines.national_mode.accuracy "
        f"(looked for {' and '.join(SPLITS)}): an accuracy is never shown without its baseline. {REMEDY}"
    )


def _check_synthetic(folder: Path, manifest: dict[str, Any], summary: dict[str, Any]) -> None:
    """Synthetic numbers must never pass for a survey's: both files have to say the same."""
    said = manifest.get("synthetic", summary["synthetic"])
    if not isinstance(summary["synthetic"], bool) or said is not summary["synthetic"]:
        raise StepError(
            f"{folder}: manifest.json says synthetic: {said!r}, summary.json says {summary['synthetic']!r}; "
            f"expected the same true or false in both. {REMEDY}"
        )


def _read_table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    try:
        held = pq.read_schema(path).names
        absent = [column for column in columns if column not in held]
        if absent:
            raise StepError(f"{path} lacks the columns {', '.join(absent)}, found {', '.join(held)}. {REMEDY}")
        wanted = list(columns) if path.stem in ("predictions", "pairs") else None  # the tables with a row per answer
        return pd.read_parquet(path, columns=wanted)
    except (OSError, pa.ArrowException) as error:
        raise StepError(f"{path} is not readable Parquet: {error}. {REMEDY}") from error


def _read_gates(folder: Path) -> tuple[Gate, ...]:
    """quality/gates.json: [{stage, passed, failed}, ...] in the order of the flow."""
    return tuple(_gate(folder, entry) for entry in _read_json(folder / "quality" / "gates.json") or [])


def _gate(folder: Path, entry: dict[str, Any]) -> Gate:
    stage = str(entry.get("stage", "?"))
    docs = sorted(page.stem for page in (folder / "quality" / stage).glob("*.html"))
    return Gate(stage, int(entry.get("passed") or 0), int(entry.get("failed") or 0), tuple(docs))
