"""Charts as inline SVG: frame -> Altair chart -> SVG text, without JavaScript, fonts or a network.

    svg = draw(dumbbell(frame, canvas=WIDE), name="levels-wide", description="Accuracy by level ...")

Colours are Okabe and Ito's; no chart tells anything by colour alone. The page's style sheet (report.css) says what each of them is, so that a chart
is dark where the page is. A chart is drawn for a wide page and for a phone, so that its text stays readable on both.
"""

import textwrap
import xml.etree.ElementTree as ElementTree
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import pandas as pd
import vl_convert

from tasks.reporting import formats, names

BASE, TUNED, CONTROL, BASELINE = "#d55e00", "#0072b2", "#009e73", "#7b858f"
INK, FAINT, PAPER = "#1f2933", "#e3e7eb", "#ffffff"
THEMED = {BASE: "base", TUNED: "tuned", CONTROL: "control", BASELINE: "baseline", INK: "ink", FAINT: "faint", PAPER: "card"}  # colour -> --name
KIND_COLOURS = {"base": BASE, "tuned": TUNED, "control": CONTROL, "baseline": BASELINE}
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, Helvetica, Arial, sans-serif"
SVG_NAMESPACE = "http://www.w3.org/2000/svg"
APART = 5  # px between the base and the tuned model in a row
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


WIDE = Canvas(width=880, labels=210, margin=66, font=14, characters=30)
NARROW = Canvas(width=336, labels=116, margin=48, font=13, characters=15)
ROOM_FOR_LABELS = 1.16  # of an axis that ends at 100%: the label of a bar stands behind its end


