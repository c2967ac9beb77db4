"""What a survey file holds and whether it can be studied, without a respondent's row.

inspection = inspect_survey(path)
inspection.to_json()                      # for machines
Console().print(describe(inspection))     # for people
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tasks.intake.choices import vocabulary_of
from tasks.intake.codebook import Codebook, load_codebook, load_codebook_file
from tasks.intake.formats import opened
from tasks.intake.labels import UNKNOWN, Maps, dimension_resolver, item_resolver, map_values, normalised, number
from tasks.intake.layout import Layout, find_shape, recognise
from tasks.intake.raw import RawSurvey
from tasks.study import DimensionSection, SurveySection

SHOWN_ITEMS = 12
ITEMS_PER_LINE = 12
# The rules of labels.py, in the order in which they are tried.
MAPPED_BY = {
    "exact": "the exact label",
    "code": "the code",
    "normalised": "the normalised label",
    "alias": "an alias",
    "country_label": "the label behind a country's prefix",
    "missing": "a missing code",
    UNKNOWN: "not mapped",
}


@dataclass(frozen=True)
class UnknownLabel:
    """A text that the codebook does not know: intake would quarantine these answers."""

    item: str
    label: str
    respondents: int


@dataclass(frozen=True)
class Inspection:
    """`mapped_by` counts the items' cells by the rule that understood them (labels.py), `missing` maps an item to its respondents by missing code;
    `reasons` say why a study is impossible, `notes` what it will need."""

    file: str
    size_bytes: int
    format: str
    encoding: str
    columns: int
    respondents: int
    wave: int | str | None
    version: str
    synthetic: bool
    countries: dict[str, dict[str, Any]]
    weight_column: str | None
    dimensions: dict[str, str | None]
    items_known: tuple[str, ...]
    items_unknown: tuple[str, ...]
    items_absent: tuple[str, ...]
    mapped_by: dict[str, int]
    missing: dict[str, dict[str, int]]
    unknown_labels: tuple[UnknownLabel, ...]
    can_be_studied: bool
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def missing_share(self, item: str) -> float:
        return sum(self.missing.get(item, {}).values()) / self.respondents


def inspect_survey(path: Path, *, codebook: Path | None = None) -> Inspection:
    """Raises InputError for a file that is no survey; a survey that cannot be studied is described with the reasons. `codebook`: the user's, for a
    wave that no shipped one is for."""
    with opened(path) as raw:
        return _inspected(raw, book=load_codebook_file(codebook) if codebook else None)


def _inspected(raw: RawSurvey, *, book: Codebook | None) -> Inspection:
    newer = book is not None
    shape, problem = find_shape(raw, newer=newer)
    if shape is None:
        return _inspection(raw, reasons=(problem,))
    layout = recognise(raw, newer=newer)
    codebook = book or load_codebook(layout.codebook)
    known = tuple(item for item in codebook.items if item in raw.headers)
    reasons = () if known else (f"none of the {len(codebook.items)} items of the codebook of {shape.name} is in the file",)
    mapped = _mapped(raw, codebook=codebook, items=known)
    return _inspection(
        raw,
        reasons=reasons,
        wave=layout.wave if newer else layout.codebook,
        dimensions={} if newer else {name: column if column in raw.headers else None for name, column in shape.dimensions.items()},
        version=layout.version,
        synthetic=layout.synthetic,
        countries={name: {key: value for key, value in found._asdict().items() if value} for name, found in layout.countries.items()},
        weight_column=layout.weight_column,
        items_known=known,
        items_unknown=tuple(code for code in _value_questions(raw, layout=layout) if code not in codebook.items),
        items_absent=tuple(item for item in codebook.items if item not in raw.headers),
        mapped_by={str(rule): int(cells) for rule, cells in mapped.groupby("rule")["respondents"].sum().sort_values(ascending=False).items()},
        missing=_missing(mapped),
        unknown_labels=_unknown(mapped),
        notes=(*_notes(raw, layout=layout, newer=newer), *_doubts(raw, layout=layout, codebook=codebook, mapped=mapped, newer=newer)),
    )


def _inspection(raw: RawSurvey, *, reasons: tuple[str, ...], **found: Any) -> Inspection:
    """What any survey file has, and nothing where its layout is not known."""
    nothing: dict[str, Any] = {
        "wave": None,
        "version": "",
        "synthetic": False,
        "countries": {},
        "weight_column": None,
        "mapped_by": {},
        "missing": {},
        "dimensions": {},
    }
    lists: dict[str, Any] = dict.fromkeys(("items_known", "items_unknown", "items_absent", "unknown_labels", "notes"), ())
    return Inspection(
        file=raw.path.name,
        size_bytes=raw.path.stat().st_size,
        format=raw.format,
        encoding=raw.encoding,
        columns=len(raw.headers),
        respondents=raw.respondents,
        can_be_studied=not reasons,
        reasons=reasons,
        **{**nothing, **lists, **found},
    )


def _value_questions(raw: RawSurvey, *, layout: Layout) -> list[str]:
    """The questions before the background ones (such as Q260 Sex), country extras such as Q82_NAFTA included; of integrated codes A to H."""
    if layout.wave_column:
        return [code for code in raw.headers if re.fullmatch(r"[A-H]\d{3}\w*", code)]
    numbered = [(code, re.match(r"[QV](\d{1,3})", code)) for code in raw.headers]
    return [code for code, match in numbered if match and int(match[1]) < int(layout.shape.sex[1:])]


def _mapped(raw: RawSurvey, *, codebook: Codebook, items: tuple[str, ...]) -> pd.DataFrame:
    """The value map of all items: one row per item and distinct cell."""
    maps: Maps = {item: {None: item_resolver(codebook.items[item])} for item in items}
    values = [(item, cell, int(times)) for item in items for cell, times in raw.counts(item)]
    return map_values(pd.DataFrame(values, columns=["column", "cell", "respondents"]), maps=maps)


def _missing(mapped: pd.DataFrame) -> dict[str, dict[str, int]]:
    counts = mapped.dropna(subset=["missing"]).groupby(["column", "missing"], sort=False)["respondents"].sum()
    found: dict[str, dict[str, int]] = {}
    for item, reason, respondents in counts.reset_index().itertuples(index=False):
        found.setdefault(item, {})[reason] = int(respondents)
    return found


def _unknown(mapped: pd.DataFrame) -> tuple[UnknownLabel, ...]:
    rows = mapped.loc[mapped["rule"] == UNKNOWN, ["column", "cell", "respondents"]]
    return tuple(UnknownLabel(str(item), str(cell), int(respondents)) for item, cell, respondents in rows.itertuples(index=False))


def _doubts(raw: RawSurvey, *, layout: Layout, codebook: Codebook, mapped: pd.DataFrame, newer: bool) -> list[str]:
    """What would stop a study at its first gate, or leave respondents out of it."""
    doubts = []
    for item, cells in mapped[mapped["missing"].isna()].groupby("column", sort=False):
        doubts += _not_understood(str(item), int(cells[cells["rule"] == UNKNOWN]["respondents"].sum()), of=int(cells["respondents"].sum()))
    for name, column in layout.shape.dimensions.items() if not newer else ():
        if name != "age" and column in raw.headers:
            known = vocabulary_of(raw, column=column, codebook=codebook)
            resolve = dimension_resolver(DimensionSection(column=column, persona="{level}"), vocabulary=known)
            found = [(resolve(str(cell)).rule, times) for cell, times in raw.counts(column)]
            doubts += _not_understood(
                f"{column} ({name})", sum(times for rule, times in found if rule == UNKNOWN), of=sum(times for _, times in found)
            )
    if layout.weight_column:
        weights = [
            (cell, times) for cell, times in raw.counts(layout.weight_column) if normalised(cell) != "no weighting" and not (number(cell) or 0) > 0
        ]
        if lost := sum(times for _, times in weights):
            doubts.append(f"{layout.weight_column}: {lost:,} weights are no positive numbers; their respondents are left out")
    return doubts


def _not_understood(column: str, unknown: int, *, of: int) -> list[str]:
    share = unknown / of if of else 0.0
    limit = SurveySection().quarantine_limit
    return [f"{column}: {share:.1%} of the answers are not understood, and a study stops above {limit:.1%}"] if share > limit else []


def _notes(raw: RawSurvey, *, layout: Layout, newer: bool) -> tuple[str, ...]:
    absent = [f"{name} ({column})" for name, column in layout.shape.dimensions.items() if column not in raw.headers and not newer]
    known = layout.shape.may_lack_weight
    unweighted = "its shares will be unweighted" if known else "set survey.weight to none in the study; its shares will be unweighted"
    several = any(len(found.waves) > 1 for found in layout.countries.values())
    notes = [
        (layout.weight_column is None, f"no weight column {layout.shape.weight}: {unweighted}"),
        (len(layout.countries) > 1, f"{len(layout.countries)} countries: choose with --country (repeated for several, or ALL)"),
        (several, "several waves: choose with --set survey.wave=NUMBER, or [6, 7] for several"),
        (newer, "which columns hold sex, age, ethnicity and religion is not known of a later wave: name them in the study (dimensions.NAME.column)"),
        (bool(absent), f"no column for {', '.join(absent)}: a study must leave these dimensions out"),
    ]
    return tuple(note for holds, note in notes if holds)


def describe(inspection: Inspection) -> RenderableType:
    """The inspection in sections, for a terminal."""
    sections = [("File", _file_table(inspection)), ("Items", _items_table(inspection))] if inspection.wave else [("File", _file_table(inspection))]
    if inspection.missing:
        sections.append(("Missing answers, by item", _missing_table(inspection)))
    if inspection.unknown_labels:
        sections.append(("Labels that the codebook does not know", _unknown_table(inspection)))
    parts: list[RenderableType] = []
    for title, table in sections:
        parts += [Rule(title, align="left"), Padding(table, (0, 0, 1, 2))]
    return Group(*parts, _verdict(inspection))


def _file_table(inspection: Inspection) -> Table:
    countries = [f"{code} {found['name']}, {found['year']}: {found['respondents']:,} respondents" for code, found in inspection.countries.items()]
    dimensions = [f"{name} {column or '(absent)'}" for name, column in inspection.dimensions.items()] or ["not known"]
    return _pairs(
        ("file", f"{inspection.file} ({inspection.size_bytes / 1e6:.1f} MB)"),
        ("format", f"{inspection.format}, {inspection.respondents:,} respondents x {inspection.columns} columns"),
        *([("encoding", inspection.encoding)] if inspection.encoding else []),
        ("wave", str(inspection.wave or "not one that can be read")),
        ("version", (inspection.version or "not given") + (" (synthetic)" if inspection.synthetic else "")),
        ("country", "\n".join(countries) or "not known"),
        ("weight", inspection.weight_column or "not found"),
        ("dimensions", ", ".join(dimensions)),
    )


def _items_table(inspection: Inspection) -> Table:
    return _pairs(
        ("known", f"{len(inspection.items_known)} of {len(inspection.items_known) + len(inspection.items_absent)} in the codebook"),
        ("absent", _listed(inspection.items_absent)),
        ("unknown", _listed(inspection.items_unknown)),
        ("mapped by", ", ".join(f"{MAPPED_BY[rule]} {cells:,}" for rule, cells in inspection.mapped_by.items()) or "nothing"),
    )


def _missing_table(inspection: Inspection) -> Table:
    """The items with the most missing answers."""
    table = Table(box=None, pad_edge=False)
    for heading, side in (("item", "left"), ("missing", "right"), ("of which", "left")):
        table.add_column(heading, justify="right" if side == "right" else "left")
    ranked = sorted(inspection.missing, key=inspection.missing_share, reverse=True)
    for item in ranked[:SHOWN_ITEMS]:
        reasons = sorted(inspection.missing[item].items(), key=lambda pair: -pair[1])
        table.add_row(item, f"{inspection.missing_share(item):.1%}", ", ".join(f"{reason} {respondents:,}" for reason, respondents in reasons))
    if len(ranked) > SHOWN_ITEMS:
        table.add_row("", "", f"and {len(ranked) - SHOWN_ITEMS} items with less")
    return table


def _unknown_table(inspection: Inspection) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("item", "label", "respondents"):
        table.add_column(heading, justify="right" if heading == "respondents" else "left")
    for unknown in inspection.unknown_labels[:SHOWN_ITEMS]:
        table.add_row(unknown.item, Text(repr(unknown.label)), f"{unknown.respondents:,}")
    if len(inspection.unknown_labels) > SHOWN_ITEMS:
        table.add_row("", f"and {len(inspection.unknown_labels) - SHOWN_ITEMS} more", "")
    return table


def _pairs(*rows: tuple[str, str]) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, value in rows:
        table.add_row(Text(name, style="bold"), Text(value))
    return table


def _listed(items: tuple[str, ...]) -> str:
    rest = len(items) - ITEMS_PER_LINE
    return (", ".join(items[:ITEMS_PER_LINE]) or "none") + (f" and {rest} more" if rest > 0 else "")


def _verdict(inspection: Inspection) -> Text:
    if inspection.can_be_studied:
        lines = ["This file can be studied.", *(f"Note: {note}." for note in inspection.notes)]
        return Text("\n".join(lines), style="green")
    return Text("\n".join(f"This file cannot be studied: {reason}." for reason in inspection.reasons), style="red")
