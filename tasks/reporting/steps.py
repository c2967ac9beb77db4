"""Prefect tasks of the reporting stage."""

import json
from pathlib import Path

from prefect import get_run_logger, task
from prefect.artifacts import create_link_artifact, create_table_artifact

from tasks.policy import TRIED_AGAIN
from tasks.quality.gate import collect_gates
from tasks.reporting.report import write_report
from tasks.reporting.summary import Facts, headline_rows, write_summary


@task(name="report", persist_result=False, **TRIED_AGAIN)
def publish(folder: Path) -> None:
    """summary.json, the HTML report, and the artifacts that the Prefect UI shows."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    gates = collect_gates(folder)
    counts = {name: sum(getattr(gate, name) for gate in gates) for name in ("passed", "failed")}
    survey, seconds, overlap = manifest["survey"], manifest["seconds"], manifest["study"]["split"]["overlap"]
    facts = Facts(manifest["study_name"], manifest["run_id"], survey=survey, seconds=seconds, gates=counts, overlap=overlap)
    summary = write_summary(folder, facts)
    report = write_report(folder)
    synthetic = " Synthetic survey: evidence of nothing." if summary["synthetic"] else ""
    unweighted = "" if summary["survey"]["weighted"] else " UNWEIGHTED: the file carries no weight, or the study takes none."
    caveats = f"{synthetic}{unweighted}"
    create_table_artifact(headline_rows(summary), key="headline", description=f"Accuracy and skill on both test splits.{caveats}")
    create_table_artifact([gate.model_dump(include={"stage", "passed", "failed"}) for gate in gates], key="gates", description="Quality gates")
    create_link_artifact(report.as_uri(), key="report", link_text="The report", description=f"Self-contained HTML page.{caveats}")
    get_run_logger().info("report: %s", report)