def headline(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Bars of accuracy with intervals. Frame: panel, name, kind (base, tuned, control, baseline), accuracy, low, high (NaN where there are none);
    the national mode is also a dashed line."""
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
        end=frame[["accuracy", "high"]].max(axis=1),
        colour=[KIND_COLOURS[kind] for kind in frame["kind"]],
    )
    order = list(rows["row"])
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=order, paddingInner=0.28), axis=_row_axis(canvas, labelled))
    base = alt.Chart(rows).encode(y=y)
    axis = alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1] if canvas is WIDE else [0, 0.5, 1])
    x = alt.X("accuracy:Q", title=None, scale=alt.Scale(domain=[0, ROOM_FOR_LABELS]), axis=axis)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(x=x, color=alt.Color("colour:N", scale=None))
    end = alt.X("end:Q", title=None)
    texts = base.mark_text(align="left", dx=5, color=INK).encode(x=end, text="text:N")
    spans = base.mark_rule(color=INK, strokeWidth=1.5).encode(x=alt.X("low:Q", title=None), x2="high:Q")
    national = alt.Chart(rows[rows["name"] == names.baseline("national_mode")]).mark_rule(strokeDash=[4, 3], color=INK, opacity=0.7)
    halo = base.mark_text(align="left", dx=5, color=PAPER, stroke=PAPER, strokeWidth=5, strokeJoin="round").encode(x=end, text="text:N")
    layers = alt.layer(bars, spans, national.encode(x=x), halo, texts)
    title = alt.TitleParams(
        textwrap.wrap(str(rows["panel"].iloc[0]), canvas.characters), anchor="start", frame="bounds" if canvas is NARROW else "group"
    )
    return layers.properties(width=inner, height=alt.Step(38 if canvas is NARROW else 32), title=title)


def dumbbell(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Base -> tuned by level with intervals, one block per dimension.

    Frame: dimension, name, base, base_low, base_high, tuned, tuned_low, tuned_high, national (NaN when absent).
    """
    numbers = frame.columns.drop(["dimension", "name"])
    frame = frame.assign(**frame[numbers].clip(0, 1))  # a standardised level may lie beyond
    values = frame[numbers].to_numpy(dtype=float)
    step = 0.1
    low = max(0.0, float(np.nanmin(values)) // step * step)
    high = min(1.0, (float(np.nanmax(values)) // step + 1) * step)
    domain = [low, max(high, low + step)]
    blocks = [_dumbbells(group, canvas=canvas, domain=domain) for _, group in frame.groupby("dimension", sort=False)]
    return _styled(alt.vconcat(*blocks, spacing=10), canvas)


def _dumbbells(frame: pd.DataFrame, *, canvas: Canvas, domain: list[float]) -> alt.LayerChart:
    rows = frame.assign(row=_distinct([_wrapped(name, canvas) for name in frame["name"]]))
    y = alt.Y("row:N", title=None, scale=alt.Scale(domain=list(rows["row"])), axis=_row_axis(canvas, True))
    axis = alt.Axis(format="%", tickCount=5 if canvas is WIDE else 3)
    scale = alt.Scale(domain=domain, nice=False)

    def along(column: str) -> alt.X:
        return alt.X(f"{column}:Q", title=None, scale=scale, axis=axis)

    base = alt.Chart(rows).encode(y=y)
    layers = (
        base.mark_rule(color=BASE, strokeWidth=1.5, yOffset=-APART).encode(x=along("base_low"), x2="base_high:Q"),
        base.mark_rule(color=TUNED, strokeWidth=1.5, yOffset=APART).encode(x=along("tuned_low"), x2="tuned_high:Q"),
        base.mark_tick(color=INK, thickness=2, height=20).encode(x=along("national")),
        base.mark_point(filled=True, size=80, shape="diamond", color=BASE, opacity=1, yOffset=-APART).encode(x=along("base")),
        base.mark_point(filled=True, size=80, color=TUNED, opacity=1, yOffset=APART).encode(x=along("tuned")),
    )
    inner = canvas.width - canvas.labels - canvas.margin // 2
    title = alt.TitleParams(formats.dimension(rows["dimension"].iloc[0]), anchor="start", frame="bounds")
    return alt.layer(*layers).properties(width=inner, height=alt.Step(30), title=title)


def plane(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Accuracy against disparity, a panel for each dimension, with intervals along both axes.

    Frame: run, model (base or tuned), dimension, accuracy, accuracy_low, accuracy_high, apart, apart_low, apart_high (NaN where there is none).
    """
    columns = 2 if canvas is WIDE else 1
    size = (canvas.width - columns * canvas.margin) // columns
    drawn = [_plane(group, size=size) for _, group in frame.groupby("dimension", sort=False)]
    rows = [alt.hconcat(*drawn[place : place + columns], spacing=canvas.margin // 2) for place in range(0, len(drawn), columns)]
    return _styled(alt.vconcat(*rows, spacing=18), canvas)


def _plane(frame: pd.DataFrame, *, size: int) -> alt.LayerChart:
    rows = frame.assign(
        colour=[KIND_COLOURS[model] for model in frame["model"]], shape=["diamond" if model == "base" else "circle" for model in frame["model"]]
    )

    def accuracy(column: str) -> alt.X:
        return alt.X(f"{column}:Q", title="accuracy", scale=_spanning(rows, "accuracy"), axis=alt.Axis(format="%", tickCount=4))

    def apart(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", title="SD between levels", scale=_spanning(rows, "apart"), axis=alt.Axis(tickCount=5))

    base = alt.Chart(rows).encode(color=alt.Color("colour:N", scale=None))
    layers = (
        base.mark_rule(strokeWidth=1.2, opacity=0.7).encode(x=accuracy("accuracy_low"), x2="accuracy_high:Q", y=apart("apart")),
        base.mark_rule(strokeWidth=1.2, opacity=0.7).encode(x=accuracy("accuracy"), y=apart("apart_low"), y2="apart_high:Q"),
        base.mark_point(filled=True, size=90, opacity=1).encode(x=accuracy("accuracy"), y=apart("apart"), shape=alt.Shape("shape:N", scale=None)),
        alt.Chart(rows).mark_text(dx=10, dy=-10, color=INK, fontWeight="bold").encode(x=accuracy("accuracy"), y=apart("apart"), text="run:N"),
    )
    title = alt.TitleParams(formats.dimension(rows["dimension"].iloc[0]), anchor="start", frame="group")
    return alt.layer(*layers).properties(width=size, height=220, title=title)


def _spanning(rows: pd.DataFrame, name: str) -> alt.Scale:
    """An axis with room for every interval."""
    values = rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(dtype=float)
    return alt.Scale(domain=[float(np.nanmin(values)), float(np.nanmax(values))], nice=True)


def training_curve(frame: pd.DataFrame, *, canvas: Canvas) -> alt.TopLevelMixin:
    """Loss and validation loss by optimizer step. Frame: step, loss, validation_loss (NaN between evaluations)."""
    losses = frame[["step", "loss"]].dropna()
    losses = losses.iloc[:: max(1, len(losses) // LONGEST_LINE)]
    checks = frame[["step", "validation_loss"]].dropna()
    x = alt.X("step:Q", title="optimizer step", axis=alt.Axis(tickMinStep=1, tickCount=5, grid=False))

    def loss(column: str) -> alt.Y:
        return alt.Y(f"{column}:Q", title="loss", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))

    layers = (
        alt.Chart(losses).mark_line(color=BASELINE, strokeWidth=1.4).encode(x=x, y=loss("loss")),
        alt.Chart(checks).mark_line(color=TUNED, strokeWidth=2.4).encode(x=x, y=loss("validation_loss")),
        alt.Chart(checks).mark_point(color=TUNED, filled=True, size=60, opacity=1).encode(x=x, y=loss("validation_loss")),
    )
    sized = alt.layer(*layers).properties(width=canvas.width - 2 * canvas.margin, height=260 if canvas is WIDE else 200)
    return _styled(sized, canvas)


def draw(chart: alt.TopLevelMixin, *, name: str, description: str) -> str:
    """The chart as an SVG that scales with its box. `name` keeps its ids apart from those of the page's other charts."""
    text = vl_convert.vegalite_to_svg(chart.to_dict(), allowed_base_urls=[])
    root = ElementTree.fromstring(text)
    _rename_ids(root, name)
    _leave_colours_to_the_page(root)
    _be_one_picture(root)
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


def _leave_colours_to_the_page(root: ElementTree.Element) -> None:
    for element in root.iter():
        for paint in ("fill", "stroke"):
            name = THEMED.get(element.attrib.get(paint, "").lower())
            if name:
                del element.attrib[paint]
                element.set("style", f"{paint}:var(--{name});{element.attrib.get('style', '')}")


def _be_one_picture(root: ElementTree.Element) -> None:
    """To a screen reader a chart is its description: the numbers are in a table beside it, and hundreds of marks without a name help nobody."""
    for element in root.iter():
        for name in [name for name in element.attrib if name == "role" or name.startswith("aria-")]:
            del element.attrib[name]


def _styled(chart: Any, canvas: Canvas) -> alt.TopLevelMixin:
    styled: alt.TopLevelMixin = (
        chart.properties(background=PAPER, padding={"left": 2, "right": 2, "top": 2, "bottom": 4})
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
