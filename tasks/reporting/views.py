"""The rows of the report's tables, taken from summary.json and the run's tables. No formatting of numbers here, and no drawing.

scores = read_scores(comparable(contents.tables["metrics"], reader=contents.reader))
rows = headline_rows(contents, scores)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tasks.reporting import formats
from tasks.reporting.contents import SPLITS, Contents, Statistic, as_statistic, setting, statistic_at

SMALLEST_DENOMINATOR = 0.02
NO_LEVELS = ("all", "topic", "subgroup")
CONTESTED_QUESTIONS = 10
ANSWERS_SHOWN = 3


class Contender(NamedTuple):
    """Something that answers the pairs: where summary.json keeps its accuracy, and its rows in the metrics table."""

    name: str
    kind: str  # model, control or baseline
    path: tuple[str, ...]
    model: str
    variant: str = "plain"


class Place(NamedTuple):
    """The pairs that a score is taken over."""

    split: str
    dimension: str = "all"
    group: str = "all"


class Result(NamedTuple):
    accuracy: Statistic | None
    nmae: Statistic | None
    emd: Statistic | None
    skill: float | None


class HeadlineRow(NamedTuple):
    name: str
    kind: str
    results: dict[str, Result]


class GroupRow(NamedTuple):
    """A level, topic or subgroup before and after, beside the national mode on the same pairs."""

    dimension: str
    name: str
    pairs: int | None
    base: Statistic | None
    tuned: Statistic | None
    national: Statistic | None
    base_nmae: Statistic | None
    tuned_nmae: Statistic | None

    @property
    def change(self) -> float | None:
        return difference(self.tuned, self.base)

    @property
    def nmae_change(self) -> float | None:
        return difference(self.tuned_nmae, self.base_nmae)

    @property
    def tuned_skill(self) -> float | None:
        return skill(self.tuned, self.national)


class GapRow(NamedTuple):
    """The distance between the best and the worst level of a dimension, before and after."""

    dimension: str
    metric: str
    base: float | None
    tuned: float | None
    worst: str
    best: str

    @property
    def change(self) -> float | None:
        return None if self.base is None or self.tuned is None else self.tuned - self.base


class ContestedRow(NamedTuple):
    item: str
    question: str
    topic: str
    mds: float
    subgroups: int
    answers: str


@dataclass(frozen=True)
class Scores:
    """The metrics table as a lookup; `pairs` counts what a score was taken over."""

    values: dict[tuple[str, str, Place, str], Statistic]
    counts: dict[Place, int]

    def contrasts(self) -> list[str]:
        """The paired differences that were measured, such as tuned-base."""
        return sorted({model for model, _, _, _ in self.values if "-" in model})

    def of(self, place: Place, *, model: str, metric: str, variant: str = "plain") -> Statistic | None:
        return self.values.get((model, variant, place, metric))


def comparable(frame: pd.DataFrame | None, *, reader: str) -> pd.DataFrame:
    """The rows of metrics or disparities by the study's answer reader (and of the baselines, which have none), all pairs weighing alike."""
    if frame is None:
        return pd.DataFrame()
    if "reader" in frame:
        frame = frame[frame["reader"].isin([reader, "table"])]
    return frame[frame["weighting"] == "pairs"] if "weighting" in frame else frame


def read_scores(metrics: pd.DataFrame) -> Scores:
    """Index comparable rows of the metrics table."""
    values: dict[tuple[str, str, Place, str], Statistic] = {}
    counts: dict[Place, int] = {}
    for row in metrics.to_dict("records"):
        statistic = as_statistic({name: _plain_number(row.get(name)) for name in ("value", "low", "high")})
        if statistic is None:
            continue
        place = Place(str(row["split"]), str(row["dimension"]), str(row["group"]))
        values[(str(row["model"]), str(row["variant"]), place, str(row["metric"]))] = statistic
        if row["metric"] == "accuracy" and not pd.isna(row.get("pairs")):
            counts[place] = int(row["pairs"])
    return Scores(values, counts)


def _plain_number(value: Any) -> float | None:
    return None if value is None else formats.number_or_none(value)


