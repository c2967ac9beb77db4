"""The report's tables as text, ready for the template: rows of views in, cells out.

    table = headline(rows, split="ood_test", basis="weighted targets")

A cell is text and is escaped by the template; the first cell of a row is its header.
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from tasks.reporting import formats, names
from tasks.reporting.contents import Contents, Statistic, as_statistic
from tasks.reporting.disparity import DisparityRow
from tasks.reporting.formats import decimal, p_value, percent, points, points_between, signed, signed_between, thousands
from tasks.reporting.groups import GroupRow
from tasks.reporting.landscape import ContestedRow
from tasks.reporting.views import HeadlineRow

KIND_NAMES = {"model": "Models", "control": "Controls", "baseline": "Baselines (no language model)"}
LANDSCAPE = ("In this sample", "In the population", "By sampling alone")
JUDGED_BY = {"all": "All", "level": "By third of the scale"}
TWO_LINES = 2 * formats.LABEL_CHARACTERS


NOT_STANDARDISED = "†"


class Block(NamedTuple):
    """Rows under a common heading; an empty heading shows none."""

    heading: str
    rows: list[list[str]]


class Table(NamedTuple):
    """`prose`: numbers of the columns that hold words, not figures."""

    caption: str
    columns: tuple[str, ...]
    blocks: list[Block]
    prose: frozenset[int] = frozenset({0})


def headline(rows: list[HeadlineRow], *, where: str, split: str, basis: str, over: str, pairs: Mapping[str, Any]) -> Table:
    blocks = [
        Block(KIND_NAMES[kind], [_headline_cells(row, split) for row in group if row.results[split].accuracy])
        for kind, group in groupby(rows, key=lambda row: row.kind)
    ]
    caption = f"{where}, {basis}. NMAE and EMD: less is better. Skill: share of the errors of the {over} that are avoided."
    counted = {word: (pairs.get(name) or {}).get(split) for name, word in (("certain", "Sure targets"), ("unlike_country", "unlike the country"))}
    if all(counted.values()):
        caption += f" {', '.join(f'{word}: {thousands(count)} pairs' for word, count in counted.items())}."
    columns = (
        "",
        "Accuracy",
        "of sure targets",
        "of those unlike the country",
        "by population share",
        "Skill",
        "NMAE",
        "EMD",
        "Equivalent sample size",
    )
    return _without_empty_columns(Table(caption, columns, [block for block in blocks if block.rows]))


def _headline_cells(row: HeadlineRow, split: str) -> list[str]:
    result = row.results[split]
    shares = [percent(result.accuracy), percent(result.accuracy_certain), percent(result.accuracy_differs), percent(result.accuracy_population)]
    size = result.equivalent_n
    return [
        row.name,
        *shares,
        signed(result.skill, digits=2),
        decimal(result.nmae),
        decimal(result.emd),
        formats.respondents(size.value if size else None),
    ]


def skill(summary: Mapping[str, Any], *, where: str, split: str) -> Table:
    """Of what each baseline leaves, the part that a model gains, to 1 and to the ceiling."""
    shown = {
        f"{model.capitalize()}{word}": summary[form][model]
        for model in ("base", "tuned")
        for form, word in (("skill", ""), ("skill_to_ceiling", ", to the ceiling"))
        if (summary.get(form) or {}).get(model)
    }
    baselines = list(dict.fromkeys(name for held in shown.values() for name in held))
    cells = [
        [names.baseline(name), *(signed_between(as_statistic((held.get(name) or {}).get(split)), digits=2) for held in shown.values())]
        for name in baselines
    ]
    caption = (
        "Skill over each baseline: share of its errors that a model avoids; below 0 the model does worse. To the ceiling: with the mean certainty of "
        f"the targets for the 1. A dash where a baseline leaves less than 0.02. {where}."
    )
    rows = [row for row in cells if any(cell != formats.ABSENT for cell in row[1:])]
    return _without_empty_columns(Table(caption, ("Skill over", *shown), [Block("", rows)]))


def all_metrics(summary: Mapping[str, Any], *, where: str, split: str) -> Table:
    """Every metric of base and tuned model."""
    models = [model for model in ("base", "tuned") if summary.get(model)]

    def cell(model: str, metric: str) -> str:
        return decimal(as_statistic(((summary[model] or {}).get(metric) or {}).get(split)))

    rows = [[name, *(cell(model, metric) for model in models)] for metric, name in names.METRICS.items()]
    caption = f"Every metric. {where}. Accuracy: more is better; of all others, less."
    return Table(caption, ("Metric", *(f"{model.capitalize()} model" for model in models)), [Block("", rows)])


def replications(frame: pd.DataFrame, *, where: str, split: str, reader: str) -> Table:
    """How far accuracies depend on the seeds of split and training."""
    kept = frame[(frame["split"] == split) & frame["reader"].isin([reader, "table"]) & (frame["variant"] == "plain")]
    kept = kept[(kept["weighting"] == "pairs") & (kept["dimension"] == "all") & (kept["metric"] == "accuracy")]
    rows = [
        [
            _contender(str(row["model"])), thousands(row["replications"]), decimal(row["sd"]),
            decimal(as_statistic({name: row[name] for name in ("value", "low", "high")})),
        ]
        for row in kept.to_dict("records")
    ]  # fmt: skip
    caption = f"Accuracy over the study's replications, each with a split and a training seed of its own: mean with its 95% interval. {where}."
    return Table(caption, ("", "Replications", "Standard deviation", "Mean"), [Block("", rows)])


def _contender(key: str) -> str:
    return " less ".join(f"{part} model" if part in ("base", "tuned") else names.baseline(part).lower() for part in key.split("-"))


def levels(rows: Iterable[GroupRow], *, caption: str) -> Table:
    """Accuracy and NMAE before and after, by level."""
    keyed = groupby(rows, key=lambda row: formats.dimension(row.dimension))
    columns = ("", "Pairs", "Base", "Tuned", "Change (points)", "National mode", "Tuned skill", "NMAE base", "NMAE tuned", "NMAE change")
    return _without_empty_columns(Table(caption, columns, [Block(heading, [_group_cells(row) for row in group]) for heading, group in keyed]))


def _without_empty_columns(table: Table) -> Table:
    """A run without training has nothing to say in the columns of the tuned model."""
    rows = [row for block in table.blocks for row in block.rows]
    kept = [place for place in range(len(table.columns)) if any(row[place] != formats.ABSENT for row in rows)]
    blocks = [Block(heading, [[row[place] for place in kept] for row in held]) for heading, held in table.blocks]
    prose = frozenset(kept.index(place) for place in table.prose.intersection(kept))
    return Table(table.caption, tuple(table.columns[place] for place in kept), blocks, prose)


def _group_cells(row: GroupRow) -> list[str]:
    accuracy = [percent(row.base), percent(row.tuned), points_between(row.change), percent(row.national), signed(row.tuned_skill, digits=2)]
    nmae = [decimal(row.base_nmae), decimal(row.tuned_nmae), signed(row.nmae_change)]
    return [formats.label(row.name, limit=TWO_LINES), thousands(row.pairs), *accuracy, *nmae]


def gaps(rows: Iterable[DisparityRow], *, caption: str) -> Table:
    """What describes: best less worst level, that of the noise-adjusted scores less what chance adds to it, and the levels' standard deviation."""
    keyed = groupby(rows, key=lambda row: row.metric)
    by_model = ("Base, adjusted", "Tuned, adjusted", "Base SD", "Tuned SD")
    columns = ("", "Levels", "Questions", "Base gap", "Tuned gap", "Change", *by_model, "Best level", "Worst level")
    blocks = [Block(names.of(names.METRICS, metric), [_gap_cells(row) for row in group]) for metric, group in keyed]
    return _without_empty_columns(Table(caption, columns, blocks, frozenset({0, 10, 11})))


