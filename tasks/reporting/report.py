"""The report of a run: one self-contained HTML file that opens from disk and loads nothing.

    path = write_report(run_folder)        # <run_folder>/report/index.html

It is made from manifest.json, summary.json, quality/gates.json, tables/*.parquet and responses/*.parquet; a part that the run does not have leaves a
sentence. Scripts serve the explorers and the downloads only: everything else is there without them.
"""

import base64
import hashlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import jinja2
import pandas as pd
import yaml

from tasks.fairness.intervals import FEWEST_QUESTIONS
from tasks.files import write_atomically
from tasks.reporting import card, charts, examples, explorer, formats, groups, landscape, names, sentences, tables, views
from tasks.reporting.charts import NARROW, WIDE
from tasks.reporting.contents import SPLITS, Contents, Statistic, as_statistic, read_contents, setting
from tasks.reporting.disparity import METRICS, disparity_rows
from tasks.reporting.groups import GroupRow
from tasks.reporting.overlap import overlap_parts
from tasks.reporting.views import HeadlineRow, Scores

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


def templates() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )


def render(contents: Contents) -> str:
    scores = views.read_scores(views.on_one_footing(contents.tables.get("metrics"), reader=contents.reader))
    parts = _study(contents) | _headline(contents) | _groups(contents, scores) | _disparity(contents) | _landscape(contents)
    parts |= overlap_parts(contents) | _asking(contents) | _run(contents) | _scripted(contents, scores)
    return templates().get_template("report.html.j2").render(parts)


def _study(contents: Contents) -> dict[str, Any]:
    manifest = contents.manifest
    return {
        "title": formats.label(manifest["study"].get("title") or manifest["study_name"], limit=200),
        "study_name": formats.label(manifest["study_name"]),
        "run_id": formats.label(manifest["run_id"]),
        "synthetic": contents.synthetic,
        "trained": contents.trained,
        "notes": [formats.label(note, limit=1000) for note in manifest["study"].get("notes") or ()],
        "card": card.study_card(contents),
        "overlap_kept": _overlaps(setting(manifest, "study", "split", default={})),
        "replications": contents.replications,
        "version": formats.label(setting(manifest, "versions", "valuescape", default="")),
        "file_sha256": formats.label(setting(contents.summary, "survey", "file_sha256", default=formats.ABSENT)),
    }


def _overlaps(split: dict[str, Any]) -> bool:
    """Respondents of a country or wave that is held out count in no trained subgroup."""
    return bool(split.get("overlap", "keep") == "keep" and split.get("kind", "unseen_subgroup") == "unseen_subgroup")


def _headline(contents: Contents) -> dict[str, Any]:
    rows = views.headline_rows(contents)
    basis = _basis(contents)
    splits = [split for split in SPLITS if any(row.results[split].accuracy for row in rows)]
    over = {split: names.baseline(views.reference(contents.summary, split)).lower() for split in splits}
    changes = {split: contents.statistic("controls", "persona_changes_answer", split) for split in splits}
    skills = [tables.skill(contents.summary, where=_where(contents, split), split=split) for split in splits]
    compared = [key for part in ("controls", "baselines") for key, found in (contents.summary.get(part) or {}).items() if found]
    main = views.main_split(contents.summary)
    ceiling, certainty = (as_statistic(setting(contents.summary, key, main, default=None)) for key in ("ceiling", "target_certainty"))
    return {
        "basis": basis,
        "headline_chart": drawn(
            charts.headline, _bars(contents, rows, splits), name="headline", description="Accuracy of models, controls and baselines"
        ),
        "headline_tables": [
            (
                tables.headline(rows, where=_where(contents, split), split=split, basis=basis, over=over[split], pairs=contents.summary["pairs"]),
                formats.percent(changes[split]) if changes[split] else "",
            )
            for split in splits
        ],
        "metrics_table": tables.all_metrics(contents.summary, where=_where(contents, main), split=main),
        "replications_table": _replications(contents, main),
        "skill_tables": [table for table in skills if table.blocks[0].rows],
        "explained": [names.EXPLAINED[key] for key in names.in_order(names.EXPLAINED, compared) if key in names.EXPLAINED],
        "controls": any(row.kind == "control" for row in rows),
        "reference": names.baseline(views.reference(contents.summary, main)).lower(),
        "ceiling": formats.percent(ceiling) if ceiling else "",
        "certainty": formats.percent(certainty) if certainty else "",
    }


