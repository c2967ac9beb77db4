"""The codebook of a wave: its items, their options in scale order, and the levels of the respondent columns.

    codebook = load_codebook(7)
    [option.wording for option in codebook.items["Q56"].options]   # ['Better off', 'About the same', 'Worse off']
    codebook.vocabularies["Q260"]                                  # {1: ('Male',), 2: ('Female',)}
    load_codebook("integrated").items["A001"]                      # the time series, in its own codes
    load_codebook_file(Path("wave8.csv"))                          # a codebook of the user's: a confirmed draft (draft.py)

`codebooks/wave<N>.csv` holds one row per item. `header` and `label` are the survey file's texts, keys for matching; `wording` and `question`
are ours, and are what prompts and reports show. `codebooks/wave<N>_respondents.csv` holds one row per column and code. Codes mean other things
in other waves (V242 is age in wave 6 and ethnicity in wave 4): an item is known by its wave and code, and across waves by `integrated`. Party
choice is left out: its options are another list in every country, so it is one country's vocabulary and no item.

The column `source` says what a row rests on (`codebooks/SOURCES.md`): `header` on header text and labels of the official file of the United States
of that wave, `facts` on our own notes of wave 7, `crosswalk` on the correspondence of waves 7 and 6 with wave 5 and the time series, `public` on
published code that names the variable. Only waves 6 and 7 were compared with a file. Waves 4 and 5 have the items of which published code says what
their variables are, with the options of the same question in wave 6 or 7; government responsibility is left out of wave 5 and the time series,
because it is not confirmed which end of its scale is 1. Wave 7 asks Q33 to Q35 with five options, the time series with three: they share no
`integrated` code.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tasks.errors import InputError, StepError, ValuescapeError
from tasks.files import hash_of, sha256_of

CODEBOOKS_FOLDER = Path(__file__).resolve().parent / "codebooks"
INTEGRATED = "integrated"
KINDS = frozenset({"attitude", "behaviour", "experience", "knowledge"})
SCALES = frozenset({"ordinal", "binary", "nominal"})
CONFIRMED, LEFT_OUT = "yes", "no"
# The autonomy index runs from -2 to 2: below zero it is a value, elsewhere a reason why there is no answer.
VALID_BELOW_ZERO: dict[str, frozenset[int]] = {"Y003": frozenset({-2, -1})}

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
    `direction` says in words what a high code means; `integrated` is the variable's code in the integrated time series; `header` is the
    label of its column in survey files, empty where none was seen."""

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
    header: str = ""


@dataclass(frozen=True)
class Codebook:
    """`wave` is the wave's number, "integrated", or the name of the user's file; `vocabularies`: respondent column -> code -> (the level shown,
    then other labels met in files)."""

    wave: int | str
    items: dict[str, Item]
    vocabularies: Vocabularies
    content_hash: str


class _DamagedRowError(Exception):
    """What is wrong with one row; the public error adds the file and the row."""


class _Source(NamedTuple):
    """A codebook file, the error that its damage is, and what to do about it."""

    path: Path
    error: type[ValuescapeError]
    remedy: str


def load_codebook(wave: int | str = 7) -> Codebook:
    """The shipped codebook of wave 4, 5, 6 or 7, or "integrated"; InputError for any other, StepError for a codebook file that is damaged."""
    return read_codebook(CODEBOOKS_FOLDER, wave=wave)


def read_codebook(folder: Path, *, wave: int | str) -> Codebook:
    """The codebook of `wave` from its two CSV files in `folder`; errors as in load_codebook."""
    known = known_waves(folder)
    if wave not in known:
        raise InputError(f"no codebook for wave {wave}: expected one of {', '.join(map(str, known)) or '(none)'}")
    name = wave if wave == INTEGRATED else f"wave{wave}"
    items_file, respondents_file = folder / f"{name}.csv", folder / f"{name}_respondents.csv"
    return Codebook(
        wave=wave,
        items=_read_items(_shipped(items_file)),
        vocabularies=_read_vocabularies(_shipped(respondents_file)),
        content_hash=hash_of([sha256_of(items_file), sha256_of(respondents_file)]),
    )


