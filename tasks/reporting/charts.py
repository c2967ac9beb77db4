"""Charts as inline SVG: frame -> Altair chart -> SVG text, without JavaScript, fonts or a network.

    svg = draw(dumbbell(frame, canvas=WIDE), name="levels-wide", description="Accuracy by level ...")

Colours are Okabe and Ito's; no chart tells anything by colour alone. A chart is drawn for a wide page and for a phone, so that its text stays
readable on both.
"""

import textwrap
import xml.etree.ElementTree as ElementTree
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from tasks.reporting import formats

ORANGE, SKY, BLUE, GREY = "#E69F00", "#56B4E9", "#0072B2", "#8C8C8C"
INK, FAINT, PALE = "#1F2933", "#E3E7EB", "#F1F6FA"
KIND_COLOURS = {"base": ORANGE, "tuned": BLUE, "control": SKY, "baseline": "#B5BBC1"}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
CELL_WIDTH = 40  # px that a number of the heat map needs
LONGEST_LINE = 1500  # points of a training curve
# A label may hold a line break that `_wrapped` put there; survey text has none left.
LABEL_LINES = "split(datum.label, '\\n')"


class Canvas(NamedTuple):
    """A page's width in px: of the whole chart, of its row labels, and of the margin where numbers stand."""

    width: int
    labels: int
    margin: int
    font: int
    characters: int  # of a row label's line


WIDE = Canvas(width=860, labels=200, margin=56, font=14, characters=28)
NARROW = Canvas(width=336, labels=116, margin=48, font=13, characters=16)
ROOM_FOR_LABELS = 1.16  # of an axis that ends at 100%: the label of a bar stands behind its end