def skill(score: Statistic | None, baseline: Statistic | None) -> float | None:
    """(accuracy - baseline) / (1 - baseline); None where the baseline leaves less than 0.02 to gain."""
    if score is None or baseline is None or 1 - baseline.value < SMALLEST_DENOMINATOR:
        return None
    return (score.value - baseline.value) / (1 - baseline.value)


def difference(after: Statistic | None, before: Statistic | None) -> float | None:
    return None if after is None or before is None else after.value - before.value


def contenders(summary: Mapping[str, Any]) -> tuple[Contender, ...]:
    """Who stands in the headline of a summary.json, in this order: models, controls, baselines."""
    model, word = ("tuned", "Tuned") if summary.get("tuned") else ("base", "Base")
    listed = (
        Contender("Tuned model", "model", ("tuned",), "tuned"),
        Contender("Base model", "model", ("base",), "base"),
        Contender(f"{word}, blank persona", "control", ("controls", "blank_persona"), model, "blank_persona"),
        Contender(f"{word}, permuted persona", "control", ("controls", "permuted_persona"), model, "permuted_persona"),
        Contender("Tuned on everybody only", "control", ("controls", "order0"), "order0"),
        Contender("National mode", "baseline", ("baselines", "national_mode"), "national_mode"),
        Contender("Parent mode", "baseline", ("baselines", "parent_mode"), "parent_mode"),
        Contender("Additive", "baseline", ("baselines", "additive"), "additive"),
        Contender("Chance", "baseline", ("baselines", "chance"), "chance"),
    )
    return tuple(one for one in listed if any(statistic_at(summary, *one.path, "accuracy", split) for split in SPLITS))


def headline_rows(contents: Contents, scores: Scores) -> list[HeadlineRow]:
    return [
        HeadlineRow(one.name, one.kind, {split: _result(contents, scores, one, split=split) for split in SPLITS})
        for one in contenders(contents.summary)
    ]


def _result(contents: Contents, scores: Scores, contender: Contender, *, split: str) -> Result:
    """Numbers of summary.json, and of the metrics table where the summary has none."""

    def number(metric: str) -> Statistic | None:
        of_table = scores.of(Place(split), model=contender.model, metric=metric, variant=contender.variant)
        return contents.statistic(*contender.path, metric, split) or of_table

    accuracy = number("accuracy")
    national = contents.statistic("baselines", "national_mode", "accuracy", split)
    return Result(accuracy, number("nmae"), number("emd"), skill(accuracy, national))


def main_split(summary: Mapping[str, Any]) -> str:
    """Unseen subgroups where the study has them, else the held-out cells of trained ones."""
    return next((split for split in SPLITS if statistic_at(summary, "base", "accuracy", split)), SPLITS[0])


def level_rows(contents: Contents, scores: Scores) -> list[GroupRow]:
    """One row per level, by dimension in the study's order; none whose respondents are few or uncounted."""
    shown = {name for name in _subgroup_names(contents) if "|" not in name}
    measured = {place.dimension for place in scores.counts}
    declared = [name for name in ("country", "wave", *setting(contents.manifest, "study", "dimensions", default={})) if name in measured]
    names = declared or sorted(measured.difference(NO_LEVELS))
    rows = [row for name in names for row in group_rows(scores, dimension=name, split=main_split(contents.summary))]
    return [row for row in rows if f"{row.dimension}={row.name}" in shown]


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
        national=scores.of(place, model="national_mode", metric="accuracy"),
        base_nmae=scores.of(place, model="base", metric="nmae"),
        tuned_nmae=scores.of(place, model="tuned", metric="nmae"),
    )


def subgroup_rows(contents: Contents, scores: Scores, *, split: str) -> list[GroupRow]:
    """Subgroups from the largest gain to the largest loss (base only: from best to worst); none whose respondents are few or uncounted."""
    names = _subgroup_names(contents)
    rows = [row._replace(name=names[row.name]) for row in group_rows(scores, dimension="subgroup", split=split) if row.name in names]
    return sorted(rows, key=lambda row: (-_rank(row), row.name))


def _rank(row: GroupRow) -> float:
    if row.tuned is None:
        return row.base.value if row.base else 0.0
    return row.change or 0.0


def _subgroup_names(contents: Contents) -> dict[str, str]:
    """The subgroups that may be shown, in words."""
    subgroups = contents.tables.get("subgroups")
    if subgroups is None:
        return {}
    large = subgroups[subgroups["respondents"] >= contents.shown_from]
    return {str(row["subgroup_id"]): _subgroup_name(row) for row in large.to_dict("records")}


