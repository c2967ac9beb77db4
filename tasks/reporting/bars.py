"""An answer (tasks/evaluation/single.py) as bars in a terminal.

console.print(answer_table(answer))
"""

from rich.console import Group, RenderableType
from rich.table import Column, Table
from rich.text import Text

from tasks.evaluation.single import Answer
from tasks.reporting import formats

WIDTH = 10  # characters of a bar that stands for everybody
EIGHTHS = " ▏▎▍▌▋▊▉"
COLOURS = {"survey": "cyan", "base": "yellow", "tuned": "green"}


def answer_table(answer: Answer) -> RenderableType:
    """Question and persona, and a row per option with the shares of survey, base and tuned model; the likeliest in bold."""
    held = {name: shares for name in COLOURS if (shares := getattr(answer, name)) is not None}
    table = Table(Column("answer", overflow="fold"), *(Column(name, no_wrap=True) for name in held))
    for place, (code, option) in enumerate(zip(answer.question.codes, answer.question.options, strict=True)):
        bars = [_bar(shares[place], colour=COLOURS[name], first=shares[place] == max(shares)) for name, shares in held.items()]
        table.add_row(Text(f"{code}. {formats.label(option)}"), *bars)
    if any(sum(shares) < 1 for shares in held.values()):
        table.add_section()
        table.add_row(Text("something else"), *(_bar(max(0.0, 1 - sum(shares)), colour="dim", first=False) for shares in held.values()))
    return Group(Text(f"{answer.item}. {answer.question.wording}", style="bold"), Text(answer.persona, style="italic"), table, Text(_notes(answer)))


def _bar(share: float, *, colour: str, first: bool) -> Text:
    whole, rest = divmod(round(share * WIDTH * 8), 8)
    bar = "█" * whole + (EIGHTHS[rest] if rest else "")
    return Text.assemble((bar.ljust(WIDTH), colour), (f" {formats.percent(share):>6}", "bold" if first else ""))


def _notes(answer: Answer) -> str:
    if answer.respondents:
        told = f"Survey: {formats.about(answer.respondents)} answers, weighted."
    else:
        told = "The survey has too few respondents like that to say what they answered."
    return told if answer.tuned else f"{told} This run trained no model."