def load_codebook_file(path: Path) -> Codebook:
    """A codebook of the user's, with the respondent columns of `<name>_respondents.csv` beside it, when there is one.

    Raises InputError with the row and what to do, also for a draft that nobody has confirmed.
    """
    respondents_file = path.with_name(f"{path.stem}_respondents.csv")
    files = [path, *([respondents_file] if respondents_file.is_file() else [])]
    items = _read_items(_of_user(path))
    if not items:
        raise InputError(f"codebook {path.name} has no item that is confirmed: expected at least one row with a question and its options")
    vocabularies = _read_vocabularies(_of_user(respondents_file)) if respondents_file in files else {}
    return Codebook(path.stem, items, vocabularies, hash_of([sha256_of(file) for file in files]))


def known_waves(folder: Path = CODEBOOKS_FOLDER) -> list[int | str]:
    """[4, 5, 6, 7, 'integrated'] for the shipped folder."""
    numbers = [path.stem.removeprefix("wave") for path in folder.glob("wave*.csv")]
    integrated: list[int | str] = [INTEGRATED] if (folder / f"{INTEGRATED}.csv").is_file() else []
    return [*sorted(int(number) for number in numbers if number.isdigit()), *integrated]


def is_missing_code(code: int, *, column: str) -> bool:
    """Whether a code says that there is no answer: negative codes do, but for the indices that run below zero."""
    return code < 0 and code not in VALID_BELOW_ZERO.get(column, frozenset())


def _shipped(path: Path) -> _Source:
    return _Source(path, StepError, "or restore the file from the repository")


def _of_user(path: Path) -> _Source:
    return _Source(path, InputError, f"save {path.name} as UTF-8 CSV and try again")


def _read_items(source: _Source) -> dict[str, Item]:
    rows = list(_numbered_rows(source))
    _check_confirmed(source.path, rows)
    items: dict[str, Item] = {}
    for number, row in rows:
        if _decision(row) == LEFT_OUT:
            continue
        try:
            item = _item(row)
            _check(item.item not in items, f"item {item.item} appears twice")
        except _DamagedRowError as damage:
            raise _damaged(source, number, row.get("item"), problem=damage) from damage
        items[item.item] = item
    return items


def _check_confirmed(path: Path, rows: list[tuple[int, Row]]) -> None:
    """A draft is a guess until a person has said yes or no to every row of it."""
    open_rows = [(number, row) for number, row in rows if _decision(row) not in (CONFIRMED, LEFT_OUT)]
    if not open_rows:
        return
    number, row = open_rows[0]
    raise InputError(
        f"codebook {path.name} is a draft that is not confirmed: {len(open_rows)} of {len(rows)} rows are open, the first in row {number} "
        f"({row.get('item') or 'no name'}: {_decision(row) or 'empty'}). Compare header, question, codes and labels of each, then write "
        f"{CONFIRMED} (the row is right) or {LEFT_OUT} (leave the column out) into its column confirm, and save the file"
    )


def _decision(row: Row) -> str:
    """What a person made of the row; a codebook that is no draft has no such column, and all its rows count."""
    return row.get("confirm", CONFIRMED).strip().lower()


def _read_vocabularies(source: _Source) -> Vocabularies:
    vocabularies: Vocabularies = {}
    for number, row in _numbered_rows(source):
        try:
            levels = vocabularies.setdefault(_cell(row, "column"), {})
            code = _code(_cell(row, "code"))
            _check(code not in levels, f"code {code} appears twice")
            levels[code] = (_cell(row, "level"), *_strings(_json(row, "aliases", expected=list), place="aliases"))
        except _DamagedRowError as damage:
            raise _damaged(source, number, row.get("column"), problem=damage) from damage
    return vocabularies


def _numbered_rows(source: _Source) -> Iterator[tuple[int, Row]]:
    """Rows with the number a spreadsheet shows for them (the header is row 1); spreadsheets save with a BOM, and in Europe with semicolons."""
    try:
        with source.path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            rows = csv.DictReader(file, restval="", delimiter=";" if first.count(";") > first.count(",") else ",")
            yield from enumerate(rows, start=2)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise source.error(f"codebook {source.path.name} cannot be read: {error}. Check that it is there, {source.remedy}") from error


def _damaged(source: _Source, number: int, name: str | None, *, problem: _DamagedRowError) -> ValuescapeError:
    return source.error(f"codebook {source.path.name}, row {number} ({name or 'no name'}): {problem}. Correct the row, {source.remedy}")


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
        header=row.get("header") or "",
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
