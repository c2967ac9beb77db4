"""Cell texts to codes, levels and missing codes; what cannot be resolved is quarantined, never guessed.

    resolver = item_resolver(codebook.items["Q56"])
    resolver("Or about the same")   # Resolved(code=3, level=None, missing=None, rule='exact')
    resolver("No answer{NA}")       # Resolved(code=None, level=None, missing='no_answer', rule='missing')
    resolver("Allways")             # Resolved(None, None, None, rule='unknown')

A map belongs to one column of one wave: the same text or number means other things elsewhere.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import pandas as pd

from tasks.intake.codebook import Item, is_missing_code
from tasks.study import DimensionSection, RefineSection

OLDEST = 120
UNKNOWN = "unknown"
LEFT_OUT = "left_out"
OFF_SCALE = "off_scale"

MISSING_CODES = {-1: "dont_know", -2: "no_answer", -3: "not_applicable", -4: "not_asked", -5: "missing"}
# Matched against normalised text. A spelling may go on after a separator ("No answer;SG: Refused"), but not as a sentence:
# "Not mentioned", "Don't mind" and "Don't belong" are answers.
_MORE = r"(\s*[;/,({:\[].*)?"
MISSING_SPELLINGS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile(f"(?:{spellings}){_MORE}"))
    for reason, spellings in (
        ("dont_know", r"don'?t know|do not know|don't -9:-2|dk"),
        ("no_answer", r"no answer|refused|refusal|na/refused|no response|no contesta"),
        ("not_applicable", r"inap|inapplicable|not applicable"),
        ("not_asked", r"not asked( in .*)?|question not asked"),
        ("missing", r"missing|other missing|not available|na|n/a"),
    )
)
_APOSTROPHES = str.maketrans("´’‘`", "''''")
_COUNTRY_PREFIX = re.compile(r"[A-Z]{2,3}: (?P<label>.+)", re.DOTALL)
# Digits of ASCII only, as SQL reads them.
_CODE = re.compile(r"(?P<code>-?\d+)([.,]0+)?", re.ASCII)
_NUMBER = re.compile(r"-?(\d+([.,]\d+)?|[.,]\d+)", re.ASCII)


class Resolved(NamedTuple):
    """What a cell means: exactly one of code, level and missing; none of them under the rule 'unknown'."""

    code: int | None
    level: str | None
    missing: str | None
    rule: str


class MappedValue(NamedTuple):
    """A distinct cell of a column, what it means for the column's item (`dimension` is None) or for a dimension, and how many have it."""

    column: str
    dimension: str | None
    cell: str
    code: int | None
    level: str | None
    missing: str | None
    rule: str
    respondents: int


Resolver = Callable[[str], Resolved]
Maps = dict[str, dict[str | None, Resolver]]
_NOTHING = Resolved(None, None, None, UNKNOWN)


def map_values(values: pd.DataFrame, *, maps: Maps) -> pd.DataFrame:
    """Map each distinct cell; `values` has column, cell, respondents, and `maps` a resolver for each use of a column."""
    mapped = [
        MappedValue(column, dimension, cell, *resolve(cell), respondents)
        for column, cell, respondents in values[["column", "cell", "respondents"]].itertuples(index=False)
        for dimension, resolve in maps[column].items()
    ]
    return pd.DataFrame(mapped, columns=list(MappedValue._fields)).astype({"code": "Int64"})


def normalised(text: str) -> str:
    """The text without what differs between exports: apostrophes, `{short}` suffixes, spaces, closing `;` and quotes, case.

    Apostrophes come first, because NFKC splits the acute accent that some files use for one.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES))
    plain = re.sub(r"\s*\{[^{}]*\}\s*$", "", plain)
    return " ".join(plain.split()).strip('" ').rstrip("; ").casefold()


def number(text: str) -> float | None:
    """The number that a cell holds, with a point or a comma (`,385` is 0.385); None for any other text."""
    found = _NUMBER.fullmatch(text.strip())
    return float(found[0].replace(",", ".")) if found else None


def missing_reason(cell: str, *, column: str = "") -> str | None:
    """Why there is no answer; None when the text may be one. `column` matters where a negative number is a value (is_missing_code)."""
    numeric = _CODE.fullmatch(cell.strip())
    if numeric:
        code = int(numeric["code"])
        return MISSING_CODES.get(code, "missing") if is_missing_code(code, column=column) else None
    text = normalised(without_country(cell))
    if not text:
        return "missing"
    return next((reason for reason, spelling in MISSING_SPELLINGS if spelling.fullmatch(text)), None)


def item_resolver(item: Item) -> Resolver:
    """A map for one item's column: its labels and codes first, because an option may read like a missing code elsewhere."""
    on_scale = {option.code for option in item.options}
    search = _Labels({option.code: (option.label, *option.aliases) for option in (*item.options, *item.off_scale)})

    def resolve(cell: str) -> Resolved:
        code, rule = search(cell)
        if code is None:
            code, rule = search.by_text(without_country(cell))[0], "country_label"
        if code is None:
            return _missing(cell) or _NOTHING
        return Resolved(code, None, None, rule) if code in on_scale else Resolved(None, None, OFF_SCALE, rule)

    return resolve


