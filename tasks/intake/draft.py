"""A draft codebook for a wave that has none yet: every column is compared with the known items of all codebooks, and a person confirms.

    draft = draft_codebook({"Q107": "Income equality"}, {"Q107": ["Incomes more equal", "2", "3", "9", "Larger income differences"]})
    write_draft(draft, Path("wave8.csv"))     # then fill in the column confirm, and load_codebook_file reads it

Question numbers shift between waves, so a code counts for nothing. What counts is the header text and the options:

    confidence = words x options x choice

- words: twice the weight of the words that both headers have, over the weight of all words of both (Dice); a word weighs log(1 + headers known
  / headers with the word), so that "Confidence:" says little and "Parliament" much.
- options: found / (found + unknown + absent / 2), over the item's options and the column's distinct texts that are no missing code. An option
  that nobody chose counts half against the match, for in a small country that happens. Bare numbers are worth NUMBERS_ONLY at most: they
  cannot show which end of a scale is which.
- choice: 1 when the next-best other question lies MARGIN or more below, less in proportion when it is closer.

A question is given to one column only, the best. At CONFIDENT or more the known wording is taken; between POSSIBLE and CONFIDENT it is
suggested, for a person to decide; all else is listed as unmatched. A scale of numbers with labelled ends is always for a person to decide,
because its texts read the same when it is turned round. Drafts of the files of the United States, each from the other wave's codebook alone, found
152 of 172 questions of wave 6 and 170 of 184 of wave 7 with confidence, and gave no column another question; the best wrong suggestion had 0.64.
"""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError
from tasks.files import write_atomically
from tasks.intake.codebook import LEFT_OUT, Codebook, Item, known_waves, load_codebook
from tasks.intake.labels import UNKNOWN, Resolver, item_resolver, missing_reason, normalised
from tasks.intake.layout import SHAPES, VERSION, WAVE_COLUMNS
from tasks.study import SHOWN_FROM

CONFIDENT = 0.75
POSSIBLE = 0.4
MARGIN = 0.1
NUMBERS_ONLY = 0.7
MOST_OPTIONS = 12
STEM = 7
MATCHED, DECIDE = "matched", "decide"
ADMINISTRATIVE = frozenset(
    {VERSION, "doi", *WAVE_COLUMNS, *(column for shape in SHAPES for column in (*shape.country, shape.year, shape.weight, shape.wave))}
)
COLUMNS = (
    *("item", "header", "topic", "kind", "scale", "question", "codes", "labels", "wordings", "aliases", "off_scale"),
    *("endpoints_only", "direction", "integrated", "confidence", "matched_to", "confirm", "note"),
)
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"-?\d+(\.0+)?")


class KnownItem(NamedTuple):
    """An item of a codebook; `question` is the same for one question of several waves."""

    origin: str
    question: str
    item: Item
    words: frozenset[str]
    resolve: Resolver


class DraftRow(NamedTuple):
    """One column of the file; `known` is None for a column that is like no known item. `confirm` says what the draft makes of the row, until a
    person writes yes or no."""

    item: str
    header: str
    known: KnownItem | None
    confidence: float
    confirm: str
    note: str


class Draft(NamedTuple):
    rows: tuple[DraftRow, ...]

    @property
    def matched(self) -> dict[str, str]:
        """Column -> known item, for the confident matches."""
        return {row.item: row.known.origin for row in self.rows if row.known and row.confidence >= CONFIDENT}

    @property
    def to_decide(self) -> tuple[str, ...]:
        """Columns that need more than a glance."""
        return tuple(row.item for row in self.rows if row.confirm == DECIDE)

    @property
    def unmatched(self) -> tuple[str, ...]:
        """Columns that are like no known item, in the order of the file."""
        return tuple(row.item for row in self.rows if row.known is None)


class _Column(NamedTuple):
    item: str
    header: str
    words: frozenset[str]
    texts: tuple[str, ...]
    shown: tuple[str, ...]


class _Match(NamedTuple):
    score: float
    column: str
    known: KnownItem