def _subgroup_name(row: Mapping[Any, Any]) -> str:
    traits = zip(row["dimensions"], row["levels"], strict=True)
    return " · ".join(f"{formats.dimension(dimension)}: {formats.label(level)}" for dimension, level in traits) or "everybody"


def gap_rows(disparities: pd.DataFrame, *, split: str) -> list[GapRow]:
    """One row per metric and dimension, in that order, from comparable rows of the disparities table."""
    if disparities.empty:
        return []
    frame = disparities[(disparities["split"] == split) & disparities["metric"].isin(["accuracy", "nmae"])]
    if "variant" in frame:
        frame = frame[frame["variant"] == "plain"]
    frame = frame[~frame["dimension"].isin(NO_LEVELS)]
    return [_gap_row(group) for _, group in frame.groupby(["metric", "dimension"])]


def _gap_row(group: pd.DataFrame) -> GapRow:
    """`worst` and `best` are those of the tuned model, or of the base model when there is no other."""
    by_model = {str(row["model"]): row for row in group.to_dict("records")}
    last = by_model.get("tuned") or by_model.get("base") or {}
    gaps = [_plain_number(by_model.get(model, {}).get("gap")) for model in ("base", "tuned")]
    first = group.iloc[0]
    worst, best = (formats.label(last.get(name) or formats.ABSENT) for name in ("worst_level", "best_level"))
    return GapRow(str(first["dimension"]), str(first["metric"]), gaps[0], gaps[1], worst, best)


def landscape_means(contents: Contents) -> pd.DataFrame:
    """Mean MDS by topic and dimension; `crossed` counts the traits of the dimension's subgroups."""
    frame = contents.tables.get("landscape", pd.DataFrame(columns=["topic", "dimension", "mds"]))
    means = frame.dropna(subset=["mds"]).groupby(["topic", "dimension"])["mds"].mean().reset_index()
    means["crossed"] = [name.count(" x ") + (name != "all") for name in means["dimension"]]
    return means.sort_values(["topic", "crossed", "dimension"], ignore_index=True)


def contested_rows(contents: Contents) -> list[ContestedRow]:
    """The questions on which the subgroups' modal answers differ most."""
    frame = contents.tables.get("landscape", pd.DataFrame(columns=["dimension", "mds"]))
    top = frame[frame["dimension"] == "all"].dropna(subset=["mds"])
    top = top.sort_values("mds", ascending=False, kind="stable").head(CONTESTED_QUESTIONS)
    wording = _question_wording(contents)
    return [
        ContestedRow(
            item=str(row["item"]),
            question=wording.get(str(row["item"]), ""),
            topic=str(row["topic"]),
            mds=float(row["mds"]),
            subgroups=int(row["subgroups"]),
            answers=_modal_answers(contents, str(row["item"])),
        )
        for row in top.to_dict("records")
    ]


def _question_wording(contents: Contents) -> dict[str, str]:
    items = contents.tables.get("items")
    return {} if items is None else dict(zip(items["item"].astype(str), items["question"].astype(str), strict=True))


def _modal_answers(contents: Contents, item: str) -> str:
    """The commonest modal answers and in how many subgroups each holds: `Agree (41), Disagree (12)`."""
    pairs = contents.tables.get("pairs")
    if pairs is None:
        return formats.ABSENT
    shown = (pairs["item"] == item) & (pairs["subgroup_order"] > 0) & (pairs["respondents"] >= contents.shown_from)
    counts = pairs.loc[shown, "code"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    named = [f"{_option(contents, item, code=code)} ({count})" for code, count in counts.head(ANSWERS_SHOWN).items()]
    more = len(counts) - ANSWERS_SHOWN
    return ", ".join(named + ([f"{more} more"] if more > 0 else [])) or formats.ABSENT


def _option(contents: Contents, item: str, *, code: Any) -> str:
    options = contents.tables.get("options")
    if options is not None:
        wordings = options.loc[(options["item"] == item) & (options["code"] == code), "wording"]
        if len(wordings):
            return formats.label(wordings.iloc[0], limit=40)
    return f"option {code}"