def _bars(contents: Contents, rows: list[HeadlineRow], splits: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"panel": names.split(split, kind=contents.held_out), "name": row.name, "kind": _bar_kind(row), "accuracy": accuracy.value}
            | {"low": _or_nan(accuracy.low), "high": _or_nan(accuracy.high)}
            for split in splits
            for row in rows
            if (accuracy := row.results[split].accuracy)
        ]
    )


def _replications(contents: Contents, split: str) -> tables.Table | None:
    frame = contents.tables.get("replications")
    if frame is None:
        return None
    table = tables.replications(frame, where=_where(contents, split), split=split, reader=contents.reader)
    return table if table.blocks[0].rows else None


def _bar_kind(row: HeadlineRow) -> str:
    return row.name.split()[0].lower() if row.kind == "model" else row.kind


def _groups(contents: Contents, scores: Scores) -> dict[str, Any]:
    split = views.main_split(contents.summary)
    where = f"{_where(contents, split)}, {_basis(contents)}"
    levels = groups.level_rows(contents, scores)
    subgroups = groups.subgroup_rows(contents, scores, split=split)
    caption = (
        f"Accuracy and NMAE by level: pairs whose subgroup has that level, standardised to the same partner levels where they can be (cut at 0 "
        f"and 100%). As many pairs as questions: a level that rests on one held-out intersection, and may be that one's peculiarity. {where}."
    )
    return {
        "findings": sentences.summary(contents, groups.change_counts(subgroups)),
        "level_chart": _dumbbell(levels),
        "levels": tables.levels(levels, caption=caption) if levels else None,
        "level_topics": groups.levels_by_topic(contents, scores),
        "level_topics_caption": _topics_caption(contents, where=where),
        "subgroup_count": len(subgroups),
        "shown_from": contents.shown_from,
        "where": where,
    }


def _topics_caption(contents: Contents, *, where: str) -> str:
    word = "tuned" if contents.trained else "base"
    caption = f"Accuracy of the {word} model by level and topic, from {groups.FEWEST_PAIRS} pairs on; the deeper the colour the better."
    if contents.trained:
        marks = f"{groups.RISEN} or {groups.FALLEN}"
        caption += f" Bold with {marks}: surely changed by fine-tuning, by itself; topics of under {FEWEST_QUESTIONS} questions have no mark."
    return f"{caption} {where}."


def _dumbbell(rows: list[GroupRow]) -> Figure | None:
    frame = pd.DataFrame(
        [
            {"dimension": row.dimension, "name": row.name, "national": row.national.value if row.national else math.nan}
            | _with_bounds("base", row.base)
            | _with_bounds("tuned", row.tuned)
            for row in rows
        ]
    )
    if frame.empty or frame["base"].isna().all():
        return None
    description = "Accuracy by level, base and tuned, with intervals; the numbers are in the table below"
    return drawn(charts.dumbbell, frame, name="levels", description=description)


def _with_bounds(name: str, statistic: Statistic | None) -> dict[str, float]:
    values = statistic or (None, None, None)
    return dict(zip([name, f"{name}_low", f"{name}_high"], map(_or_nan, values), strict=True))


def _disparity(contents: Contents) -> dict[str, Any]:
    split = views.main_split(contents.summary)
    where = f"{_where(contents, split)}, targets {sentences.weighting(contents)}"
    rows = [row for metric in METRICS for row in disparity_rows(contents.summary, metric=metric)]
    tested = [row for row in rows if any(row.between.values())]
    named = f"the {'tuned' if contents.trained else 'base'} model's are named"
    gaps = (
        f"Distance between the best and the worst level of a dimension ({named}), as it is; adjusted: that of the noise-adjusted scores, less what "
        f"chance alone makes of it. {where}."
    )
    if any(row.standardised is False for row in rows):
        gaps += f" {tables.NOT_STANDARDISED} not standardised: its held-out intersections do not tie its levels together; each averages its own."
    primary = (
        "How much levels differ beyond chance: standard deviation between levels of the noise-adjusted scores, signed as its variance component "
        f"(below zero: levels differ less than noise would make them). A change is one of these deviations, its test one "
        f"of the variances; p is adjusted over all rows. {where}."
    )
    effects = (
        "Effects: accuracy of a level less the mean over the levels of its dimension, in points, with intervals over the questions. Which of them is "
        f"furthest from zero was not chosen before. {where}."
    )
    named_levels = [row for row in rows if row.metric == "accuracy" and row.effects]
    return {
        "level_effects": tables.level_effects(named_levels, caption=effects) if named_levels else None,
        "gaps": tables.gaps(rows, caption=gaps) if rows else None,
        "disparities": tables.disparities(tested, caption=primary) if tested else None,
        "margin": f"{setting(contents.manifest, 'study', 'fairness', 'margin', default=sentences.CLOSE):g}",
    }


