"""Levels, subgroups and topics before and after: rows of the report's tables, and how many of them changed beyond their interval.

rows = level_rows(contents, scores)
change_counts(subgroup_rows(contents, scores, split="ood_test")).better
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from tasks.fairness.contrasts import CHANGE
from tasks.fairness.panels import large_levels
from tasks.reporting import formats
from tasks.reporting.contents import Contents, Statistic, setting
from tasks.reporting.heat import HeatCell, HeatMap, HeatRow
from tasks.reporting.views import Place, Scores, difference, main_split, skill

NO_LEVELS = ("all", "topic", "subgroup")
RISEN, FALLEN = "▲", "▼"
FEWEST_PAIRS = 10  # of a level and topic: less is an anecdote


class GroupRow(NamedTuple):
    """A level, topic or subgroup before and after, beside the national mode on the same pairs; `gained` is paired, with its interval."""

    dimension: str
    name: str
    pairs: int | None
    base: Statistic | None
    tuned: Statistic | None
    gained: Statistic | None
    national: Statistic | None
    base_nmae: Statistic | None
    tuned_nmae: Statistic | None

    @property
    def change(self) -> Statistic | None:
        change = difference(self.tuned, self.base)
        return self.gained if self.gained or change is None else Statistic(change)

    @property
    def nmae_change(self) -> float | None:
        return difference(self.tuned_nmae, self.base_nmae)

    @property
    def tuned_skill(self) -> float | None:
        return skill(self.tuned, self.national)


class Changes(NamedTuple):
    """Of the groups with an interval of their change: in how many it lies above zero, below it, and on both sides."""

    better: int
    worse: int
    unclear: int


def level_rows(contents: Contents, scores: Scores) -> list[GroupRow]:
    """One row per level, by dimension in the study's order; none whose respondents are few or uncounted."""
    shown = shown_levels(contents)
    rows = [row for name in dimensions(contents, scores) for row in group_rows(scores, dimension=name, split=main_split(contents.summary))]
    return [row for row in rows if (row.dimension, row.name) in shown]


def dimensions(contents: Contents, scores: Scores) -> list[str]:
    """Those with scores, in the study's order."""
    measured = {place.dimension for place in scores.counts}
    declared = [name for name in ("country", "wave", *setting(contents.manifest, "study", "dimensions", default={})) if name in measured]
    return declared or sorted(measured.difference(NO_LEVELS))


def shown_levels(contents: Contents) -> set[tuple[str, str]]:
    subgroups = contents.tables.get("subgroups")
    return set() if subgroups is None else large_levels(subgroups, least=contents.shown_from)


def group_rows(scores: Scores, *, dimension: str, split: str) -> list[GroupRow]:
    groups = sorted(place.group for place in scores.counts if place.dimension == dimension and place.split == split)
    return [_group_row(scores, Place(split, dimension, group)) for group in groups]


def _group_row(scores: Scores, place: Place) -> GroupRow:
    return GroupRow(
        dimension=place.dimension,
        name=place.group,
        pairs=scores.counts.get(place),
        base=scores.of(place, model="base", metric="accuracy"),
        tuned=scores.of(place, model="tuned", metric="accuracy"),
        gained=scores.of(place, model=CHANGE, metric="accuracy"),
        national=scores.of(place, model="national_mode", metric="accuracy"),
        base_nmae=scores.of(place, model="base", metric="nmae"),
        tuned_nmae=scores.of(place, model="tuned", metric="nmae"),
    )


def levels_by_topic(contents: Contents, scores: Scores) -> HeatMap | None:
    """Accuracy of the tuned (else the base) model on the main split, levels by topics; a triangle and bold where its change lies beyond zero."""
    frame = contents.tables.get("metrics_by_topic")
    if frame is None:
        return None
    split, model = main_split(contents.summary), "tuned" if contents.trained else "base"
    known = frame[
        (frame["split"] == split) & (frame["metric"] == "accuracy") & (frame["reader"] == contents.reader) & (frame["pairs"] >= FEWEST_PAIRS)
    ]
    keys = zip(known["model"], known["dimension"], known["group"], known["topic"], strict=True)
    found = dict(zip(keys, known.to_dict("records"), strict=True))
    topics = sorted(known.loc[known["dimension"].isin(dimensions(contents, scores)), "topic"].unique())
    rows = [
        HeatRow(formats.label(level), [_by_topic(found, model, (name, level, topic)) for topic in topics], formats.dimension(name))
        for name in dimensions(contents, scores)
        for level in sorted(level for of, level in shown_levels(contents) if of == name)
    ]
    rows = [row for row in rows if any(row.cells)]
    return HeatMap("Level", [formats.label(topic) for topic in topics], rows) if rows else None


def _by_topic(found: Mapping[Any, Any], model: str, place: tuple[str, str, str]) -> HeatCell | None:
    row = found.get((model, *place))
    if row is None:
        return None
    change = found.get((CHANGE, *place), {})
    mark = RISEN if change.get("low", 0) > 0 else FALLEN if change.get("high", 0) < 0 else ""
    return HeatCell(f"{100 * row['value']:.0f}% {mark}".rstrip(), round(100 * row["value"]), bool(mark))


def subgroup_rows(contents: Contents, scores: Scores, *, split: str) -> list[GroupRow]:
    """Subgroups by name; none whose respondents are few or uncounted."""
    names = subgroup_names(contents)
    rows = [row._replace(name=names[row.name]) for row in group_rows(scores, dimension="subgroup", split=split) if row.name in names]
    return sorted(rows, key=lambda row: row.name)


def subgroup_names(contents: Contents) -> dict[str, str]:
    """The subgroups that may be shown, in words."""
    subgroups = contents.tables.get("subgroups")
    if subgroups is None:
        return {}
    large = subgroups[subgroups["respondents"] >= contents.shown_from]
    return {str(row["subgroup_id"]): _subgroup_name(row) for row in large.to_dict("records")}


def _subgroup_name(row: Mapping[Any, Any]) -> str:
    traits = zip(row["dimensions"], row["levels"], strict=True)
    return " · ".join(f"{formats.dimension(dimension)}: {formats.label(level)}" for dimension, level in traits) or "everybody"


def change_counts(rows: Iterable[GroupRow]) -> Changes:
    bounds = [(row.gained.low, row.gained.high) for row in rows if row.gained]
    known = [(low, high) for low, high in bounds if low is not None and high is not None]
    better, worse = sum(low > 0 for low, _ in known), sum(high < 0 for _, high in known)
    return Changes(better, worse, len(known) - better - worse)
