"""Which cells a report may show: those of enough respondents, and not those by which a smaller one could be computed by subtraction.

    shown = shown_cells(pairs[pairs["item"] == item], families, least=30)

A family is a subgroup split by one more dimension: women, and the women of each religion. Its parts add up to the whole, so that what is left out of
it is known when everything else is shown. Complementary suppression (Cox 1980): the smallest part is left out too, until what is missing of a family
counts at least `least` respondents and is not one part alone.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd


class Family(NamedTuple):
    whole: str
    parts: tuple[str, ...]


def families_of(subgroups: pd.DataFrame) -> list[Family]:
    """Every subgroup with its parts, by the dimension that splits it."""
    names = {frozenset(traits): name for name, traits in _traits(subgroups).items()}
    parts: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, traits in _traits(subgroups).items():
        for trait in traits:
            whole = names.get(frozenset(traits) - {trait})
            if whole is not None:
                parts[(whole, trait[0])].append(name)
    return [Family(whole, tuple(held)) for (whole, _), held in parts.items()]


def _traits(subgroups: pd.DataFrame) -> dict[str, list[tuple[str, str]]]:
    rows: Any = subgroups[["subgroup_id", "dimensions", "levels"]].itertuples(index=False, name=None)
    return {str(name): list(zip(dimensions, levels, strict=True)) for name, dimensions, levels in rows}


def shown_cells(cells: Mapping[str, int], families: list[Family], *, least: int) -> set[str]:
    """`cells`: respondents by subgroup, of one question. The subgroups whose cells may be shown."""
    shown = {name for name, respondents in cells.items() if respondents >= least}
    taken: set[str] = set()  # large enough, and left out for the sake of another
    while True:
        more = {_smallest(family, shown, cells) for family in families if _tells(family, shown, taken, cells, least=least)} - {""}
        if not more:
            return shown
        shown -= more
        taken |= more


def _tells(family: Family, shown: set[str], taken: set[str], cells: Mapping[str, int], *, least: int) -> bool:
    """Whether what is left out of a family can be computed: it counts too few, or is a single cell that was left out for another's sake."""
    if family.whole not in shown:
        return False
    rest = cells[family.whole] - sum(cells[part] for part in family.parts if part in shown)
    alone = [part for part in family.parts if part in taken]
    return 0 < rest < least or (len(alone) == 1 and rest == cells[alone[0]])


def _smallest(family: Family, shown: set[str], cells: Mapping[str, int]) -> str:
    """The smallest part that is still shown; empty when there is none."""
    return min((part for part in family.parts if part in shown), key=lambda part: (cells[part], part), default="")
