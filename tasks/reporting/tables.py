"""The report's tables as text, ready for the template: rows of views in, cells out.

    table = headline(rows, split="ood_test", basis="weighted targets")

A cell is text and is escaped by the template; the first cell of a row is its header.
"""

from collections.abc import Iterable
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from tasks.reporting import formats
from tasks.reporting.contents import Contents, setting
from tasks.reporting.formats import decimal, percent, points, signed
from tasks.reporting.views import ContestedRow, GapRow, GroupRow, HeadlineRow

SPLIT_NAMES = {"ood_test": "Unseen subgroups", "id_test": "Trained subgroups, unseen cells"}
METRIC_NAMES = {"accuracy": "Accuracy", "nmae": "NMAE"}
MODEL_NAMES = {"sample": "SmolLM2-135M-Instruct (the sample, from 4-bit weights)"}
KIND_NAMES = {"model": "Models", "control": "Controls", "baseline": "Baselines (no language model)"}


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


def headline(rows: list[HeadlineRow], *, split: str, basis: str) -> Table:
    blocks = [
        Block(KIND_NAMES[kind], [_headline_cells(row, split) for row in group if row.results[split].accuracy])
        for kind, group in groupby(rows, key=lambda row: row.kind)
    ]
    caption = f"{SPLIT_NAMES[split]} ({split}), {basis}. NMAE and EMD: less is better. Skill: share of the national mode's errors avoided."
    return Table(caption, ("", "Accuracy", "NMAE", "EMD", "Skill"), [block for block in blocks if block.rows])


def _headline_cells(row: HeadlineRow, split: str) -> list[str]:
    result = row.results[split]
    return [row.name, percent(result.accuracy), decimal(result.nmae), decimal(result.emd), signed(result.skill, digits=2)]


def groups(rows: Iterable[GroupRow], *, caption: str, by_dimension: bool) -> Table:
    """Accuracy and NMAE before and after, by level or by subgroup."""
    keyed = groupby(rows, key=lambda row: formats.dimension(row.dimension) if by_dimension else "")
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
    accuracy = [percent(row.base), percent(row.tuned), points(row.change), percent(row.national), signed(row.tuned_skill, digits=2)]
    nmae = [decimal(row.base_nmae), decimal(row.tuned_nmae), signed(row.nmae_change)]
    return [formats.label(row.name, limit=2 * formats.LABEL_CHARACTERS), formats.thousands(row.pairs), *accuracy, *nmae]


def gaps(rows: Iterable[GapRow], *, caption: str) -> Table:
    keyed = groupby(rows, key=lambda row: row.metric)
    columns = ("", "Base gap", "Tuned gap", "Change", "Best level", "Worst level")
    blocks = [Block(METRIC_NAMES[metric], [_gap_cells(row) for row in group]) for metric, group in keyed]
    return _without_empty_columns(Table(caption, columns, blocks, frozenset({0, 4, 5})))


def _gap_cells(row: GapRow) -> list[str]:
    show, change = (percent, points(row.change)) if row.metric == "accuracy" else (decimal, signed(row.change))
    return [formats.dimension(row.dimension), show(row.base), show(row.tuned), change, row.best, row.worst]


def contested(rows: Iterable[ContestedRow], *, caption: str) -> Table:
    cells = [
        [f"{formats.label(row.item)} {formats.label(row.question, limit=160)}", formats.label(row.topic), decimal(row.mds), row.answers]
        for row in rows
    ]
    return Table(caption, ("Question", "Topic", "MDS", "Commonest answers (in so many subgroups)"), [Block("", cells)], frozenset({0, 1, 3}))


def landscape(means: pd.DataFrame, *, caption: str) -> Table:
    """Every mean of the heat map, one row per dimension."""
    topics = tuple(dict.fromkeys(means["topic"]))
    values = {(row["dimension"], row["topic"]): row["mds"] for row in means.to_dict("records")}
    dimensions = dict.fromkeys(means.sort_values("crossed", kind="stable")["dimension"])
    rows = [[formats.dimension(name), *(decimal(values.get((name, topic))) for topic in topics)] for name in dimensions]
    return Table(caption, ("", *map(formats.label, topics)), [Block("", rows)])


def timings(contents: Contents) -> Table:
    seconds = contents.summary.get("seconds") or {}
    rows = [[formats.label(stage), formats.duration(value)] for stage, value in seconds.items()]
    return Table("Time per stage; a stage whose stored result was used takes next to none.", ("Stage", "Time"), [Block("", rows)])


def study_card(contents: Contents) -> list[tuple[str, str]]:
    """What was studied, as terms and descriptions; what the run does not say is a dash."""
    manifest, pairs = contents.manifest, contents.summary["pairs"]

    def of(*keys: str) -> str:
        return formats.label(setting(manifest, *keys, default=formats.ABSENT))

    epochs = of("study", "training", "epochs")
    return [
        ("Survey", f"{of('survey', 'version')} (wave {of('survey', 'wave')}, {of('survey', 'year')})"),
        ("Survey file", f"SHA-256 {of('survey', 'file_sha256')}"),
        ("Country", f"{of('survey', 'country_name')} ({of('survey', 'country')})"),
        ("Respondents", f"{formats.thousands(setting(manifest, 'survey', 'respondents', default=None))}, {weighting(contents)}"),
        ("Dimensions", ", ".join(map(formats.dimension, setting(manifest, "study", "dimensions", default={}))) or formats.ABSENT),
        ("Smallest cell", f"{contents.asked_from} valid answers; cells of fewer than {contents.shown_from} respondents are not shown"),
        ("Pairs", ", ".join(f"{formats.thousands(count)} {name}" for name, count in pairs.items())),
        ("Split", _split(setting(manifest, "study", "split", default={}))),
        ("Model", f"{model_name(contents)}, {of('study', 'model', 'dtype')} precision"),
        ("Training", f"objective {of('study', 'training', 'objective')}" + (f", {epochs} epochs" if contents.trained else "")),
        ("Answer reader", contents.reader),
        ("Seed", of("study", "seed")),
        ("Versions", _joined(manifest.get("versions"))),
        ("Hardware", _joined(manifest.get("hardware"))),
    ]


def model_name(contents: Contents) -> str:
    name = formats.label(setting(contents.manifest, "study", "model", "name", default=formats.ABSENT))
    return MODEL_NAMES.get(name, name.rpartition("/")[2] if name.startswith("/") else name)


def weighting(contents: Contents) -> str:
    """Said beside every number: whether the survey's weights are in it."""
    weighted = bool(setting(contents.summary, "survey", "weighted", default=False))
    column = setting(contents.manifest, "survey", "weight_column", default="its weight column")
    if weighted:
        return f"weighted by {formats.label(column)}"
    return f"UNWEIGHTED in part (weights of the files: {formats.label(column)})" if column and "," in str(column) else "UNWEIGHTED"


def _split(split: dict[str, Any]) -> str:
    kind = str(split.get("kind", formats.ABSENT))
    of_what = {"unseen_country": "countries", "unseen_wave": "waves"}.get(kind, "intersections")
    named = ", ".join(map(str, split.get("unseen") or ()))
    held_out = f"held out {named}" if named else f"held out {split.get('held_out', formats.ABSENT)} of the {of_what}"
    return formats.label(f"{kind}, overlap {split.get('overlap', formats.ABSENT)}, {held_out}")


def _joined(values: Any) -> str:
    if not isinstance(values, dict):
        return formats.label(values or formats.ABSENT)
    return ", ".join(f"{formats.label(name)} {formats.label(value)}" for name, value in values.items())