class _Library:
    """The known items, and how much each word of their headers says."""

    def __init__(self, codebooks: Iterable[Codebook]) -> None:
        # Newest wave first, the time series last: of equally good matches the first is taken.
        newest_first = sorted(codebooks, key=lambda codebook: -codebook.wave if isinstance(codebook.wave, int) else 0)
        self.items = [_known(item, wave=codebook.wave) for codebook in newest_first for item in codebook.items.values()]

    @cached_property
    def weights(self) -> dict[str, float]:
        times = Counter(word for known in self.items for word in known.words)
        return {word: math.log(1 + len(self.items) / count) for word, count in times.items()}

    def likeness(self, one: frozenset[str], other: frozenset[str]) -> float:
        """Weighted Dice of two sets of words, from 0 to 1; a word that no known header has weighs like one that a single header has."""
        rare = math.log(1 + len(self.items))

        def weight(words: frozenset[str]) -> float:
            return sum(self.weights.get(word, rare) for word in words)

        return 2 * weight(one & other) / (weight(one) + weight(other)) if one and other else 0.0


def draft_codebook(
    headers: Mapping[str, str],
    values: Mapping[str, Mapping[str, int] | Iterable[str]],
    *,
    codebooks: Iterable[Codebook] | None = None,
) -> Draft:
    """A row for every column. `headers`: code -> label of the column; `values`: code -> its distinct cell texts, with their respondents where known;
    `codebooks`: all shipped ones. Texts of fewer than SHOWN_FROM respondents are compared, and never written into the draft.

    Raises InputError when no column has a header text: codes and numbers alone do not tell what was asked.
    """
    if not any(header.strip() for header in headers.values()):
        raise InputError(
            f"cannot be drafted: no header text; give the labelled export (CsvTxt, ExcelTxt, .sav or .dta). Found {len(headers)} columns "
            "with a bare code, expected headers such as 'Q1: Important in life: Family'"
        )
    library = _Library(codebooks if codebooks is not None else [load_codebook(wave) for wave in known_waves()])
    columns = [_column(item, header, values.get(item, ())) for item, header in headers.items()]
    matches = {column.item: _matches(column, library=library) for column in columns}
    chosen = _one_column_each(matches)
    return Draft(tuple(_row(column, match=chosen.get(column.item), matches=matches[column.item]) for column in columns))


