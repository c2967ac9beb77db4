"""Who answered the pairs and how well: from summary.json and the metrics table. No formatting of numbers here, and no drawing.

scores = read_scores(comparable(contents.tables["metrics"], reader=contents.reader))
rows = headline_rows(contents)
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from tasks.reporting import formats, names
from tasks.reporting.contents import SPLITS, Contents, Statistic, as_statistic, statistic_at

SMALLEST_DENOMINATOR = 0.02
REFERENCES = ("national_mode", "topic_prior")
RESULTS = ("accuracy", "accuracy_certain", "accuracy_differs", "accuracy_population", "nmae", "emd", "equivalent_n")


class Contender(NamedTuple):
    """Something that answers the pairs, and where summary.json keeps its numbers."""

    name: str
    kind: str  # model, control or baseline
    path: tuple[str, ...]


class Place(NamedTuple):
    """The pairs that a score is taken over."""

    split: str
    dimension: str = "all"
    group: str = "all"


class Result(NamedTuple):
    """`accuracy_certain`: on pairs whose target is surely the population's mode; `accuracy_differs`: on those of them where it is not the country's;
    `accuracy_population`: each pair by its subgroup's share of the population; `equivalent_n`: respondents of a fresh survey that does as well."""

    accuracy: Statistic | None
    accuracy_certain: Statistic | None
    accuracy_differs: Statistic | None
    accuracy_population: Statistic | None
    nmae: Statistic | None
    emd: Statistic | None
    equivalent_n: Statistic | None
    skill: float | None


class HeadlineRow(NamedTuple):
    name: str
    kind: str
    results: dict[str, Result]


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


def comparable(frame: pd.DataFrame | None, *, reader: str, weighting: str = "pairs") -> pd.DataFrame:
    """The rows of the metrics by the study's answer reader (and of the baselines, which have none), all pairs weighing alike or as told."""
    if frame is None:
        return pd.DataFrame()
    if "reader" in frame:
        frame = frame[frame["reader"].isin([reader, "table"])]
    return frame[frame["weighting"] == weighting] if "weighting" in frame else frame


def on_one_footing(metrics: pd.DataFrame | None, *, reader: str) -> pd.DataFrame:
    """Comparable rows, with the levels of a dimension standardised to the same partner levels where all of it was."""
    plain = comparable(metrics, reader=reader)
    if metrics is None or "weighting" not in metrics:
        return plain
    standardised = metrics[(metrics["weighting"] == "standardised") & metrics["reader"].isin([reader, "table"])]
    keys = ["split", "dimension", "metric"]
    replaced = pd.MultiIndex.from_frame(standardised.loc[standardised["model"] == "base", keys].drop_duplicates())
    kept, taken = (frame[pd.MultiIndex.from_frame(frame[keys]).isin(replaced) == wanted] for frame, wanted in ((plain, False), (standardised, True)))
    return pd.concat([pd.DataFrame(kept), pd.DataFrame(taken)], ignore_index=True)


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
    """Who stands in the headline of a summary.json: models, then the controls and the baselines that it has."""
    word = "Tuned" if summary.get("tuned") else "Base"
    controls = names.in_order(names.CONTROLS, summary.get("controls") or {})
    baselines = names.in_order(names.BASELINES, summary.get("baselines") or {})
    listed = (
        Contender("Tuned model", "model", ("tuned",)),
        Contender("Base model", "model", ("base",)),
        *(Contender(names.control(name, of=word), "control", ("controls", name)) for name in controls),
        *(Contender(names.baseline(name), "baseline", ("baselines", name)) for name in baselines),
    )
    return tuple(one for one in listed if any(statistic_at(summary, *one.path, "accuracy", split) for split in SPLITS))


def headline_rows(contents: Contents) -> list[HeadlineRow]:
    return [HeadlineRow(one.name, one.kind, {split: _result(contents, one, split=split) for split in SPLITS}) for one in contenders(contents.summary)]


def _result(contents: Contents, contender: Contender, *, split: str) -> Result:
    def number(metric: str) -> Statistic | None:
        return contents.statistic(*contender.path, metric, split)

    over = contents.statistic("baselines", reference(contents.summary, split), "accuracy", split)
    measured = {name: number(name) for name in RESULTS}
    return Result(**measured, skill=skill(measured["accuracy"], over))


def reference(summary: Mapping[str, Any], split: str) -> str:
    """The baseline that a headline's skill is over: the national mode, and the topic prior where questions are unseen."""
    return next((name for name in REFERENCES if statistic_at(summary, "baselines", name, "accuracy", split)), REFERENCES[0])


def references(summary: Mapping[str, Any]) -> str:
    """In words: the national mode; or: the topic prior (ood_test), the national mode (id_test)."""
    held = {split: names.baseline(reference(summary, split)).lower() for split in SPLITS if statistic_at(summary, "base", "accuracy", split)}
    if len(set(held.values())) == 1:
        return f"the {next(iter(held.values()))}"
    return ", ".join(f"the {name} ({split})" for split, name in held.items())


def main_split(summary: Mapping[str, Any]) -> str:
    """Unseen subgroups where the study has them, else the held-out cells of trained ones."""
    return next((split for split in SPLITS if statistic_at(summary, "base", "accuracy", split)), SPLITS[0])
