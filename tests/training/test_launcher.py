"""Fine-tuning through the real launcher and `accelerate launch`, on a tiny model: killed, resumed, refused."""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pandas as pd
import pytest
import torch
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from peft import PeftModel
from safetensors.torch import load_file

from tasks import progress
from tasks.errors import InputError, StepError
from tasks.files import FileSet, sha256_of
from tasks.study import Study, load_study
from tasks.training import launcher
from tasks.training.checkpoints import newest_checkpoint
from tasks.training.job import LOG
from tasks.training.launcher import finetune
from tasks.training.order0 import FEWEST_PASSES
from tests.training.tiny import model_files, pair_files, tiny_model

SETTINGS = [
    "training.epochs=6",
    "training.questions_per_step=1",
    "training.pairs_per_question=2",
    "training.checkpoint_steps=3",
    "training.lora_rank=4",
]
SETTINGS += ["training.evaluate_steps=5", "model.dtype=float32", "training.learning_rate=0.002"]
LONG = [*SETTINGS, "training.epochs=200", "training.checkpoint_steps=100000"]  # no checkpoint but the one that a signal asks for
WEIGHTS = "adapter/adapter_model.safetensors"

LAUNCHER = """
import json, pathlib, sys
from tasks.files import FileSet
from tasks.study import Study
from tasks.training.launcher import finetune

folder = pathlib.Path(sys.argv[1])
pairs, model, study = json.loads((folder / "arguments.json").read_text())
finetune(FileSet.model_validate(pairs), FileSet.model_validate(model), Study.model_validate(study), folder=folder)
"""


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


def steps_kept(log: Path) -> int:
    found = newest_checkpoint(log.parent / "checkpoints")
    return int(found.state["step"]) if found else 0


def kill_after_a_checkpoint(folder: Path, number: signal.Signals) -> None:
    while not list(folder.glob("*/checkpoints/step-*")):
        time.sleep(0.02)
    os.kill(workers_of(folder)[-1], number)


def test_training_lowers_the_loss_and_leaves_an_adapter_that_peft_loads(undisturbed: FileSet) -> None:
    log = undisturbed.read("training_log")
    assert log["validation_loss"].dropna().iloc[-1] < log["validation_loss"].dropna().iloc[0]
    assert log["loss"].tail(10).mean() < log["loss"].head(10).mean()
    assert set(log["precision"]) == {"float32"}
    loaded = PeftModel.from_pretrained(tiny_model(), str(undisturbed.path("adapter")))
    assert loaded.peft_config["default"].r == 4
    assert "objective `distribution`" in undisturbed.path("adapter/README.md").read_text(encoding="utf-8")


