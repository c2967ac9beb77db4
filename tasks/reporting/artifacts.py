"""What the Prefect UI shows of a finished run beside the headline: its gates with their pages, and how far apart levels are.

    gates_page(gates, run_folder)           # Markdown
    disparity_table(summary)                # rows of a table artifact
    file_page(report, "The report")         # Markdown that leads to a file

A page that comes from a server may not open files, so browsers ignore a click on such a link: every link is told as an address to copy, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.quality.gate import GateResult
from tasks.reporting import formats, names
from tasks.reporting.disparity import METRICS, DisparityRow, disparity_rows

HOW_TO_OPEN = "Browsers do not follow links from a server to files. Copy the address into a new tab, on the machine that holds the workspace:"


def file_page(path: Path, title: str, *, told: str = "") -> str:
    """A file's address as a link and to copy."""
    return f"## [{title}]({path.as_uri()})\n\n{told}\n\n{HOW_TO_OPEN}\n\n```text\n{path.as_uri()}\n```\n"


def gates_page(gates: Sequence[GateResult], run_folder: Path) -> str:
    """Where the gates' pages (Data Docs) are, and a row per gate: how many rules hold, and how many do not."""
    index = run_folder / "quality" / "index.html"
    rows = [f"| [{gate.stage.replace('_', ' ')}]({index.as_uri()}#{gate.stage}) | {gate.passed} | {gate.failed} |" for gate in gates]
    table = "\n".join(["| gate | rules that hold | that do not |", "|---|---|---|", *rows])
    return f"{file_page(index, 'Quality gates', told='Every rule, table by table, is in the Data Docs.')}\n{table}\n"


def disparity_table(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Dimension by metric, on the split that the headline is about; empty where no dimension has two levels."""
    return [_disparity(row) for metric in METRICS for row in disparity_rows(summary, metric=metric)]


def _disparity(row: DisparityRow) -> dict[str, str]:
    deviations = {name: formats.signed_between(value) for name, value in row.between.items()}
    return {
        "dimension": formats.dimension(row.dimension),
        "measure": row.metric if row.metric == "accuracy" else names.of(names.METRICS, row.metric),
        "SD of levels, base": deviations["base"],
        "SD of levels, tuned": deviations["tuned"],
        "change": deviations["change"],
        "Holm-adjusted p": formats.p_value(row.p_holm),
        "no wider than the margin": formats.ABSENT if row.no_wider is None else "shown" if row.no_wider else "not shown",
        "worst level": formats.label(row.worst) or formats.ABSENT,
        "best level": formats.label(row.best) or formats.ABSENT,
    }
