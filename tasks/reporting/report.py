"""The report of a run: one self-contained HTML file, readable without a network or a script.

    path = write_report(run_folder)        # <run_folder>/report/index.html

It is made from manifest.json, summary.json, quality/gates.json and tables/*.parquet; a part that the run does not have leaves a sentence.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import jinja2
import pandas as pd
import yaml

from tasks.files import write_atomically
from tasks.reporting import charts, formats, sentences, tables, views
from tasks.reporting.charts import NARROW, WIDE
from tasks.reporting.contents import SPLITS, Contents, Statistic, read_contents
from tasks.reporting.views import GroupRow, HeadlineRow, Scores

TEMPLATES = Path(__file__).parent / "templates"


class Figure(NamedTuple):
    """A chart drawn twice, for a wide page and for a phone."""

    wide: str
    narrow: str


def write_report(run_folder: Path) -> Path:
    """Render the report and put it in place at once. Raises StepError when the run lacks what a report cannot do without."""
    page = render(read_contents(run_folder))
    path = run_folder / "report" / "index.html"
    with write_atomically(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def render(contents: Contents) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    scores = views.read_scores(views.comparable(contents.tables.get("metrics"), reader=contents.reader))
    parts = _study(contents) | _headline(contents, scores) | _groups(contents, scores) | _gaps(contents) | _landscape(contents)
    return environment.get_template("report.html.j2").render(parts | _run(contents))


def _overlaps(split: dict[str, Any]) -> bool:
    """Respondents of a country or wave that is held out count in no trained subgroup."""
    return bool(split.get("overlap", "keep") == "keep" and split.get("kind", "unseen_subgroup") == "unseen_subgroup")


def _study(contents: Contents) -> dict[str, Any]:
    manifest = contents.manifest
    return {
        "title": formats.label(manifest["study"].get("title") or manifest["study_name"], limit=200),
        "study_name": formats.label(manifest["study_name"]),
        "run_id": formats.label(manifest["run_id"]),
        "subject": sentences.subject(contents),
        "synthetic": contents.synthetic,
        "trained": contents.trained,
        "notes": [formats.label(note, limit=1000) for note in manifest["study"].get("notes") or ()],
        "card": tables.study_card(contents),
        "overlap_kept": _overlaps(manifest["study"].get("split", {})),
        "version": formats.label(manifest.get("versions", {}).get("valuescape", "")),
        "file_sha256": formats.label(contents.summary["survey"].get("file_sha256")),
    }


def _headline(contents: Contents, scores: Scores) -> dict[str, Any]:
    rows = views.headline_rows(contents, scores)
    basis = _basis(contents)
    splits = [split for split in SPLITS if any(row.results[split].accuracy for row in rows)]
    changes = {split: contents.statistic("controls", "persona_changes_answer", split) for split in splits}
    return {
        "basis": basis,
        "sentences": sentences.headline(contents),
        "outside": sentences.mass_outside(contents),
        "headline_chart": _figure(charts.headline, _bars(rows, splits), name="headline", description="Accuracy of models, controls and baselines"),
        "headline_tables": [
            (tables.headline(rows, split=split, basis=basis), formats.percent(changes[split]) if changes[split] else "") for split in splits
        ],
        "controls": any(row.kind == "control" for row in rows),
    }


def _bars(rows: list[HeadlineRow], splits: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"panel": tables.SPLIT_NAMES[split], "name": row.name, "kind": _bar_kind(row), "accuracy": accuracy.value}
            for split in splits
            for row in rows
            if (accuracy := row.results[split].accuracy)
        ]
    )


def _bar_kind(row: HeadlineRow) -> str:
    return row.name.split()[0].lower() if row.kind == "model" else row.kind


def _groups(contents: Contents, scores: Scores) -> dict[str, Any]:
    split = views.main_split(contents.summary)
    where = f"{tables.SPLIT_NAMES[split]} ({split}), {_basis(contents)}"
    levels = views.level_rows(contents, scores)
    subgroups = views.subgroup_rows(contents, scores, split=split)
    caption = f"Accuracy and NMAE by level: pairs whose subgroup has that level. {where}."
    listed = f"Accuracy and NMAE by subgroup, from the largest gain to the largest loss; few pairs each, so the order is mostly chance. {where}."
    drawn = {
        "level_chart": _dumbbell(levels, metric="accuracy", name="levels"),
        "nmae_chart": _dumbbell(levels, metric="nmae", name="nmae"),
    }
    return drawn | {
        "levels": tables.groups(levels, caption=caption, by_dimension=True) if levels else None,
        "subgroups": tables.groups(subgroups, caption=listed, by_dimension=False) if subgroups else None,
        "subgroup_count": len(subgroups),
        "shown_from": contents.shown_from,
        "where": where,
    }


def _dumbbell(rows: Sequence[GroupRow], *, metric: str, name: str) -> Figure | None:
    accuracy = metric == "accuracy"
    frame = pd.DataFrame(
        [
            {
                "dimension": row.dimension,
                "name": row.name,
                "base": _value(row.base if accuracy else row.base_nmae),
                "tuned": _value(row.tuned if accuracy else row.tuned_nmae),
                "national": _value(row.national if accuracy else None),
            }
            for row in rows
        ]
    )
    if frame.empty or frame["base"].isna().all():
        return None

    def draw(drawn: pd.DataFrame, *, canvas: charts.Canvas) -> alt.TopLevelMixin:
        return charts.dumbbell(drawn, canvas=canvas, share=accuracy)

    return _figure(draw, frame, name=name, description=f"{tables.METRIC_NAMES[metric]} by level, base and tuned; the numbers are in the table below")


def _gaps(contents: Contents) -> dict[str, Any]:
    split = views.main_split(contents.summary)
    rows = views.gap_rows(views.comparable(contents.tables.get("disparities"), reader=contents.reader), split=split)
    named = f"the {'tuned' if contents.trained else 'base'} model's are named"
    caption = f"Distance between the best and the worst level of a dimension ({named}). {tables.SPLIT_NAMES[split]} ({split}), {_basis(contents)}."
    return {"gaps": tables.gaps(rows, caption=caption) if rows else None}


def _landscape(contents: Contents) -> dict[str, Any]:
    means, contested = views.landscape_means(contents), views.contested_rows(contents)
    basis = f"Targets {tables.weighting(contents)}"
    chart = None if means.empty else _figure(charts.heat_map, means, name="landscape", description="Mean MDS by topic and dimension")
    caption = f"Questions whose most common answer differs most between subgroups. {basis}."
    return {
        "heat_map": chart,
        "means": None if means.empty else tables.landscape(means, caption=f"Mean MDS by dimension and topic. {basis}."),
        "contested": tables.contested(contested, caption=caption) if contested else None,
        "landscape_basis": basis,
    }


def _run(contents: Contents) -> dict[str, Any]:
    log = contents.tables.get("training_log")
    curve = None
    if log is not None and log["loss"].notna().any():
        curve = _figure(charts.training_curve, log, name="curve", description="Training and validation loss by optimizer step")
    timings = tables.timings(contents)
    return {
        "curve": curve,
        "gates": contents.gates,
        "timings": timings if timings.blocks[0].rows else None,
        "configuration": formats.block(yaml.safe_dump(_without_paths(contents.manifest["study"]), sort_keys=False, allow_unicode=True, width=100)),
    }


def _figure(make: Callable[..., alt.TopLevelMixin], frame: pd.DataFrame, *, name: str, description: str) -> Figure:
    wide, narrow = (
        charts.draw(make(frame, canvas=canvas), name=f"{name}-{suffix}", description=description)
        for canvas, suffix in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    return Figure(wide, narrow)


def _basis(contents: Contents) -> str:
    return f"targets {tables.weighting(contents)}, every pair counts alike"


def _value(statistic: Statistic | None) -> float:
    return statistic.value if statistic else math.nan


def _without_paths(value: Any) -> Any:
    """Whole paths cut to the file's name: a report is passed on, and a path names people and machines."""
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
