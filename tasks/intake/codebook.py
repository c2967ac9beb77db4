"""The codebook of a wave: its items, their options in scale order, and the levels of the respondent columns.

    codebook = load_codebook(7)
    [option.wording for option in codebook.items["Q56"].options]   # ['Better off', 'About the same', 'Worse off']
    codebook.vocabularies["Q260"]                                  # {1: ('Male',), 2: ('Female',)}

`codebooks/wave<N>.csv` holds one row per item. `label` is the survey file's text, a key for matching; `wording` and `question` are ours,
and are what prompts and reports show. `codebooks/wave<N>_respondents.csv` holds one row per column and code. Party choice (Q223 in
wave 7) is left out: its options are 969 parties, another list in every country, so it is one country's vocabulary and no item.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import InputError, StepError
from tasks.files import hash_of, sha256_of

CODEBOOKS_FOLDER = Path(__file__).resolve().parent / "codebooks"
KINDS = frozenset({"attitude", "behaviour", "experience", "knowledge"})
SCALES = frozenset({"ordinal", "binary", "nominal"})

Row = Mapping[str, str]
Vocabularies = dict[str, dict[int, tuple[str, ...]]]


class Option(NamedTuple):
    """One answer: `label` is the survey file's text, `wording` is ours."""

    code: int
    label: str
    wording: str
    aliases: tuple[str, ...]


@dataclass(frozen=True)
class Item:
    """One survey variable. `options` are in scale order (nominal items: code order); `off_scale` codes leave shares and options alike;
    `direction` says in words what a high code means; `integrated` is the variable's code in the integrated time series."""

    item: str
    topic: str
    kind: str
    scale: str
    question: str
    options: tuple[Option, ...]
    off_scale: tuple[Option, ...]
    endpoints_only: bool
    direction: str
    integrated: str | None


@dataclass(frozen=True)
class Codebook:
    """`vocabularies`: respondent column -> code -> (the level shown, then other labels met in files)."""

    wave: int
    items: dict[str, Item]
    vocabularies: Vocabularies
    content_hash: str


class _DamagedRowError(Exception):
    """What is wrong with one row; the public error adds the file and the row."""


def load_codebook(wave: int = 7) -> Codebook:
    """Raises InputError for a wave without a codebook, StepError for a codebook file that is damaged."""
    return read_codebook(CODEBOOKS_FOLDER, wave=wave)


def read_codebook(folder: Path, *, wave: int) -> Codebook:
    """The codebook of `wave` from its two CSV files in `folder`; errors as in load_codebook."""
    items_file, respondents_file = folder / f"wave{wave}.csv", folder / f"wave{wave}_respondents.csv"
    if not items_file.is_file():
        raise InputError(f"no codebook for wave {wave}: expected one of the waves {', '.join(_known_waves(folder)) or '(none)'}")
    return Codebook(
        wave=wave,
        items=_read_items(items_file),
        vocabularies=_read_vocabularies(respondents_file),
        content_hash=hash_of([sha256_of(items_file), sha256_of(respondents_file)]),
    )


def _known_waves(folder: Path) -> list[str]:
    return sorted(path.stem.removeprefix("wave") for path in folder.glob("wave*.csv") if path.stem.removeprefix("wave").isdigit())


def _read_items(path: Path) -> dict[str, Item]:
    items: dict[str, Item] = {}
    for number, row in _numbered_rows(path):
        try:
            item = _item(row)
            _check(item.item not in items, f"item {item.item} appears twice")
        except _DamagedRowError as damage:
            raise _damaged(path, number, row.get("item"), problem=damage) from damage
        items[item.item] = item
    return items


def _read_vocabularies(path: Path) -> Vocabularies:
    vocabularies: Vocabularies = {}
    for number, row in _numbered_rows(path):
        try:
            levels = vocabularies.setdefault(_cell(row, "column"), {})
            code = _code(_cell(row, "code"))
            _check(code not in levels, f"code {code} appears twice")
            levels[code] = (_cell(row, "level"), *_strings(_json(row, "aliases", expected=list), place="aliases"))
        except _DamagedRowError as damage:
            raise _damaged(path, number, row.get("column"), problem=damage) from damage
    return vocabularies


