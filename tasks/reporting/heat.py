"""Tables that are read by their colour: macros.html.j2 draws them."""

from typing import NamedTuple


class HeatCell(NamedTuple):
    """`shade`: 0 to 100, how dark; `bold`: what the table's caption says of it."""

    text: str
    shade: int
    bold: bool


class HeatRow(NamedTuple):
    """`cells` in the order of the columns; None where there is nothing to show. `heading` stands above the row, if any."""

    name: str
    cells: list[HeatCell | None]
    heading: str = ""


class HeatMap(NamedTuple):
    corner: str
    columns: list[str]
    rows: list[HeatRow]