def headline(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Bars of accuracy. Frame: panel, name, kind (base, tuned, control, baseline), accuracy; the national mode is also a dashed line."""
    panels = list(dict.fromkeys(frame["panel"]))
    abreast = len(panels) if canvas is WIDE else 1
    inner = (canvas.width - canvas.labels - abreast * canvas.margin) // abreast
    drawn = [_bars(frame[frame["panel"] == panel], canvas=canvas, inner=inner, labelled=place % abreast == 0) for place, panel in enumerate(panels)]
    joined = alt.hconcat(*drawn, spacing=canvas.margin) if abreast > 1 else alt.vconcat(*drawn, spacing=18)
    return _styled(joined, canvas)


def _bars(frame: pd.DataFrame, *, canvas: Canvas, inner: int, labelled: bool) -> alt.LayerChart:
    rows = frame.assign(
        row=[_wrapped(name, canvas) for name in frame["name"]],
        text=[formats.percent(value) for value in frame["accuracy"]],
        colour=[KIND_COLOURS[kind] for kind in frame["kind"]],
    )
    order = list(rows["row"])
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=order, paddingInner=0.28), axis=_row_axis(canvas, labelled))
    base = alt.Chart(rows).encode(y=y)
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1])
    x = alt.X("accuracy:Q", title=None, scale=alt.Scale(domain=[0, ROOM_FOR_LABELS]), axis=axis)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(x=x, color=alt.Color("colour:N", scale=None))
    texts = base.mark_text(align="left", dx=5, color=INK).encode(x=x, text="text:N")
    national = alt.Chart(rows[rows["name"] == "National mode"]).mark_rule(strokeDash=[4, 3], color=INK, opacity=0.7)
    halo = base.mark_text(align="left", dx=5, stroke="white", strokeWidth=5, strokeJoin="round").encode(x=x, text="text:N")
    layers = alt.layer(bars, national.encode(x=x), halo, texts)
    title = alt.TitleParams(str(rows["panel"].iloc[0]), anchor="start", frame="bounds" if canvas is NARROW else "group")
    return layers.properties(width=inner, height=alt.Step(38 if canvas is NARROW else 32), title=title)


def dumbbell(frame: pd.DataFrame, *, canvas: Canvas, share: bool = True) -> alt.TopLevelMixin:
    """Base -> tuned by level, one block per dimension. Frame: dimension, name, base, tuned, national (NaN when absent)."""
    values = frame[["base", "tuned", "national"]].to_numpy(dtype=float)
    step = 0.1
    low = max(0.0, float(np.nanmin(values)) // step * step)
    high = min(1.0, (float(np.nanmax(values)) // step + 1) * step)
    domain = [low, max(high, low + step)]
    blocks = [_dumbbells(group, canvas=canvas, domain=domain, share=share) for _, group in frame.groupby("dimension", sort=False)]
    return _styled(alt.vconcat(*blocks, spacing=10), canvas)


def _dumbbells(frame: pd.DataFrame, *, canvas: Canvas, domain: list[float], share: bool) -> alt.LayerChart:
    rows = frame.assign(row=_distinct([_wrapped(name, canvas) for name in frame["name"]]))
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=list(rows["row"])), axis=_row_axis(canvas, True))
    axis = alt.Axis(format="%" if share else ".2f", tickCount=5 if canvas is WIDE else 3)
    scale = alt.Scale(domain=domain, nice=False)

    def along(column: str) -> alt.X:
        return alt.X(f"{column}:Q", title=None, scale=scale, axis=axis)

    base = alt.Chart(rows).encode(y=y)
    layers = (
        base.mark_rule(color=GREY, strokeWidth=2).encode(x=along("base"), x2="tuned:Q"),
        base.mark_tick(color=INK, thickness=2, height=16).encode(x=along("national")),
        base.mark_point(filled=True, size=90, shape="diamond", color=ORANGE, opacity=1).encode(x=along("base")),
        base.mark_point(filled=True, size=90, color=BLUE, opacity=1).encode(x=along("tuned")),
    )
    inner = canvas.width - canvas.labels - canvas.margin // 2
    title = alt.TitleParams(formats.dimension(rows["dimension"].iloc[0]), anchor="start", frame="bounds")
    return alt.layer(*layers).properties(width=inner, height=alt.Step(26), title=title)


def heat_map(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Mean MDS by topic and dimension, every cell with its number; crossed dimensions where there is room for them.

    Frame: topic, dimension, crossed (traits of its subgroups), mds; topics in the order to be drawn.
    """
    inner = canvas.width - canvas.labels - (2 if canvas is WIDE else 1) * canvas.margin
    if frame["dimension"].nunique() * CELL_WIDTH > inner:
        frame = frame[frame["crossed"] <= 1]
    columns = [formats.dimension(name) for name in frame.drop_duplicates("dimension").sort_values("crossed", kind="stable")["dimension"]]
    top = max(float(frame["mds"].max()), 0.01)
    rows = frame.assign(
        row=[_wrapped(name, canvas) for name in frame["topic"]],
        column=[formats.dimension(name) for name in frame["dimension"]],
        text=[f"{value:.2f}" for value in frame["mds"]],
        ink=["#FFFFFF" if value > 0.6 * top else INK for value in frame["mds"]],
    )
    scale = alt.Scale(domain=list(dict.fromkeys(columns)), paddingInner=0.03)
    axis = alt.Axis(orient="top", labelAngle=-40, labelAlign="left", labelLimit=150, domain=False, ticks=False, labelPadding=6)
    base = alt.Chart(rows).encode(
        x=alt.X("column:N", title=None, scale=scale, axis=axis),
        y=alt.Y("row:N", title=None, scale=alt.Scale(domain=list(dict.fromkeys(rows["row"])), paddingInner=0.06), axis=_row_axis(canvas, True)),
    )
    cells = base.mark_rect(cornerRadius=2).encode(color=alt.Color("mds:Q", legend=None, scale=alt.Scale(domain=[0, top], range=[PALE, BLUE])))
    texts = base.mark_text().encode(text="text:N", color=alt.Color("ink:N", scale=None))
    layers = alt.layer(cells, texts).resolve_scale(color="independent")
    return _styled(layers.properties(width=inner, height=alt.Step(36)), canvas, slanted=True)


def training_curve(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Loss and validation loss by optimizer step. Frame: step, loss, validation_loss (NaN between evaluations)."""
    losses = frame[["step", "loss"]].dropna()
    losses = losses.iloc[:: max(1, len(losses) // LONGEST_LINE)]
    checks = frame[["step", "validation_loss"]].dropna()
    x = alt.X("step:Q", title="optimizer step", axis=alt.Axis(tickMinStep=1, tickCount=5, grid=False))

    def loss(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", title="loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))

    layers = (
        alt.Chart(losses).mark_line(color=SKY, strokeWidth=1.6).encode(x=x, y=loss("loss")),
        alt.Chart(checks).mark_line(color=BLUE, strokeWidth=2.4).encode(x=x, y=loss("validation_loss")),
        alt.Chart(checks).mark_point(color=BLUE, filled=True, size=60, opacity=1).encode(x=x, y=loss("validation_loss")),
    )
    sized = alt.layer(*layers).properties(width=canvas.width - 2 * canvas.margin, height=260 if canvas is WIDE else 200)
    return _styled(sized, canvas)


def draw(chart: alt.TopLevelMixin, *, name: str, description: str) -> str:
    """The chart as an SVG that scales with its box. `name` keeps its ids apart from those of the page's other charts."""
    text = vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])
    root = ElementTree.fromstring(text)
    _rename_ids(root, name)
    width = float(root.attrib.pop("width"))
    root.attrib.pop("height")
    root.attrib.update({"class": "chart", "role": "img", "aria-label": description, "style": f"max-width:{width:.0f}px"})
    ElementTree.register_namespace("", SVG_NAMESPACE)
    return ElementTree.tostring(root, encoding="unicode")