def _gap_cells(row: DisparityRow) -> list[str]:
    def show(value: float | None) -> str:
        return formats.ABSENT if value is None else percent(value) if row.metric == "accuracy" else decimal(value)

    change = points(row.gap["change"]) if row.metric == "accuracy" else signed(row.gap["change"])
    gap, less, deviation = ([show(found.get(model)) for model in ("base", "tuned")] for found in (row.gap, row.adjusted, row.sd))
    named = [formats.label(level) if level else formats.ABSENT for level in (row.best, row.worst)]
    dimension = formats.dimension(row.dimension) + (f" {NOT_STANDARDISED}" if row.standardised is False else "")
    return [dimension, thousands(row.levels), thousands(row.questions), *gap, change, *less, *deviation, *named]


def disparities(rows: Iterable[DisparityRow], *, caption: str) -> Table:
    """The primary statistic and its tests."""
    keyed = groupby(rows, key=lambda row: row.metric)
    tests = ("p, Holm", "p, Benjamini-Hochberg", "Surely no wider?")
    columns = ("", "Base", "Base p; permuted", "Tuned", "Tuned p; permuted", "Change", "Change p", *tests)
    blocks = [Block(names.of(names.METRICS, metric), [_tested_cells(row) for row in group]) for metric, group in keyed]
    return _without_empty_columns(Table(caption, columns, [block for block in blocks if block.rows], frozenset({0, 9})))


