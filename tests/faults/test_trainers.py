"""A training of two processes, by the real launcher: either is killed, both are told to end, those who started them are killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tasks.errors import StepError
from tasks.files import FileSet, sha256_of
from tasks.study import Study, load_study
from tasks.training import launcher
from tasks.training.launcher import finetune
from tests.flows.plant import eventually
from tests.training.test_launcher import LAUNCHER, LONG, SETTINGS, WEIGHTS, steps_kept, workers_of
from tests.training.tiny import model_files, pair_files

pytestmark = pytest.mark.fault


@pytest.fixture(autouse=True)
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(launcher.CHOSEN, "cpu-2-process")


@pytest.fixture(scope="module")
def study() -> Study:
    return load_study("sample", overrides=SETTINGS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return model_files(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    return pair_files(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def undisturbed(pairs: FileSet, model: FileSet, study: Study, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The hash of the adapter that two processes make."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(launcher.CHOSEN, "cpu-2-process")
        made = finetune(pairs, model, study, folder=tmp_path_factory.mktemp("undisturbed"))
    return sha256_of(made.path(WEIGHTS))


def rank(number: int, folder: Path) -> psutil.Process:
    (found,) = (process for process in map(psutil.Process, workers_of(folder)) if process.environ().get("RANK") == str(number))
    return found


def kill_after_a_checkpoint(folder: Path, number: int) -> None:
    assert eventually(lambda: list(folder.glob("*/checkpoints/step-*")), seconds=120)
    rank(number, folder).kill()


@pytest.mark.parametrize("number", [0, 1])
def test_a_killed_rank_ends_the_other_and_the_training_goes_on_to_the_same_weights(
    pairs: FileSet, model: FileSet, study: Study, undisturbed: str, tmp_path: Path, number: int
) -> None:
    killer = threading.Thread(target=kill_after_a_checkpoint, args=(tmp_path, number))
    killer.start()
    with pytest.raises(StepError, match="fine-tuning stopped"):
        finetune(pairs, model, study, folder=tmp_path)
    killer.join()
    assert workers_of(tmp_path) == []
    assert sha256_of(finetune(pairs, model, study, folder=tmp_path).path(WEIGHTS)) == undisturbed


def test_a_cancelled_training_ends_with_both_ranks_once_a_checkpoint_is_written(
    pairs: FileSet, model: FileSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object, **__: object) -> None:
        assert eventually(lambda: any(log.stat().st_size for log in tmp_path.glob("*/training_log.jsonl")), seconds=120)
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "_follow", cancelled)
    with pytest.raises(KeyboardInterrupt):
        finetune(pairs, model, load_study("sample", overrides=LONG), folder=tmp_path)
    assert workers_of(tmp_path) == []
    (log,) = tmp_path.glob("*/training_log.jsonl")
    assert steps_kept(log) == len(log.read_text(encoding="utf-8").splitlines()) > 0


@pytest.fixture
def launching(pairs: FileSet, model: FileSet, tmp_path: Path) -> "subprocess.Popen[bytes]":
    """A process of its own that launches a long training in tmp_path."""
    study = load_study("sample", overrides=LONG)
    (tmp_path / "arguments.json").write_text(json.dumps([one.model_dump(mode="json") for one in (pairs, model, study)]), encoding="utf-8")
    return subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=launcher.ROOT)


def test_a_launcher_that_is_killed_takes_both_ranks_with_it_and_loses_no_step(launching: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    assert eventually(lambda: any(log.stat().st_size for log in tmp_path.glob("*/training_log.jsonl")), seconds=120)
    launching.kill()
    launching.wait()
    assert eventually(lambda: workers_of(tmp_path) == [], seconds=40), workers_of(tmp_path)
    (log,) = tmp_path.glob("*/training_log.jsonl")
    assert steps_kept(log) == len(log.read_text(encoding="utf-8").splitlines()) > 0


def test_ranks_whose_starter_is_killed_while_they_are_imported_do_not_train_alone(launching: "subprocess.Popen[bytes]", tmp_path: Path) -> None:
    """Each rank is in a session of its own: no signal to the group reaches it, and it is bound to its starter only once torch is imported."""
    assert eventually(lambda: len(workers_of(tmp_path)) == 3, seconds=120)
    starter = next(process for process in map(psutil.Process, workers_of(tmp_path)) if "RANK" not in process.environ())
    os.kill(starter.pid, signal.SIGKILL)
    launching.wait(timeout=120)
    assert eventually(lambda: workers_of(tmp_path) == [], seconds=60), workers_of(tmp_path)
    time.sleep(1)
    assert not list(tmp_path.glob("*/training_log.jsonl"))
