"""Numbers and labels as a reader sees them. A number that is not there is a dash, never a blank."""

import math
import unicodedata
from typing import Any

import pandas as pd

from tasks.reporting.contents import Statistic

ABSENT = "–"
MINUS = "\u2212"
LABEL_CHARACTERS = 80
MOST_RESPONDENTS = 10_000  # of a survey that is compared with; tasks/fairness/ceilings.py
# Bidirectional overrides and isolates: they would reorder the text that follows the label.
REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


def percent(number: Statistic | float | None) -> str:
    """A share as a percentage with one decimal, and its interval when there is one."""
    return _with_interval(number, scale=100, digits=1, unit="%")


def decimal(number: Statistic | float | None) -> str:
    """A number with three decimals (NMAE, EMD, MDS), and its interval when there is one."""
    return _with_interval(number, scale=1, digits=3, unit="")


def points(difference: float | None) -> str:
    """A difference of two shares in percentage points, always signed: +4.2."""
    return signed(None if difference is None else 100 * difference, digits=1)


def points_between(difference: Statistic | None) -> str:
    """A difference in percentage points with its interval: +4.2 (−1.0 to +9.4)."""
    return signed_between(difference, scale=100, digits=1)


def signed_between(difference: Statistic | None, *, scale: float = 1, digits: int = 3) -> str:
    if difference is None:
        return ABSENT
    value, low, high = (None if number is None else signed(scale * number, digits=digits) for number in difference)
    return str(value) if low is None or high is None else f"{value} ({low} to {high})"


def p_value(p: float | None) -> str:
    return ABSENT if p is None else "under 0.001" if p < 0.001 else f"{p:.3f}"


def respondents(size: float | None) -> str:
    """An equivalent sample size in whole respondents."""
    if size is None or not math.isfinite(size):
        return ABSENT
    return "under 1" if size < 0.5 else f"{size:,.0f}" if size < MOST_RESPONDENTS else f"{MOST_RESPONDENTS:,} or more"


def about(respondents: float) -> str:
    """A number of respondents rounded to tens: differences of published numbers must not count a small group."""
    return f"about {10 * round(respondents / 10):,}"


def signed(number: float | None, digits: int = 3) -> str:
    if number is None or not math.isfinite(number):
        return ABSENT
    text = f"{abs(number):.{digits}f}"
    if float(text) == 0:
        return text
    return f"{MINUS if number < 0 else '+'}{text}"


def thousands(number: Any) -> str:
    return f"{int(number):,}" if isinstance(number, (int, float)) and math.isfinite(number) else ABSENT


def duration(seconds: Any) -> str:
    """Seconds as 0.4 s, 42 s, 2 min 05 s or 1 h 02 min."""
    if not isinstance(seconds, (int, float)) or not math.isfinite(seconds):
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def label(text: Any, limit: int = LABEL_CHARACTERS) -> str:
    """A label of a survey or a user on one line: no control or reordering characters, shortened with an ellipsis."""
    kept = "".join(character for character in str(text) if character.isspace() or _is_printable(character))
    line = " ".join(kept.split())
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def block(text: str) -> str:
    """Text of several lines, each without control and reordering characters."""
    return "\n".join("".join(filter(_is_printable, line)) for line in text.splitlines())


def dimension(name: Any) -> str:
    """A dimension's key in words: age_group x religion becomes age group × religion, all becomes all subgroups."""
    return "all subgroups" if name == "all" else label(str(name).replace(" x ", " × ").replace("_", " "))


def number_or_none(value: Any) -> float | None:
    """A table's cell as a float; None when it is null."""
    return None if pd.isna(value) else float(value)


def _with_interval(number: Statistic | float | None, *, scale: float, digits: int, unit: str) -> str:
    statistic = number if isinstance(number, Statistic) else Statistic(math.nan if number is None else number)
    if not math.isfinite(statistic.value):
        return ABSENT
    text = f"{_plain(statistic.value * scale, digits)}{unit}"
    if statistic.low is None or statistic.high is None:
        return text
    return f"{text} ({_plain(statistic.low * scale, digits)} to {_plain(statistic.high * scale, digits)})"


def _plain(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def _is_printable(character: str) -> bool:
    return character not in REORDERING and unicodedata.category(character) not in ("Cc", "Cs", "Cn", "Co")
