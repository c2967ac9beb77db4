"""The whole study on real parts: the synthetic survey, a real Prefect server, the real model, from the command line."""

import hashlib
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest

from flows.server import PROJECT, local_server
from tasks.files import FileSet, make_workspace, sha256_of
from tasks.intake.synthetic import write_synthetic_survey
from tests import reference
from tests.flows.command import VALUESCAPE, environment, read, valuescape, with_unknown_codes, write_study
from tests.flows.plant import PREFECT, operations

pytestmark = pytest.mark.flow
GATES = [
    *("intake", "staging", "marts", "pairs", "base_predictions", "training", "tuned_predictions", "order0_training", "order0_predictions"),
    "overlap",
]
TABLES = {
    "disparities", "distributions", "items", "kinship", "landscape", "landscape_topics", "metrics", "metrics_by_topic", "options", "overlap",
    "overlap_subgroups", "pairs", "predictions", "subgroups", "targets", "training_log",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("study")


@pytest.fixture(scope="module")
def workspace(folder: Path, sample_model: FileSet) -> Path:
    """A workspace in which the small study was killed in its training, then run again, and then once more. The model was there before."""
    workspace = folder / "workspace"
    make_workspace(workspace)
    shutil.copytree(Path(sample_model.folder).parent, workspace / "models")
    study = write_study(folder)
    _kill_in_training(study, workspace)
    for name in ("resumed", "again"):
        ended = valuescape("run", study, "--workspace", workspace)
        assert ended.code == 0, ended
        (folder / f"{name}.txt").write_text(ended.out + ended.err, encoding="utf-8")
    return workspace


def _kill_in_training(study: Path, workspace: Path) -> None:
    """Ctrl-C, once the worker has written a checkpoint."""
    process = subprocess.Popen(
        [VALUESCAPE, "run", study, "--workspace", workspace],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a shell's background job ignores it
    )
    deadline = time.monotonic() + 300
    while not list((workspace / "training").glob("*/checkpoints/step-*")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "the same command goes on from there" in errors
    assert "Traceback" not in errors


@pytest.fixture
def run(workspace: Path) -> Path:
    return workspace / "runs" / "small" / "latest"


def test_a_run_leaves_what_the_readme_promises(run: Path) -> None:
    assert {path.stem for path in (run / "tables").glob("*.parquet")} == TABLES
    assert {path.name for path in (run / "adapter").iterdir()} >= {
        "adapter_config.json",
        "adapter_model.safetensors",
        "README.md",
        "training_log.jsonl",
    }
    assert (run / "report" / "index.html").stat().st_size > 50_000
    assert {path.stem for path in (run / "dataset").glob("*.jsonl")} == {"train", "validation", "id_test", "ood_test"}
    with duckdb.connect(str(run / "study.duckdb"), read_only=True) as connection:
        assert {name for (name,) in connection.execute("select table_name from duckdb_tables()").fetchall()} == TABLES


def test_every_gate_was_passed(run: Path) -> None:
    gates = read(run / "quality" / "gates.json")
    assert [gate["stage"] for gate in gates] == GATES
    assert all(gate["failed"] == 0 and gate["passed"] > 0 for gate in gates)


def test_it_says_everywhere_that_the_survey_is_synthetic(folder: Path, run: Path) -> None:
    assert read(run / "manifest.json")["synthetic"] is True
    assert read(run / "summary.json")["synthetic"] is True
    assert "evidence of nothing" in (run / "report" / "index.html").read_text(encoding="utf-8").lower()
    assert "SYNTHETIC" in (folder / "resumed.txt").read_text(encoding="utf-8")


def test_the_summary_is_what_the_tables_say(run: Path) -> None:
    summary = read(run / "summary.json")
    pairs = pd.read_parquet(run / "tables" / "pairs.parquet").set_index(["item", "subgroup_id"])
    predictions = pd.read_parquet(run / "tables" / "predictions.parquet")
    for model in ("base", "tuned"):
        ours = predictions[(predictions["model"] == model) & (predictions["variant"] == "plain") & (predictions["split"] == "ood_test")]
        targets = pairs.loc[pd.MultiIndex.from_frame(ours[["item", "subgroup_id"]]), "tied_codes"]
        right = [choice in codes for choice, codes in zip(ours["choice"], targets, strict=True)]
        assert summary[model]["accuracy"]["ood_test"]["value"] == pytest.approx(sum(right) / len(right))
    assert set(summary["baselines"]) == {"national_mode", "parent_mode", "additive", "additive_micro", "nearest_subgroup", "chance"}
    assert summary["controls"]["order0"]["accuracy"]["ood_test"]["value"] == pytest.approx(_accuracy(predictions, pairs, model="order0"))


def _accuracy(predictions: pd.DataFrame, pairs: pd.DataFrame, *, model: str) -> float:
    ours = predictions[(predictions["model"] == model) & (predictions["split"] == "ood_test")]
    targets = pairs.loc[pd.MultiIndex.from_frame(ours[["item", "subgroup_id"]]), "tied_codes"]
    return float(np.mean([choice in codes for choice, codes in zip(ours["choice"], targets, strict=True)]))


def test_fine_tuning_brings_the_model_nearer_to_the_survey(run: Path) -> None:
    summary = read(run / "summary.json")
    assert summary["tuned"]["emd"]["ood_test"]["value"] < summary["base"]["emd"]["ood_test"]["value"]


def test_no_respondent_leaves_raw_and_staging(run: Path) -> None:
    for path in (run / "tables").glob("*.parquet"):
        columns = pd.read_parquet(path).columns
        assert "respondent_id" not in columns
        if "respondents" in columns:
            assert pd.read_parquet(path)["respondents"].min() >= 30


def test_the_workspace_is_for_its_user_alone(workspace: Path) -> None:
    assert workspace.stat().st_mode & 0o077 == 0


def test_an_interrupted_training_goes_on_from_its_checkpoint(folder: Path, run: Path) -> None:
    log = pd.read_parquet(run / "tables" / "training_log.parquet")
    assert list(log["step"]) == list(range(1, len(log) + 1))
    assert "fine-tuning goes on from step" in (folder / "resumed.txt").read_text(encoding="utf-8")
    assert "reused: score a model: base" in (folder / "resumed.txt").read_text(encoding="utf-8")


def test_a_second_run_reuses_every_step_and_says_so(folder: Path, run: Path) -> None:
    manifest = read(run / "manifest.json")
    assert len(manifest["reused"]) == len(manifest["seconds"]) == 23
    assert "Reused from earlier runs" in (folder / "again.txt").read_text(encoding="utf-8")


def test_a_second_run_has_the_same_tables(run: Path) -> None:
    earlier = sorted(path for path in run.parent.iterdir() if not path.is_symlink() and read(path / "manifest.json")["status"] == "finished")
    first, second = ({path.name: _sha256(path) for path in (folder / "tables").iterdir()} for folder in earlier[-2:])
    assert first == second


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_tables_have_the_columns_of_the_reference(run: Path) -> None:
    written = (PROJECT / "docs" / "reference" / "tables.md").read_text(encoding="utf-8")
    for path in sorted((run / "tables").glob("*.parquet")):
        assert reference.described(path.stem, list(pd.read_parquet(path).columns)) in written, "run `make reference`"


def test_runs_lists_how_each_ended(workspace: Path) -> None:
    listed = json.loads(valuescape("runs", "--workspace", workspace, "--json").out)
    assert [entry["status"] for entry in listed][:3] == ["failed", "finished", "finished"]


def test_a_backup_made_and_restored_as_the_runbook_says_is_gone_on_from(folder: Path, workspace: Path, tmp_path: Path) -> None:
    """The runbook's two commands. The survey is taken in anew, and what was trained is found where it is trained: neither is a run's own."""
    restored, archive = tmp_path / "restored", tmp_path / "backup.tar.gz"
    restored.mkdir(mode=0o700)
    subprocess.run(["tar", "--create", "--gzip", "--file", archive, "--directory", workspace, "--exclude", "models", "."], check=True)
    subprocess.run(["tar", "--extract", "--gzip", "--file", archive, "--directory", restored], check=True)
    listed = valuescape("runs", "--workspace", restored)
    assert listed.code == 0 and listed.out.count("small") >= 2, listed
    aside = workspace.rename(workspace.with_name("aside"))  # what is used again is the restored one's
    try:
        ended = valuescape("run", folder / "small.yaml", "--workspace", restored)
        assert ended.code == 0, ended
    finally:
        aside.rename(workspace)
    before, after = (read(place / "runs" / "small" / "latest" / "manifest.json")["reused"] for place in (workspace, restored))
    intake = {"write the synthetic survey", "take in the survey", "gate: intake", "gate: staging", "build the tables", "score the baselines"}
    again = intake | {"prepare the model", "fine-tune: order0"}
    assert set(before) - set(after) == again and {"fine-tune: tuned", "score a model: tuned"} <= set(after)
    adapters = [place / "runs" / "small" / "latest" / "adapter" / "adapter_model.safetensors" for place in (workspace, restored)]
    assert sha256_of(adapters[0]) == sha256_of(adapters[1])


def test_report_prints_the_newest_page(workspace: Path, run: Path) -> None:
    assert Path(valuescape("report", "small", "--workspace", workspace).out.strip()) == (run / "report" / "index.html").resolve()


def test_ask_gives_the_answers_of_the_run_beside_the_survey_s(workspace: Path, run: Path) -> None:
    pairs = pd.read_parquet(run / "tables" / "pairs.parquet").query("split == 'ood_test'")
    pair = pairs[pairs["subgroup_id"].str.contains("sex=")].iloc[0]
    ended = valuescape("ask", "--persona", pair["subgroup_id"].replace("|", ","), "--question", pair["item"], "--workspace", workspace, "--json")
    assert ended.code == 0, ended.err
    answer = json.loads(ended.out)
    assert (answer["subgroup"], answer["persona"]) == (pair["subgroup_id"], pair["persona"])
    assert [option["survey"] for option in answer["options"]] == pytest.approx(list(pair["shares"]))
    told = pd.read_parquet(run / "tables" / "predictions.parquet").query("variant == 'plain' and reader == 'likelihood'")
    for model in ("base", "tuned"):
        asked = told[(told["model"] == model) & (told["item"] == pair["item"]) & (told["subgroup_id"] == pair["subgroup_id"])]
        assert [option[model] for option in answer["options"]] == pytest.approx(list(asked["probabilities"].iloc[0]), abs=0.05)


def test_compare_writes_a_page_of_two_runs(folder: Path, workspace: Path) -> None:
    runs = [entry["run_id"] for entry in json.loads(valuescape("runs", "--workspace", workspace, "--json").out)][-2:]
    ended = valuescape("compare", *runs, "--workspace", workspace, "--out", folder / "compare.html")
    assert ended.code == 0, ended.err
    page = Path(ended.out.strip()).read_text(encoding="utf-8")
    assert all(run in page for run in runs)
    assert "tuned model is 0.0 points of accuracy from" in page, "equal runs, equal answers"


@pytest.fixture(scope="module")
def server(workspace: Path) -> Iterator[str]:
    """The workspace's server, in this process too: Prefect reads its settings once."""
    with local_server(workspace / "prefect") as found:
        yield found.url


@contextmanager
def prefect_client() -> Iterator[Any]:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


def test_prefect_keeps_the_record_of_every_run(server: str) -> None:
    with prefect_client() as client:
        runs = client.read_flow_runs()
        artifacts = {artifact.key for artifact in client.read_artifacts()}
    assert sorted(str(run.state_name) for run in runs) == ["Completed", "Completed", "Crashed"]
    assert {"headline", "gates", "report"} <= artifacts


@pytest.fixture(scope="module")
def deployed(server: str, folder: Path) -> Iterator[str]:
    """The server with the deployments of prefect.yaml and their workers, which know nothing of the workspace."""
    ended = operations("up", folder / "elsewhere", PREFECT_API_URL=server)
    assert ended.returncode == 0, ended.stderr
    yield server
    assert operations("down", folder / "elsewhere", PREFECT_API_URL=server).returncode == 0


def _wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)


def test_with_a_worker_up_a_run_goes_through_the_deployment_and_reuses_what_the_workspace_has(folder: Path, workspace: Path, deployed: str) -> None:
    ended = valuescape("run", write_study(folder), "--workspace", workspace, PREFECT_API_URL=deployed)
    assert ended.code == 0, ended
    assert "goes through the deployment study/study" in ended.err
    assert "SYNTHETIC" in ended.out
    manifest = read(workspace / "runs" / "small" / "latest" / "manifest.json")
    assert len(manifest["reused"]) == 23
    assert _flow_run(manifest["run_id"]).deployment_id is not None


def _flow_run(run_id: str) -> Any:
    with prefect_client() as client:
        return next(run for run in client.read_flow_runs(limit=200) if str(run.id).endswith(run_id[-6:]))


def test_a_failed_run_of_the_deployment_is_told_as_ever_and_its_retry_finishes_it(folder: Path, workspace: Path, deployed: str) -> None:
    survey = with_unknown_codes(write_synthetic_survey(folder))
    study = write_study(folder, survey={"country": "SGP"})
    ended = valuescape("run", study, "--survey", survey, "--workspace", workspace, PREFECT_API_URL=deployed)
    assert ended.code == 1
    assert "gate intake" in ended.err
    assert "Retry" in ended.err
    survey.write_bytes(write_synthetic_survey(folder).read_bytes())
    run = sorted(path for path in (workspace / "runs" / "small").iterdir() if not path.is_symlink())[-1]
    flow_run = _flow_run(run.name)
    subprocess.run([PREFECT, "flow-run", "retry", str(flow_run.id)], check=True, capture_output=True, env=environment(PREFECT_API_URL=deployed))
    _wait_until(lambda: _flow_run(run.name).state_name == "Completed")
    manifest = read(run / "manifest.json")
    assert manifest["status"] == "finished"
    assert {"prepare the model", "score a model: base", "fine-tune: tuned", "score a model: tuned", "fine-tune: order0"} <= set(manifest["reused"])


def test_ctrl_c_cancels_the_run_that_goes_through_the_deployment(folder: Path, workspace: Path, deployed: str) -> None:
    before = set((workspace / "runs" / "small").iterdir())
    command = [VALUESCAPE, "run", write_study(folder), "--workspace", workspace, "--fresh"]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(PREFECT_API_URL=deployed),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _wait_until(lambda: [path for path in set((workspace / "runs" / "small").iterdir()) - before if (path / "tables").exists()])
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "without --fresh" in errors
    (run,) = set((workspace / "runs" / "small").iterdir()) - before
    assert _flow_run(run.name).state_name == "Cancelled"
    listed = json.loads(valuescape("runs", "--workspace", workspace, "--json").out)[-1]
    assert listed["status"] in ("failed", "killed")
    assert listed["synthetic"] is True
