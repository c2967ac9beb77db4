"""A study of a served model, from the command line: nothing is trained, everything is asked on the server, once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.evaluation.flawed_server import KEY, FlawedServer, flawed_server
from tests.flows.command import Ended, dimensions, server_up, valuescape, write_study

pytestmark = pytest.mark.flow
EVALUATION = {"readers": ["generated"], "variants": ["letters"], "compared_pairs": 40, "open_ended": True}  # the judge is the served model itself


@pytest.fixture(scope="module")
def server() -> Iterator[FlawedServer]:
    with flawed_server() as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("served")
    with server_up(folder / "workspace"):
        yield folder


@pytest.fixture(scope="module")
def ended(folder: Path, server: FlawedServer) -> Ended:
    changes = {"training": {"objective": "none"}, "model": {"name": "openai:tiny"}, "evaluation": EVALUATION}
    study = write_study(folder, **changes, dimensions=dimensions("sex", "age_group", "religion"))
    return valuescape("run", study, "--workspace", folder / "workspace", OPENAI_BASE_URL=server.access.url, OPENAI_API_KEY=KEY)


@pytest.fixture(scope="module")
def run(folder: Path, ended: Ended) -> Path:
    assert ended.code == 0, ended
    return folder / "workspace" / "runs" / "small" / "latest"


def test_its_answers_are_in_the_tables_and_the_summary(run: Path) -> None:
    predictions = pd.read_parquet(run / "tables" / "predictions.parquet")
    read = predictions[predictions["model"] == "base"].groupby(["reader", "variant"]).size()
    pairs = pd.read_parquet(run / "tables" / "pairs.parquet")
    tested = int(pairs["split"].isin(["id_test", "ood_test"]).sum())
    assert {variant: int(read["first_token", variant]) for variant in ("plain", "blank_persona", "permuted_persona")} == dict.fromkeys(
        ("plain", "blank_persona", "permuted_persona"), tested
    )
    agreement = pd.read_parquet(run / "tables" / "agreement.parquet")
    assert agreement[["reader", "other", "pairs", "agreement", "unread_other"]].to_numpy().tolist() == [
        ["first_token", "generated", 40, 1.0, 0],
        ["first_token", "open_ended", 40, 0.0, 40],  # the judge says 1 to every text, whatever its options are called
        ["generated", "open_ended", 40, 0.0, 40],
    ]
    robustness = pd.read_parquet(run / "tables" / "robustness.parquet")
    assert robustness[["variant", "pairs"]].to_numpy().tolist() == [["letters", 40]]
    summary = json.loads((run / "summary.json").read_text(encoding="utf-8"))
    assert summary["reader"] == "first_token"
    first = pairs[pairs["split"] == "ood_test"]
    chose_first = first["tied_codes"].map(lambda codes: 1 in codes).mean()  # the server always says 1
    assert summary["base"]["accuracy"]["ood_test"]["value"] == pytest.approx(chose_first)


def test_what_it_took_is_told_and_nothing_is_asked_twice(run: Path, server: FlawedServer) -> None:
    assert set(server.requests.values()) == {1}
    usage = json.loads((run / "summary.json").read_text(encoding="utf-8"))["server"]
    assert set(usage["steps"]) == {"test_pairs", "free_answers_base", "judging_base", "calibration"}
    assert usage["failed_attempts"] == {}
    assert usage["answers"]["requests"] == usage["spent"]["requests"] == server.requests.total()


def test_its_key_is_nowhere(ended: Ended, folder: Path, run: Path) -> None:
    assert KEY not in ended.out + ended.err
    kept = [path for path in (folder / "workspace").rglob("*") if path.is_file()]
    assert not [path.name for path in kept if KEY.encode() in path.read_bytes()]


def test_the_same_again_asks_nothing(folder: Path, run: Path, server: FlawedServer) -> None:
    before = server.requests.total()
    again = valuescape(
        "run", folder / "small.yaml", "--workspace", folder / "workspace", "--fresh", OPENAI_BASE_URL=server.access.url, OPENAI_API_KEY=KEY
    )
    assert again.code == 0, again
    assert server.requests.total() == before