def _numbered_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows with the number a spreadsheet shows for them (the header is row 1)."""
    try:
        with path.open(encoding="utf-8", newline="") as source:
            yield from enumerate(csv.DictReader(source, restval=""), start=2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise StepError(f"codebook {path.name} cannot be read: {error}. Restore tasks/intake/codebooks from the repository") from error


def _damaged(path: Path, number: int, name: str | None, *, problem: _DamagedRowError) -> StepError:
    return StepError(f"codebook {path.name}, row {number} ({name or 'no name'}): {problem}. Correct the row, or restore the file from the repository")


def _item(row: Row) -> Item:
    kind, scale, endpoints = _cell(row, "kind"), _cell(row, "scale"), _cell(row, "endpoints_only")
    _check(kind in KINDS, f"kind is {kind!r}, expected one of {', '.join(sorted(KINDS))}")
    _check(scale in SCALES, f"scale is {scale!r}, expected one of {', '.join(sorted(SCALES))}")
    _check(endpoints in ("yes", "no"), f"endpoints_only is {endpoints!r}, expected yes or no")
    options, off_scale = _options(row)
    return Item(
        item=_cell(row, "item"),
        topic=_cell(row, "topic"),
        kind=kind,
        scale=scale,
        question=_cell(row, "question"),
        options=options,
        off_scale=off_scale,
        endpoints_only=endpoints == "yes",
        direction=row.get("direction") or "",
        integrated=row.get("integrated") or None,
    )


def _options(row: Row) -> tuple[tuple[Option, ...], tuple[Option, ...]]:
    """The options on the scale, in its order, and those off it."""
    codes = [_code(text) for text in _cell(row, "codes").split("|")]
    labels, wordings, off_scale = (_texts_by_code(row, column) for column in ("labels", "wordings", "off_scale"))
    aliases = _aliases_by_code(row)
    _check(len(codes) >= 2, f"codes lists {len(codes)} option, expected at least 2")
    _check(len({*codes, *off_scale}) == len(codes) + len(off_scale), "a code appears twice in codes and off_scale")
    for column, texts in (("labels", labels), ("wordings", wordings)):
        _check(set(texts) == set(codes), f"{column} has the codes {sorted(texts)}, expected those of codes, {sorted(codes)}")
    _check(set(aliases) <= {*codes, *off_scale}, f"aliases has the codes {sorted(aliases)}, expected codes that are in codes or off_scale")
    on_scale = tuple(Option(code, labels[code], wordings[code], aliases.get(code, ())) for code in codes)
    return on_scale, tuple(Option(code, label, label, aliases.get(code, ())) for code, label in sorted(off_scale.items()))


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise _DamagedRowError(problem)


def _cell(row: Row, column: str) -> str:
    text = (row.get(column) or "").strip()
    _check(text != "", f"column {column} is empty or absent, expected a value")
    return text


def _code(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise _DamagedRowError(f"code {text!r} is not a whole number") from error


def _texts_by_code(row: Row, column: str) -> dict[int, str]:
    texts = _json(row, column, expected=dict)
    for code, text in texts.items():
        _check(isinstance(text, str) and text.strip() != "", f"{column} of code {code} is {text!r}, expected a text")
    return {_code(code): text for code, text in texts.items()}


def _aliases_by_code(row: Row) -> dict[int, tuple[str, ...]]:
    return {_code(code): _strings(texts, place=f"aliases of code {code}") for code, texts in _json(row, "aliases", expected=dict).items()}


def _strings(texts: Any, *, place: str) -> tuple[str, ...]:
    _check(isinstance(texts, list) and all(isinstance(text, str) for text in texts), f"{place}: found {texts!r}, expected a list of texts")
    return tuple(texts)


def _json(row: Row, column: str, *, expected: type) -> Any:
    """The cell's JSON; an empty cell is an empty `expected`."""
    text = (row.get(column) or "").strip()
    try:
        value = json.loads(text) if text else expected()
    except json.JSONDecodeError as error:
        raise _DamagedRowError(f"column {column} is not JSON: {error}") from error
    _check(isinstance(value, expected), f"column {column} holds {type(value).__name__}, expected {expected.__name__}")
    return value