def _landscape(contents: Contents) -> dict[str, Any]:
    means = landscape.topic_means(contents)
    basis = f"Targets {sentences.weighting(contents)}"
    most, least = (landscape.contested_rows(contents, most=most) for most in (True, False))
    differ, agree = (
        f"Questions whose most common answer differs most between subgroups. {basis}.",
        f"Questions on which subgroups agree most. {basis}.",
    )
    return {
        "heat_map": None if means.empty else landscape.heat_map(means),
        "topics": None if means.empty else tables.topics(_by_dimension(means), caption=f"Mean MDS by dimension and topic. {basis}."),
        "most_contested": tables.contested(most, caption=differ) if most else None,
        "least_contested": tables.contested(least, caption=agree) if least else None,
        "landscape_basis": basis,
    }


def _by_dimension(means: pd.DataFrame) -> list[dict[Any, Any]]:
    return means.sort_values(["crossed", "dimension", "topic"], kind="stable").to_dict("records")


def _asking(contents: Contents) -> dict[str, Any]:
    """How answers were read, other wordings, free answers."""
    summary = contents.summary
    agreement = [row for row in summary.get("agreement") or () if "open_ended" not in (row["reader"], row["other"])]
    robustness, judge, server = summary.get("robustness"), summary.get("judge"), summary.get("server")
    free = any((summary.get(model) or {}).get("open_ended") for model in ("base", "tuned"))
    agree = "Two answer readers on the same pairs: how often they name the same option; of each its accuracy, and what it could not read."
    reworded = "Accuracy when the same is asked in other words, on the same pairs; change with its 95% interval."
    freely = "Free answers, as the judge reads them, and the usual answers to the same pairs."
    judged = "The judge on labelled texts. Kappa: agreement beyond chance; bias: by how much of the scale it is too high."
    return {
        "reading": sentences.reading(contents),
        "sampled": sentences.sampled(contents),
        "agreement": tables.agreement(agreement, caption=agree) if agreement else None,
        "robustness": tables.robustness(robustness, caption=reworded) if robustness else None,
        "transfer": tables.transfer(summary, caption=freely) if free else None,
        "judge": tables.judge(judge["by"], caption=judged) if judge else None,
        "judge_usable": bool(judge and judge["usable"]),
        "judge_kappa": formats.decimal(judge["kappa"]) if judge else "",
        "examples": examples.free_answers(contents) if free else [],
        "server": tables.server(server) if server else None,
        "server_failures": ", ".join(f"{formats.label(kind)}: {count}" for kind, count in (server or {}).get("failed_attempts", {}).items()),
    }


def _run(contents: Contents) -> dict[str, Any]:
    log = contents.tables.get("training_log")
    curve = None
    if log is not None and log["loss"].notna().any():
        curve = drawn(charts.training_curve, log, name="curve", description="Training and validation loss by optimizer step")
    timings = tables.timings(contents)
    return {
        "curve": curve,
        "gates": contents.gates,
        "timings": timings if timings.blocks[0].rows else None,
        "configuration": formats.block(yaml.safe_dump(_without_paths(contents.manifest["study"]), sort_keys=False, allow_unicode=True, width=100)),
    }


def _scripted(contents: Contents, scores: Scores) -> dict[str, Any]:
    """The explorers' data, and the script with the hash by which the page's policy lets it run, and no other."""
    script = (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    found = explorer.explorer_data(contents, scores)
    return {
        "script": script,
        "script_hash": f"sha256-{digest}",
        "explorer_data": explorer.as_text(found),
        "explores_groups": bool(found["groups"]),
        "explores_questions": bool(found["questions"]),
        "left_out": found["left_out"],
    }


def drawn(make: Callable[..., alt.TopLevelMixin], frame: pd.DataFrame, *, name: str, description: str) -> Figure:
    wide, narrow = (
        charts.draw(make(frame, canvas=canvas), name=f"{name}-{suffix}", description=description)
        for canvas, suffix in ((WIDE, "wide"), (NARROW, "narrow"))
    )
    return Figure(wide, narrow)


def _where(contents: Contents, split: str) -> str:
    return f"{names.split(split, kind=contents.held_out)} ({split})"


def _basis(contents: Contents) -> str:
    return f"targets {sentences.weighting(contents)}, every pair counts alike"


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _without_paths(value: Any) -> Any:
    """Whole paths cut to the file's name: a report is passed on, and a path names people and machines."""
    if isinstance(value, dict):
        return {name: _without_paths(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_paths(inner) for inner in value]
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value