def write_draft(draft: Draft, path: Path) -> None:
    """The draft as a codebook CSV, with what a person needs to confirm it: confidence, matched_to, confirm and note."""
    with write_atomically(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(_cells(row) for row in draft.rows)


def item_cells(item: Item) -> dict[str, str]:
    """The row of a codebook CSV that reads as this item."""
    options = item.options
    return {
        **{name: getattr(item, name) for name in ("item", "header", "topic", "kind", "scale", "question", "direction")},
        "codes": "|".join(str(option.code) for option in options),
        "labels": _json({option.code: option.label for option in options}),
        "wordings": _json({option.code: option.wording for option in options}),
        "aliases": _json({option.code: list(option.aliases) for option in (*options, *item.off_scale) if option.aliases}),
        "off_scale": _json({option.code: option.label for option in item.off_scale}),
        "endpoints_only": "yes" if item.endpoints_only else "no",
        "integrated": item.integrated or "",
    }


def _known(item: Item, *, wave: int | str) -> KnownItem:
    # Waves word some questions apart (ten or eleven child qualities); the integrated code ties them together where there is one.
    return KnownItem(f"{wave}:{item.item}", item.integrated or item.question, item, _words(item.header or item.question), item_resolver(item))


def _words(header: str) -> frozenset[str]:
    """What a header is about: its words by their first letters, without plural and British spelling ("importance" is "important")."""
    return frozenset(_stem(word) for word in _WORD.findall(normalised(header)))


def _stem(word: str) -> str:
    american = word.replace("our", "or")
    singular = american[:-1] if american.endswith("s") and len(american) > 3 else american
    return singular[:STEM]


def _column(item: str, header: str, cells: Mapping[str, int] | Iterable[str]) -> _Column:
    texts = tuple(dict.fromkeys(cell for cell in cells if missing_reason(cell, column=item) is None))
    shown = tuple(text for text in texts if not isinstance(cells, Mapping) or cells[text] >= SHOWN_FROM)
    return _Column(item, " ".join(header.split()), _words(header), texts, shown)


def _matches(column: _Column, *, library: _Library) -> list[_Match]:
    """The known items that the column may be, best first."""
    likely = [(known, library.likeness(column.words, known.words)) for known in library.items]
    scored = [_Match(words * _options(column.texts, known=known), column.item, known) for known, words in likely if words >= POSSIBLE]
    return sorted((match for match in scored if match.score >= POSSIBLE), key=lambda match: -match.score)


def _options(texts: tuple[str, ...], *, known: KnownItem) -> float:
    """How far the column's texts are the item's options, from 0 to 1."""
    resolved = [known.resolve(text) for text in texts]
    found = len({one.code for one in resolved if one.code is not None})
    unknown = sum(one.rule == UNKNOWN for one in resolved)
    absent = len(known.item.options) - found
    score = found / (found + unknown + absent / 2)
    return min(score, NUMBERS_ONLY) if all(_NUMBER.fullmatch(text.strip()) for text in texts) else score


def _one_column_each(matches: Mapping[str, list[_Match]]) -> dict[str, _Match]:
    """Column -> its match, the best first; a question that is taken goes to no second column."""
    chosen: dict[str, _Match] = {}
    taken: set[str] = set()
    for match in sorted((match for found in matches.values() for match in found), key=lambda match: -match.score):
        if match.column not in chosen and match.known.question not in taken:
            chosen[match.column] = match
            taken.add(match.known.question)
    return chosen


def _row(column: _Column, *, match: _Match | None, matches: list[_Match]) -> DraftRow:
    confidence = match.score * _choice(match, matches=matches) if match else 0.0
    if match is None or confidence < POSSIBLE:
        return _unmatched(column)
    note = _note(column, known=match.known)
    sure = confidence >= CONFIDENT and not note
    return DraftRow(column.item, column.header, match.known, round(confidence, 3), MATCHED if sure else DECIDE, note)


def _unmatched(column: _Column) -> DraftRow:
    if column.item in ADMINISTRATIVE:
        return DraftRow(column.item, column.header, None, 0.0, LEFT_OUT, "country, year, wave or weight: no question")
    if len(column.texts) > MOST_OPTIONS:
        return DraftRow(column.item, column.header, None, 0.0, LEFT_OUT, f"more than {MOST_OPTIONS} different cells: no question with options")
    return DraftRow(column.item, column.header, None, 0.0, DECIDE, f"cells: {_listed(column.shown, of=len(column.texts))}")


def _listed(texts: Sequence[str], *, of: int) -> str:
    """A few answers may be somebody's own words: they are counted."""
    rest = f"{of - len(texts)} of fewer than {SHOWN_FROM} respondents" if of > len(texts) else ""
    return " | ".join([*texts, *([rest] if rest else [])]) or "(none)"


def _note(column: _Column, *, known: KnownItem) -> str:
    """What texts alone cannot tell about a match."""
    item = known.item
    unknown = [text for text in column.texts if known.resolve(text).rule == UNKNOWN]
    shown = [text for text in unknown if text in column.shown][:MOST_OPTIONS]
    notes = [f"unknown cells: {_listed(shown, of=len(unknown))}"] if unknown else []
    if item.endpoints_only:
        low, high = item.options[0], item.options[-1]
        notes.append(f"look up in the questionnaire that {low.code} is '{low.label}' and {high.code} is '{high.label}'")
    return "; ".join(notes)


def _choice(match: _Match, *, matches: list[_Match]) -> float:
    """How clearly the match is better than the next-best other question, from 0 to 1."""
    next_best = max((other.score for other in matches if other.known.question != match.known.question), default=0.0)
    return max(0.0, min(1.0, (match.score - next_best) / MARGIN))


def _cells(row: DraftRow) -> dict[str, str]:
    known = item_cells(row.known.item) if row.known else {}
    origin = row.known.origin if row.known else ""
    confidence = f"{row.confidence:.3f}" if row.known else ""
    ours = {"item": row.item, "header": row.header, "confidence": confidence, "matched_to": origin, "confirm": row.confirm, "note": row.note}
    return {**known, **ours}


def _json(texts: Mapping[int, str | list[str]]) -> str:
    return json.dumps({str(code): text for code, text in texts.items()}, ensure_ascii=False) if texts else ""
