"""Fine-tuning through the real launcher and `accelerate launch`, on a tiny model: killed, resumed, refused."""

import fcntl
import os
import signal
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from peft import PeftModel
from safetensors.torch import load_file

from tasks.errors import StepError
from tasks.files import FileSet, file_set, sha256_of, write_table
from tasks.study import Study, load_study
from tasks.training.launcher import finetune
from tests.training.tiny import made_up_pairs, save_model, tiny_model

SETTINGS = [
    "training.epochs=6",
    "training.questions_per_step=1",
    "training.pairs_per_question=2",
    "training.checkpoint_steps=3",
    "training.lora_rank=4",
]
SETTINGS += ["training.evaluate_steps=5", "model.dtype=float32", "training.learning_rate=0.01"]
WEIGHTS = "adapter/adapter_model.safetensors"


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("sample", overrides=SETTINGS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    folder = save_model(tmp_path_factory.mktemp("model") / "tiny")
    return file_set(folder, sorted(path.name for path in folder.iterdir()))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    folder = tmp_path_factory.mktemp("pairs")
    write_table(made_up_pairs(), folder / "tables" / "pairs.parquet")
    return file_set(folder, ["tables/pairs.parquet"])


@pytest.fixture(scope="module")
def undisturbed(pairs: FileSet, model: FileSet, study: Study, tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return finetune(pairs, model, study, folder=tmp_path_factory.mktemp("undisturbed"))


def workers_of(folder: Path) -> list[int]:
    """Processes that were given a job in this folder: the worker, and Accelerate's launcher."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if str(folder) in command and "tasks.training.worker" in command:
            found.append(int(process.name))
    return sorted(found)


def kill_after_a_checkpoint(folder: Path, number: signal.Signals) -> None:
    while not list(folder.glob("*/checkpoints/step-*")):
        time.sleep(0.02)
    os.kill(workers_of(folder)[-1], number)


def test_training_lowers_the_loss_and_leaves_an_adapter_that_peft_loads(undisturbed: FileSet) -> None:
    log = undisturbed.read("training_log")
    assert log["validation_loss"].dropna().iloc[-1] < log["validation_loss"].dropna().iloc[0]
    assert log["loss"].tail(10).mean() < log["loss"].head(10).mean()
    loaded = PeftModel.from_pretrained(tiny_model(), str(undisturbed.path("adapter")))
    assert loaded.peft_config["default"].r == 4
    assert "objective `distribution`" in undisturbed.path("adapter/README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_ends_with_the_same_weights_bit_for_bit(
    pairs: FileSet, model: FileSet, study: Study, undisturbed: FileSet, tmp_path: Path, number: signal.Signals
) -> None:
    killer = threading.Thread(target=kill_after_a_checkpoint, args=(tmp_path, number))
    killer.start()
    with pytest.raises(StepError, match="fine-tuning stopped"):
        finetune(pairs, model, study, folder=tmp_path)
    killer.join()
    assert workers_of(tmp_path) == []
    resumed = finetune(pairs, model, study, folder=tmp_path)
    ours, theirs = load_file(resumed.path(WEIGHTS)), load_file(undisturbed.path(WEIGHTS))
    assert ours.keys() == theirs.keys()
    assert all(ours[name].equal(theirs[name]) for name in theirs)
    pd.testing.assert_frame_equal(_losses(resumed), _losses(undisturbed))


def _losses(made: FileSet) -> pd.DataFrame:
    return made.read("training_log")[["step", "epoch", "loss", "validation_loss", "learning_rate"]]


def test_a_finished_training_is_not_done_again(pairs: FileSet, model: FileSet, study: Study, undisturbed: FileSet) -> None:
    work = Path(undisturbed.folder)
    before = sha256_of(work / "worker.log"), (work / "worker.log").stat().st_mtime_ns
    assert finetune(pairs, model, study, folder=work.parent) == undisturbed
    assert (sha256_of(work / "worker.log"), (work / "worker.log").stat().st_mtime_ns) == before


def test_a_worker_that_fails_is_told_with_its_reason(pairs: FileSet, model: FileSet, study: Study, tmp_path: Path) -> None:
    missing = model.model_copy(update={"folder": str(tmp_path / "no-model")})
    with pytest.raises(StepError, match=r"fine-tuning stopped: \w+Error: .*no-model") as raised:
        finetune(pairs, missing, study, folder=tmp_path / "work")
    assert "worker.log" in str(raised.value)


def test_two_trainers_do_not_share_a_work_folder(pairs: FileSet, model: FileSet, study: Study, undisturbed: FileSet) -> None:
    with (Path(undisturbed.folder) / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StepError, match="another run is training the same adapter"):
            finetune(pairs, model, study, folder=Path(undisturbed.folder).parent)