def dimension_resolver(section: DimensionSection, *, vocabulary: Mapping[int, tuple[str, ...]]) -> Resolver:
    """A map for one dimension's column; the study's `levels` speak last, and first where they name the file's own text."""
    column = str(section.column)
    find = _band_finder(section.bands, column=column) if section.bands else _level_finder(vocabulary, column=column)

    def resolve(cell: str) -> Resolved:
        if cell.strip() in section.levels:
            return _renamed(section.levels[cell.strip()])
        found = find(cell)
        return _renamed(section.levels[found.level]) if found.level in section.levels else found

    return resolve


def refining_resolver(section: RefineSection, *, labels: Mapping[int, str]) -> Resolver:
    """A map for the column that refines a dimension, by code or label (of the cell, or the file's own of its code); its other texts leave the
    respondent the dimension's own level."""
    known = {normalised(text): level for text, level in section.levels.items()}

    def resolve(cell: str) -> Resolved:
        numeric = _CODE.fullmatch(cell.strip())
        texts = [numeric["code"], labels.get(int(numeric["code"]), "")] if numeric else [cell]
        names = [normalised(name) for text in texts for name in (text, without_country(text))]
        level = next((known[name] for name in names if name in known), None)
        return Resolved(None, level, None if level else LEFT_OUT, "refine")

    return resolve


def _missing(cell: str, *, column: str = "") -> Resolved | None:
    reason = missing_reason(cell, column=column)
    return Resolved(None, None, reason, "missing") if reason else None


def _renamed(level: str | None) -> Resolved:
    return Resolved(None, level, None if level else LEFT_OUT, "levels")


class _Labels:
    """Finds a code by exact label, number, normalised label or alias; each text only where it is unambiguous."""

    def __init__(self, labels: Mapping[int, tuple[str, ...]]) -> None:
        self._codes = set(labels)
        self._exact = _unambiguous((texts[0], code) for code, texts in labels.items())
        self._normalised = _unambiguous((normalised(texts[0]), code) for code, texts in labels.items())
        self._aliases = _unambiguous((normalised(text), code) for code, texts in labels.items() for text in texts[1:])

    def __call__(self, cell: str) -> tuple[int | None, str]:
        if cell in self._exact:
            return self._exact[cell], "exact"
        numeric = _CODE.fullmatch(cell.strip())
        if numeric and int(numeric["code"]) in self._codes:
            return int(numeric["code"]), "code"
        return self.by_text(cell)

    def by_text(self, cell: str) -> tuple[int | None, str]:
        text = normalised(cell)
        if text in self._normalised:
            return self._normalised[text], "normalised"
        return self._aliases.get(text), "alias"


def _unambiguous(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Texts that stand for one code only."""
    known = set(pairs)
    times = Counter(text for text, _ in known)
    return {text: code for text, code in known if times[text] == 1}


def without_country(cell: str) -> str:
    """A label without the country that official files put before it: "SG: Malay" is "Malay"."""
    prefixed = _COUNTRY_PREFIX.fullmatch(cell.strip())
    return prefixed["label"] if prefixed else cell


def _level_finder(vocabulary: Mapping[int, tuple[str, ...]], *, column: str) -> Resolver:
    """By the vocabulary; else the label itself, where it names its country or the column has no vocabulary to contradict it.

    A label behind a country prefix is looked up with it only: one country's "Indian" is another level than another's.
    """
    search = _Labels(vocabulary)

    def find(cell: str) -> Resolved:
        code, rule = search(cell)
        if code is not None:
            return Resolved(None, vocabulary[code][0], None, rule)
        missing = _missing(cell, column=column)
        if missing:
            return missing
        label = without_country(cell)
        if label != cell:
            return Resolved(None, label.strip(), None, "country_label")
        is_label = not vocabulary and number(cell) is None
        return Resolved(None, " ".join(cell.split()), None, "label") if is_label else _NOTHING

    return find


def _band_finder(bands: tuple[int, ...], *, column: str) -> Resolver:
    """`bands` are lower bounds: (16, 25, 65) makes 16-24, 25-64 and 65+. Bands of ages take no number over OLDEST: 999 is no age, and nobody knows
    what else it is."""
    names = band_names(bands)
    largest = OLDEST if bands[-1] < OLDEST else math.inf

    def find(cell: str) -> Resolved:
        missing, value = _missing(cell, column=column), number(cell)
        if missing or value is None or value > largest:
            return missing or _NOTHING
        reached = [name for low, name in zip(bands, names, strict=True) if value >= low]
        return Resolved(None, reached[-1], None, "bands") if reached else Resolved(None, None, LEFT_OUT, "bands")

    return find


def band_names(bands: tuple[int, ...]) -> list[str]:
    """['16-24', '25-64', '65+'] for the lower bounds (16, 25, 65)."""
    return [f"{low}-{high - 1}" for low, high in zip(bands, bands[1:], strict=False)] + [f"{bands[-1]}+"]