def _tested_cells(row: DisparityRow) -> list[str]:
    cells = [formats.dimension(row.dimension)]
    for model in ("base", "tuned"):
        known = [p_value(p) for p in (row.p[model], row.permuted[model]) if p is not None]
        cells += [signed_between(row.between[model]), "; ".join(known) or formats.ABSENT]
    cells += [signed_between(row.between["change"]), p_value(row.p["change"])]
    no_wider = formats.ABSENT if row.no_wider is None else "yes" if row.no_wider else "not shown"
    return [*cells, p_value(row.p_holm), p_value(row.p_bh), no_wider]


def level_effects(rows: Iterable[DisparityRow], *, caption: str) -> Table:
    """How far each level lies from the mean over the levels of its dimension."""
    blocks = [
        Block(formats.dimension(row.dimension), [[formats.label(level), *_effect_cells(held)] for level, held in row.effects.items()]) for row in rows
    ]
    return _without_empty_columns(Table(caption, ("", "Base", "Tuned", "Change"), [block for block in blocks if block.rows]))


def _effect_cells(held: Mapping[str, Statistic | None]) -> list[str]:
    return [points_between(held.get(name)) for name in ("base", "tuned", "change")]


def contested(rows: Iterable[ContestedRow], *, caption: str) -> Table:
    cells = [
        [f"{formats.label(row.item)} {formats.label(row.question, limit=TWO_LINES)}", formats.label(row.topic), *_scores(row), row.answers]
        for row in rows
    ]
    columns = ("Question", "Topic", *LANDSCAPE, "Commonest answers (in so many subgroups)")
    return _without_empty_columns(Table(caption, columns, [Block("", cells)], frozenset({0, 1, 5})))


def _scores(row: ContestedRow) -> list[str]:
    return [decimal(row.mds), decimal(row.population), decimal(row.sampling)]


def topics(means: Iterable[Mapping[Any, Any]], *, caption: str) -> Table:
    """Every mean of the landscape with its interval, by dimension."""
    keyed = groupby(means, key=lambda row: formats.dimension(row["dimension"]))
    blocks = [
        Block(heading, [[formats.label(row["topic"]), decimal(row["mds"]), decimal(_population(row)), decimal(row["mds_sampling"])] for row in group])
        for heading, group in keyed
    ]
    return _without_empty_columns(Table(caption, ("Topic", *LANDSCAPE), blocks))


def _population(row: Mapping[Any, Any]) -> Statistic | None:
    return as_statistic({"value": row["mds_expected"], "low": row["low"], "high": row["high"]})


def agreement(rows: Iterable[Mapping[str, Any]], *, caption: str) -> Table:
    keyed = groupby(rows, key=lambda row: f"{str(row['model']).capitalize()} model")
    columns = ("", "Pairs", "Same answer", "Kappa", "Accuracy: first", "second", "Outside options: first", "second", "Not read: first", "second")
    return Table(caption, columns, [Block(heading, [_agreement_cells(row) for row in group]) for heading, group in keyed])


