"""The value landscape: how much the subgroups' most common answers differ, by topic and dimension and by question.

means = topic_means(contents)
contested = contested_rows(contents, most=True)
"""

from typing import Any, NamedTuple

import pandas as pd

from tasks.reporting import formats
from tasks.reporting.contents import Contents, Statistic, as_statistic
from tasks.reporting.heat import HeatCell, HeatMap, HeatRow

CONTESTED_QUESTIONS = 10
ANSWERS_SHOWN = 3


class ContestedRow(NamedTuple):
    """`mds`: of this sample's modes; `population`: expected of the population's, below the sample's where modes differ by chance; `sampling`: what
    sampling alone would give. None where they were not computed."""

    item: str
    question: str
    topic: str
    mds: float
    population: Statistic | None
    sampling: float | None
    answers: str


def topic_means(contents: Contents) -> pd.DataFrame:
    """Mean MDS by topic and dimension with mds_expected, low, high and mds_sampling (NaN where they were not computed); `crossed` counts the traits
    of the dimension's subgroups."""
    frame = contents.tables.get("landscape_topics")
    if frame is None:
        questions = contents.tables.get("landscape", pd.DataFrame(columns=["topic", "dimension", "mds"]))
        frame = questions.dropna(subset=["mds"]).groupby(["topic", "dimension"])["mds"].mean().reset_index()
    means = frame.reindex(columns=["topic", "dimension", "mds", "mds_expected", "low", "high", "mds_sampling"]).dropna(subset=["mds"])
    means["crossed"] = [name.count(" x ") + (name != "all") for name in means["dimension"]]
    return means.sort_values(["topic", "crossed", "dimension"], ignore_index=True)


def contested_rows(contents: Contents, *, most: bool) -> list[ContestedRow]:
    """The questions on which the subgroups' modal answers differ most, or least."""
    frame = contents.tables.get("landscape", pd.DataFrame(columns=["dimension", "mds", "item"]))
    ordered = frame[frame["dimension"] == "all"].dropna(subset=["mds"]).sort_values(["mds", "item"], ascending=[not most, True], kind="stable")
    few = len(ordered) // 2  # no question is among both
    wording = question_wording(contents)
    return [
        ContestedRow(
            item=str(row["item"]),
            question=wording.get(str(row["item"]), ""),
            topic=str(row["topic"]),
            mds=float(row["mds"]),
            population=as_statistic({"value": _known(row, "mds_expected"), "low": _known(row, "low"), "high": _known(row, "high")}),
            sampling=_known(row, "mds_sampling"),
            answers=_modal_answers(contents, str(row["item"])),
        )
        for row in ordered.head(min(CONTESTED_QUESTIONS, max(few, 1 if most else 0))).to_dict("records")
    ]


def _known(row: Any, column: str) -> float | None:
    value = row.get(column)
    return None if value is None else formats.number_or_none(value)


def question_wording(contents: Contents) -> dict[str, str]:
    items = contents.tables.get("items")
    return {} if items is None else dict(zip(items["item"].astype(str), items["question"].astype(str), strict=True))


def option_wording(contents: Contents) -> dict[tuple[str, Any], str]:
    options = contents.tables.get("options")
    if options is None:
        return {}
    return dict(zip(zip(options["item"].astype(str), options["code"], strict=True), options["wording"].astype(str), strict=True))


def _modal_answers(contents: Contents, item: str) -> str:
    """The commonest modal answers and in how many subgroups each holds: `Agree (41), Disagree (12)`."""
    pairs = contents.tables.get("pairs")
    if pairs is None:
        return formats.ABSENT
    shown = (pairs["item"] == item) & (pairs["subgroup_order"] > 0) & (pairs["respondents"] >= contents.shown_from)
    counts = pairs.loc[shown, "code"].value_counts().sort_index().sort_values(ascending=False, kind="stable")
    wording = option_wording(contents)
    named = [
        f"{formats.label(wording.get((item, code), f'option {code}'), limit=40)} ({count})" for code, count in counts.head(ANSWERS_SHOWN).items()
    ]
    more = len(counts) - ANSWERS_SHOWN
    return ", ".join(named + ([f"{more} more"] if more > 0 else [])) or formats.ABSENT


def heat_map(means: pd.DataFrame) -> HeatMap:
    """Topics by dimensions, single traits before crossed ones; deeper is more diverse, bold lies above what sampling alone would give."""
    dimensions = list(dict.fromkeys(means.sort_values("crossed", kind="stable")["dimension"]))
    cells = {(row["topic"], row["dimension"]): row for row in means.to_dict("records")}
    top = max(float(means["mds"].max()), 0.01)
    topics = list(dict.fromkeys(means["topic"]))
    rows = [HeatRow(formats.label(topic), [_heat_cell(cells.get((topic, name)), top=top) for name in dimensions]) for topic in topics]
    return HeatMap("Topic", [formats.dimension(name) for name in dimensions], rows)


def _heat_cell(row: Any, *, top: float) -> HeatCell | None:
    if row is None:
        return None
    return HeatCell(f"{row['mds']:.2f}", round(100 * row["mds"] / top), bool(row["low"] > row["mds_sampling"]))
