"""Prefect tasks of the reporting stage."""

import json
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_table_artifact

from tasks.lineage import Lineage
from tasks.policy import TRIED_AGAIN
from tasks.quality.gate import collect_gates
from tasks.reporting.artifacts import disparity_table, file_page, gates_page
from tasks.reporting.report import write_report
from tasks.reporting.summary import Facts, headline_rows, write_summary


@task(name="report", persist_result=False, **TRIED_AGAIN)
def publish(folder: Path) -> None:
    """summary.json, the HTML report, and the artifacts that the Prefect UI shows."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    gates = collect_gates(folder)
    counts = {name: sum(getattr(gate, name) for gate in gates) for name in ("passed", "failed")}
    study, seconds = manifest["study"], manifest["seconds"]
    facts = Facts(
        manifest["study_name"], manifest["run_id"], survey=manifest["survey"], seconds=seconds, gates=counts,
        overlap=study["split"]["overlap"], seed=study["seed"],
    )  # fmt: skip
    summary = write_summary(folder, facts)
    report = write_report(folder)
    synthetic = " Synthetic survey: evidence of nothing." if summary["synthetic"] else ""
    unweighted = "" if summary["survey"]["weighted"] else f" Targets {summary['survey']['weighting']}."
    caveats = f"{synthetic}{unweighted}"
    create_table_artifact(headline_rows(summary), key="headline", description=f"Accuracy and skill on both test splits.{caveats}")
    if apart := disparity_table(summary):
        create_table_artifact(apart, key="disparity", description=f"How far apart levels are, before and after.{caveats}")
    create_markdown_artifact(gates_page(gates, folder), key="gates", description=f"Quality gates: {counts['passed']} rules hold")
    told = f"One page with everything that this run found, without a network.{caveats}"
    create_markdown_artifact(file_page(report, "The report", told=told), key="report", description="Where the report is")
    get_run_logger().info("report: %s", report)


@task(name="show the lineage", persist_result=False, **TRIED_AGAIN)
def show_lineage(run_id: str, workspace: Path) -> None:
    """What made which table, as an artifact; the registry's view `lineage` has it by file."""
    with Lineage(workspace) as lineage:
        create_table_artifact(lineage.table(run_id), key="lineage", description="Which files, code and parameters made what")