def test_the_control_of_order_0_is_trained_on_everybodys_answers_alone_beside_the_studys_own(
    pairs: FileSet, model: FileSet, study: Study, undisturbed: FileSet, tmp_path: Path
) -> None:
    made = finetune(pairs, model, study, folder=tmp_path, order0=True)
    (work,) = tmp_path.iterdir()
    seen = pd.read_parquet(work / "pairs.parquet")
    assert set(seen["subgroup_id"]) == {"all"} and set(seen["split"]) == {"train"} and len(seen) == 3
    log = made.read("training_log")
    assert log["epoch"].iloc[-1] == FEWEST_PASSES and log["validation_loss"].isna().all()
    assert "Nothing was kept back for validation" in made.path("adapter/README.md").read_text(encoding="utf-8")
    assert load_file(made.path(WEIGHTS)).keys() == load_file(undisturbed.path(WEIGHTS)).keys()
    assert work.name != Path(undisturbed.folder).name
    assert finetune(pairs, model, study, folder=tmp_path, order0=True) == made


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_training_ends_with_the_same_weights_bit_for_bit(
    pairs: FileSet,
    model: FileSet,
    study: Study,
    undisturbed: FileSet,
    tmp_path: Path,
    number: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    caplog.set_level(logging.INFO, logger="valuescape")
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
    assert "goes on from step" in caplog.text and "of None" not in caplog.text


def test_a_launcher_that_is_killed_takes_its_trainer_with_it_and_loses_no_step(pairs: FileSet, model: FileSet, tmp_path: Path) -> None:
    """Not even SIGKILL leaves a trainer behind; and the trainer, with nobody to tell, still writes its checkpoint."""
    study = load_study("sample", overrides=LONG)
    (tmp_path / "arguments.json").write_text(json.dumps([one.model_dump(mode="json") for one in (pairs, model, study)]), encoding="utf-8")
    launching = subprocess.Popen([sys.executable, "-c", LAUNCHER, str(tmp_path)], cwd=launcher.ROOT)
    while not (logs := [log for log in tmp_path.glob("*/training_log.jsonl") if log.stat().st_size]):
        time.sleep(0.02)
    launching.kill()
    launching.wait()
    ends_before = time.monotonic() + 20
    while workers_of(tmp_path) and time.monotonic() < ends_before:
        time.sleep(0.02)
    assert workers_of(tmp_path) == []
    assert steps_kept(logs[0]) == len(logs[0].read_text(encoding="utf-8").splitlines())


def test_a_run_that_is_cancelled_in_training_ends_once_its_worker_has_written_a_checkpoint(
    pairs: FileSet, model: FileSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancelled(*_: object, **__: object) -> None:
        while not any(log.stat().st_size for log in tmp_path.glob("*/training_log.jsonl")):
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "_follow", cancelled)
    with pytest.raises(KeyboardInterrupt):
        finetune(pairs, model, load_study("sample", overrides=LONG), folder=tmp_path)
    assert workers_of(tmp_path) == []
    (log,) = tmp_path.glob("*/training_log.jsonl")
    assert steps_kept(log) == len(log.read_text(encoding="utf-8").splitlines()) > 0


def test_a_run_that_is_cancelled_while_its_worker_starts_does_not_wait_for_a_training(
    pairs: FileSet, model: FileSet, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker imports torch for seconds before it can take a signal as a wish for a checkpoint."""

    def cancelled(*_: object, **__: object) -> None:
        while len(workers_of(tmp_path)) < 2:
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(launcher, "_follow", cancelled)
    with pytest.raises(KeyboardInterrupt):
        finetune(pairs, model, study, folder=tmp_path)
    assert workers_of(tmp_path) == []
    assert not list(tmp_path.glob("*/training_log.jsonl")), "it trained on, with nobody to listen"


@pytest.fixture(scope="module")
def undisturbed_pair(
    pairs: FileSet, model: FileSet, study: Study, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FileSet, list[launcher.Standing]]:
    """What two processes make, and what was told meanwhile."""
    told: list[launcher.Standing] = []
    with pytest.MonkeyPatch.context() as chosen:
        chosen.setenv(launcher.CHOSEN, "cpu-2-process")
        made = finetune(pairs, model, study, folder=tmp_path_factory.mktemp("undisturbed-pair"), tell=told.append)
    return made, told


def test_two_processes_train_as_one_does(undisturbed_pair: tuple[FileSet, list[launcher.Standing]], undisturbed: FileSet) -> None:
    """Each pair once: half of a step each, and gradients that are summed. In float32, to rounding."""
    made, told = undisturbed_pair
    ours, theirs = _losses(made), _losses(undisturbed)
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-4)
    assert [standing.step for standing in told] == list(ours["step"]), "only one of them speaks"
    assert told[-1].total == len(ours) and told[-1].seconds_left == 0 < told[0].seconds_left


def test_two_processes_that_are_told_to_stop_write_a_checkpoint_and_go_on_to_the_same_weights(
    pairs: FileSet,
    model: FileSet,
    study: Study,
    undisturbed_pair: tuple[FileSet, list[launcher.Standing]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SIGTERM to Accelerate's starter, which passes it on: both end at one step, which is kept, whoever hears of it first."""
    monkeypatch.setenv(launcher.CHOSEN, "cpu-2-process")

    def follow(process: "subprocess.Popen[str]", **_: object) -> None:
        while not any(log.stat().st_size for log in tmp_path.glob("*/training_log.jsonl")):
            time.sleep(0.02)
        starter, *ranks = workers_of(tmp_path)
        assert starter == process.pid and len(ranks) == 2
        os.kill(starter, signal.SIGTERM)
        assert process.stdout is not None
        process.stdout.read()

    with monkeypatch.context() as stopping:
        stopping.setattr(launcher, "_follow", follow)
        with pytest.raises(StepError, match="fine-tuning stopped"):
            finetune(pairs, model, study, folder=tmp_path)
    assert workers_of(tmp_path) == []
    (log,) = tmp_path.glob("*/training_log.jsonl")
    made, _ = undisturbed_pair
    assert 0 < steps_kept(log) == len(log.read_text(encoding="utf-8").splitlines()) < len(_losses(made))
    resumed = finetune(pairs, model, study, folder=tmp_path)
    ours, theirs = load_file(resumed.path(WEIGHTS)), load_file(made.path(WEIGHTS))
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in theirs)
    pd.testing.assert_frame_equal(_losses(resumed), _losses(made))


def test_the_shipped_configuration_shards_the_model(pairs: FileSet, model: FileSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, but for the device: Accelerate starts it on the CPU, too. A 4-bit model is refused for the sharding, so that sharded it was to be."""
    settings = yaml.safe_load((launcher.CONFIGURATIONS / "fsdp.yaml").read_text(encoding="utf-8"))
    (tmp_path / "fsdp-on-cpu.yaml").write_text(yaml.safe_dump({**settings, "use_cpu": True}), encoding="utf-8")
    monkeypatch.setenv(launcher.CHOSEN, str(tmp_path / "fsdp-on-cpu.yaml"))
    quantized = load_study("sample", overrides=[*SETTINGS, "model.quantization=4bit"])
    with pytest.raises(StepError, match="fine-tuning stopped: InputError: model.quantization 4bit is not sharded"):
        finetune(pairs, model, quantized, folder=tmp_path / "work")
    assert workers_of(tmp_path) == []


def test_hardware_is_what_the_machine_has_unless_the_environment_says_otherwise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(launcher.CHOSEN, raising=False)
    for gpus, expected in ((0, "cpu"), (1, "gpu"), (8, "multi-gpu")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert launcher.hardware().stem == expected
    mine = tmp_path / "mine.yaml"
    mine.touch()
    monkeypatch.setenv(launcher.CHOSEN, str(mine))
    assert launcher.hardware() == mine
    monkeypatch.setenv(launcher.CHOSEN, "abacus")
    with pytest.raises(InputError, match="VALUESCAPE_HARDWARE=abacus is no Accelerate configuration: expected one of cpu, cpu-2-process, .*gpu"):
        launcher.hardware()


@pytest.mark.parametrize("name", sorted(path.stem for path in launcher.CONFIGURATIONS.glob("*.yaml")))
def test_accelerate_reads_every_configuration(name: str) -> None:
    """It refuses unknown keys."""
    configuration = load_config_from_file(str(launcher.CONFIGURATIONS / f"{name}.yaml"))
    assert configuration.num_processes >= configuration.num_machines
    assert configuration.mixed_precision == "no", "the study decides"


def _losses(made: FileSet) -> pd.DataFrame:
    return made.read("training_log")[["step", "epoch", "loss", "validation_loss", "learning_rate"]]


def test_a_finished_training_is_not_done_again(pairs: FileSet, model: FileSet, study: Study, undisturbed: FileSet) -> None:
    work = Path(undisturbed.folder)
    before = sha256_of(work / "worker.log"), (work / "worker.log").stat().st_mtime_ns
    assert finetune(pairs, model, study, folder=work.parent) == undisturbed
    assert (sha256_of(work / "worker.log"), (work / "worker.log").stat().st_mtime_ns) == before


def test_an_adapter_that_is_no_longer_whole_is_trained_again(
    pairs: FileSet, model: FileSet, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is called again when its files do not hold what they held; the launcher must not hand out the same files once more."""
    contents = iter([b"weights", b"weights again"])

    def trained(work: Path, **_: object) -> None:
        (work / "adapter").mkdir()
        (work / WEIGHTS).write_bytes(next(contents))
        (work / LOG).write_text('{"step": 1, "validation_loss": 0.5}\n', encoding="utf-8")

    monkeypatch.setattr(launcher, "_launch", trained)
    first = finetune(pairs, model, study, folder=tmp_path)
    assert finetune(pairs, model, study, folder=tmp_path) == first
    first.path(WEIGHTS).write_bytes(b"wei")
    again = finetune(pairs, model, study, folder=tmp_path)
    assert again.path(WEIGHTS).read_bytes() == b"weights again"
    assert again.holds() and not first.holds()


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


def test_the_standing_is_an_artifact_that_is_made_once_and_then_updated_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training import steps  # not above: Prefect reads its settings when it is imported, and tests of flows make them

    calls: list[tuple[str, float, str]] = []
    monkeypatch.setattr(steps, "create_progress_artifact", lambda percent, *, key, description: calls.append((key, percent, description)) or 7)
    monkeypatch.setattr(steps, "update_progress_artifact", lambda made, percent, *, description: calls.append((str(made), percent, description)))
    tell = steps._Shown()
    for step in range(1, 11):
        tell(launcher.Standing(step, 10, 1.5, 20.0, 6.0 * (10 - step)))
    assert calls == [
        ("fine-tuning", 10.0, "step 1 of 10, loss 1.500, 20.0 pairs/s, 0:00:54 left"),
        ("7", 100.0, "step 10 of 10, loss 1.500, 20.0 pairs/s, 0:00:00 left"),
    ]


def test_a_server_that_does_not_answer_ends_no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.training import steps

    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("connection refused")

    monkeypatch.setattr(steps, "create_progress_artifact", refuse)
    tell = steps._Shown()
    tell(launcher.Standing(9, 10, 1.5, 20.0, 6.0))
    monkeypatch.setattr(steps, "create_progress_artifact", lambda *_, **__: 7)
    tell(launcher.Standing(10, 10, 1.5, 20.0, 0.0))
    assert tell._artifact == 7