def _agreement_cells(row: Mapping[str, Any]) -> list[str]:
    both = f"{names.of(names.READERS, row['reader'])} and {names.of(names.READERS, row['other'])}"
    cells = [both, thousands(row["pairs"]), percent(row["agreement"]), decimal(row["kappa"])]
    for measure, show in (("accuracy", percent), ("outside", percent), ("unread", thousands)):
        cells += [show(row[measure]), show(row[f"{measure}_other"])]
    return cells


def robustness(rows: Iterable[Mapping[str, Any]], *, caption: str) -> Table:
    keyed = groupby(rows, key=lambda row: f"{str(row['model']).capitalize()} model")
    columns = ("", "Pairs", "As usual", "Reworded", "Change (points)", "Same answer", "Levels rank alike (Spearman)", "(Kendall)", "Not read")
    return Table(caption, columns, [Block(heading, [_robustness_cells(row) for row in group]) for heading, group in keyed])


def _robustness_cells(row: Mapping[str, Any]) -> list[str]:
    change = as_statistic({"value": row["change"], "low": row["low"], "high": row["high"]})
    ranks = [signed(row["spearman"], digits=2), signed(row["kendall"], digits=2)]
    shares = [percent(row["accuracy_plain"]), percent(row["accuracy"]), points_between(change), percent(row["same_choice"])]
    return [names.of(names.REWORDINGS, row["variant"]), thousands(row["pairs"]), *shares, *ranks, thousands(row["unread"])]


def transfer(summary: Mapping[str, Any], *, caption: str) -> Table:
    found = {model: (summary.get(model) or {}).get("open_ended") for model in ("base", "tuned")}
    cells = [
        [
            f"{model.capitalize()} model", thousands(held["pairs"]), percent(as_statistic(held["accuracy"])),
            percent(as_statistic(held["accuracy_without_naming"])), percent(as_statistic(held["accuracy_with_options"])),
            thousands(held["none"]), thousands(held["names_option"]),
        ]
        for model, held in found.items() if held
    ]  # fmt: skip
    columns = ("", "Pairs", "Accuracy, free answer", "of texts that name no option", "Accuracy with options", "Means none", "Names an option")
    return Table(caption, columns, [Block("", cells)])


def judge(rows: Iterable[Mapping[str, Any]], *, caption: str) -> Table:
    keyed = groupby(rows, key=lambda row: JUDGED_BY.get(row["dimension"], f"By {names.words(row['dimension'])}"))
    columns = ("", "Texts", "Accuracy", "Kappa", "Bias (of the scale)", "Judged to mean none")
    blocks = [Block(heading, [_judge_cells(row) for row in group]) for heading, group in keyed]
    return Table(caption, columns, blocks)


def _judge_cells(row: Mapping[str, Any]) -> list[str]:
    figures = [percent(row["accuracy"]), decimal(row["kappa"]), signed(row["bias"])]
    return [names.words(row["group"]), thousands(row["texts"]), *figures, thousands(row["none"])]


def server(usage: Mapping[str, Any]) -> Table:
    rows = [[formats.label(step.replace("_", " ")), *_taken(of["answers"])] for step, of in usage["steps"].items()]
    rows += [["In all", *_taken(usage["answers"])], ["With attempts that failed, since each step's last start", *_taken(usage["spent"])]]
    caption = "What asking a server took, whenever its answers were given; cost in the currency of the study's prices."
    return Table(caption, ("", "Requests", "Prompt tokens", "Answer tokens", "Cost"), [Block("", rows)])


def _taken(held: Mapping[str, Any]) -> list[str]:
    cost = held.get("cost")
    counted = [thousands(held.get(name)) for name in ("requests", "prompt_tokens", "completion_tokens")]
    return [*counted, formats.ABSENT if cost is None else f"{cost:,.2f}"]


def timings(contents: Contents) -> Table:
    seconds = contents.summary.get("seconds") or {}
    rows = [[formats.label(stage), formats.duration(value)] for stage, value in seconds.items()]
    return Table("Time per stage; a stage whose stored result was used takes next to none.", ("Stage", "Time"), [Block("", rows)])