def _rename_ids(root: ElementTree.Element, name: str) -> None:
    """Numbered anew from 0: the drawing library counts on from chart to chart, and the same run should give the same page."""
    identified = [element for element in root.iter() if "id" in element.attrib]
    renamed = {element.attrib["id"]: f"{name}-{place}" for place, element in enumerate(identified)}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, renamed[value])
            elif value.startswith("url(#"):
                element.set(key, f"url(#{renamed[value[5:-1]]})")


def _styled(chart: Any, canvas: Canvas, *, slanted: bool = False) -> alt.TopLevelMixin:
    """`slanted` column labels get room above and to their right: a browser's font may be wider than the one that they were measured in."""
    room = 24 if slanted else 2
    styled: alt.TopLevelMixin = (
        chart.properties(background="#FFFFFF", padding={"left": 2, "right": room, "top": room, "bottom": 4})
        .configure(font=FONT, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelFontSize=canvas.font, titleFontSize=canvas.font, titleFontWeight="normal", labelColor=INK, titleColor=INK,
            gridColor=FAINT, domainColor=FAINT, tickColor=FAINT, labelLimit=canvas.labels,
        )
        .configure_title(fontSize=canvas.font + 1, fontWeight=600, color=INK, offset=6)
        .configure_text(fontSize=canvas.font)
    )  # fmt: skip
    return styled


def _row_axis(canvas: Canvas, labelled: bool) -> alt.Axis | None:
    """Row labels in a column of a fixed width, so that charts above one another line up."""
    if not labelled:
        return None
    return alt.Axis(
        labelExpr=LABEL_LINES, labelLimit=canvas.labels - 12, labelPadding=8, minExtent=canvas.labels, maxExtent=canvas.labels,
        ticks=False, domain=False, grid=False,
    )  # fmt: skip


def _wrapped(text: Any, canvas: Canvas) -> str:
    """A label on at most two lines."""
    lines = textwrap.wrap(formats.label(text), canvas.characters, break_long_words=True)
    if len(lines) > 2:
        lines = [lines[0], f"{lines[1][: canvas.characters - 1]}…"]
    return "\n".join(lines)


def _distinct(labels: list[str]) -> list[str]:
    """Labels that were shortened to the same text get a number, or their rows would fall together."""
    seen: dict[str, int] = {}
    result = []
    for label in labels:
        seen[label] = seen.get(label, 0) + 1
        result.append(label if seen[label] == 1 else f"{label} ({seen[label]})")
    return result
