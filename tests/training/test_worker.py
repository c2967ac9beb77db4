"""The worker's own loop, in this process: stopped and broken off at any step, it ends with the weights of an undisturbed run."""

import io
import json
import multiprocessing
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file
from torch import Tensor

from tasks.errors import InputError, StepError
from tasks.files import write_json, write_table
from tasks.study import ModelSection, TrainingSection
from tasks.training import worker
from tasks.training.checkpoints import newest_checkpoint
from tasks.training.job import BEST, LOG, Job
from tasks.training.optimisation import Part, Trainer
from tests.training.tiny import made_up_pairs, save_model

TRAINING = TrainingSection(
    epochs=4 / 3, learning_rate=0.01, lora_rank=2, questions_per_step=1, pairs_per_question=2, checkpoint_steps=4, evaluate_steps=3, patience=9
)
STEPS = 12  # 5 trained subgroups in twos are 3 groups; x 3 questions are 9 steps an epoch; x 4 / 3


@pytest.fixture(autouse=True)
def keep_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The worker changes how its process takes signals."""
    monkeypatch.setattr(worker, "die_with_parent", lambda: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


Train = Callable[[Path], Path]


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Train:
    """Work in a folder of this name; returns it."""
    write_table(made_up_pairs(), tmp_path / "pairs.parquet")
    model = save_model(tmp_path / "model", "neox")

    def run(name: Path | str, *, training: TrainingSection = TRAINING) -> Path:
        folder = tmp_path / name
        loaded_as = ModelSection(dtype="float32")
        job = Job(model_folder=str(model), model=loaded_as, pairs=str(tmp_path / "pairs.parquet"), folder=str(folder), seed=3, training=training)
        write_json(folder / "job.json", job.model_dump(mode="json"))
        monkeypatch.setattr(sys, "argv", ["worker", str(folder / "job.json")])
        worker.main()
        return folder

    return run


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "adapter" / "adapter_model.safetensors")


def log_of(folder: Path) -> list[dict[str, float]]:
    """Without what depends on the machine's speed."""
    lines = [json.loads(line) for line in (folder / LOG).read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in line.items() if name not in ("seconds", "samples_per_second")} for line in lines]


def assert_same_training(one: Path, other: Path) -> None:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys() and all(ours[name].equal(theirs[name]) for name in ours)
    assert log_of(one) == log_of(other)


def at_step(monkeypatch: pytest.MonkeyPatch, step: int, do: Callable[[], None]) -> None:
    """Once the step is taken and before it is logged, do this once."""
    original, due = worker._log, [step]

    def log(run: worker.Run, **line: float) -> None:
        if due == [run.progress.step]:
            due.clear()
            do()
        original(run, **line)

    monkeypatch.setattr(worker, "_log", log)


def test_the_log_has_every_step_once_and_ends_at_the_fraction_of_an_epoch(train: Train) -> None:
    lines = log_of(train(Path("one")))
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert [line["epoch"] for line in lines] == pytest.approx([step / 9 for step in range(1, STEPS + 1)])
    assert [line["step"] for line in lines if line["validation_loss"] is not None] == [3, 6, 9, 12]
    assert lines[-1]["learning_rate"] == 0


@pytest.mark.parametrize("step", [1, 4, 7, 9, 12])
def test_a_worker_that_dies_at_any_step_goes_on_to_the_same_weights(train: Train, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A base model with dropout (GPT-NeoX here) is trained without it: there is no random state that a checkpoint would have to keep."""

    def die() -> None:
        raise MemoryError

    undisturbed = train(Path("undisturbed"))
    at_step(monkeypatch, step, die)
    with pytest.raises(MemoryError):
        train(Path("broken"))
    assert_same_training(train(Path("broken")), undisturbed)


def test_a_worker_that_is_killed_at_ten_random_steps_ends_with_the_same_weights_bit_for_bit(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL, each time in a process of its own and in the middle of a step; weights of groups and all else are in the checkpoints."""
    training = TRAINING.model_copy(update={"epochs": 40 / 9, "balance": "group_dro", "group_rate": 0.5, "checkpoint_steps": 2})
    undisturbed = train(Path("undisturbed"), training=training)
    steps = sorted(random.Random(5).sample(range(3, 40), 10))
    for step in steps:
        with monkeypatch.context() as dying:
            at_step(dying, step, lambda: os.kill(os.getpid(), signal.SIGKILL))
            victim = multiprocessing.get_context("fork").Process(target=train, args=(Path("killed"),), kwargs={"training": training})
            victim.start()
            victim.join(timeout=60)
        assert victim.exitcode == -signal.SIGKILL, "it went past its step"
    assert_same_training(train(Path("killed"), training=training), undisturbed)


def test_a_damaged_newest_checkpoint_costs_only_its_steps(train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    undisturbed = train(Path("undisturbed"))
    at_step(monkeypatch, 10, lambda: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(MemoryError):
        train(Path("broken"))
    newest = sorted((undisturbed.parent / "broken" / "checkpoints").glob("step-*"))[-1]
    (newest / "optimizer.pt").write_bytes(b"nonsense")
    capsys.readouterr()
    assert_same_training(train(Path("broken")), undisturbed)
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert any("is damaged; the one before it is used" in line.get("warning", "") for line in said)
    assert {"resumed": 4, "total": STEPS} in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_of_that_very_step(train: Train, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    undisturbed = train(Path("undisturbed"))
    at_step(monkeypatch, 6, lambda: os.kill(os.getpid(), number))
    with pytest.raises(SystemExit) as stopped:
        train(Path("stopped"))
    assert stopped.value.code == worker.INTERRUPTED
    found = newest_checkpoint(tmp := undisturbed.parent / "stopped" / "checkpoints")
    assert found is not None and found.state["step"] == 6 and not list(tmp.glob(".building-*"))
    assert_same_training(train(Path("stopped")), undisturbed)


def test_a_worker_whose_launcher_is_gone_writes_a_checkpoint_and_ends(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads its standard output any more."""
    undisturbed = train(Path("undisturbed"))

    class Closed(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    with monkeypatch.context() as broken:
        at_step(broken, 3, lambda: broken.setattr(sys, "stdout", Closed()))
        with pytest.raises(SystemExit) as stopped:
            train(Path("left"))
    assert stopped.value.code == worker.INTERRUPTED
    found = newest_checkpoint(undisturbed.parent / "left" / "checkpoints")
    assert found is not None and found.state["step"] == 3
    assert_same_training(train(Path("left")), undisturbed)


def with_validation_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> None:
    """Invented, one for each evaluation."""
    left = iter(losses)
    monkeypatch.setattr(Trainer, "mean_loss", lambda *_: next(left))


def test_the_adapter_is_that_of_the_lowest_validation_loss(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second of four; a worker that starts again after it still has it."""
    kept: list[dict[str, Tensor]] = []
    original = worker._validate

    def validate(run: worker.Run) -> float | None:
        if run.progress.step == 6:
            kept.append({name: tensor.clone() for name, tensor in worker._adapter(run).items()})
        return original(run)

    monkeypatch.setattr(worker, "_validate", validate)
    with_validation_losses(monkeypatch, [2.0, 1.0, 3.0, 4.0])
    at_step(monkeypatch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(Path("one"))
    folder = train(Path("one"))
    assert [line["validation_loss"] for line in log_of(folder) if line["validation_loss"] is not None] == [2, 1, 3, 4]
    assert load_file(folder / BEST).keys() == kept[0].keys()
    saved = weights(folder)
    assert all(saved[name].equal(kept[0][name]) for name in kept[0])


def test_training_ends_after_so_many_evaluations_without_a_better_one(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts again in between still knows of the first."""
    with_validation_losses(monkeypatch, [2.0, 1.0, 1.5, 1.2, 0.1])
    at_step(monkeypatch, 10, lambda: os.kill(os.getpid(), signal.SIGTERM))
    training = TRAINING.model_copy(update={"epochs": 3.0, "patience": 2})
    with pytest.raises(SystemExit):
        train(Path("one"), training=training)
    folder = train(Path("one"), training=training)
    assert log_of(folder)[-1]["step"] == 12 < 27
    assert log_of(folder)[-1]["validation_loss"] == 1.2


def test_without_validation_pairs_the_last_adapter_is_kept(train: Train, tmp_path: Path) -> None:
    pairs = made_up_pairs()
    write_table(pairs[pairs["split"] != "validation"], tmp_path / "pairs.parquet")
    folder = train(Path("one"))
    assert not (folder / BEST).exists()
    assert all(line["validation_loss"] is None for line in log_of(folder))
    assert any(tensor.abs().max() > 0 for name, tensor in weights(folder).items() if "lora_B" in name)


def test_the_learning_rate_rises_and_falls_in_straight_lines() -> None:
    rates = [worker.rate_at(step, total=10, warmup=0.2, schedule="linear") for step in range(11)]
    assert rates == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    assert worker.rate_at(0, total=1, warmup=0.0, schedule="linear") == 1


def test_the_learning_rate_can_follow_a_cosine_or_stay() -> None:
    cosine = [worker.rate_at(step, total=10, warmup=0.2, schedule="cosine") for step in (1, 2, 6, 10)]
    assert cosine == pytest.approx([1, 1, 0.5, 0])
    assert [worker.rate_at(step, total=10, warmup=0.2, schedule="constant") for step in (0, 2, 9)] == pytest.approx([0.5, 1, 1])


@pytest.mark.parametrize("balance", ["none", "uniform", "group_dro"])
def test_neither_the_parts_nor_their_order_change_what_is_trained(train: Train, balance: str) -> None:
    """Gradient accumulation: a step in one part and in parts of one pair, to rounding."""
    training = TRAINING.model_copy(update={"questions_per_step": 3, "pairs_per_question": 3, "balance": balance})
    whole, parts = (log_of(train(Path(str(size)), training=training.model_copy(update={"pairs_per_forward": size}))) for size in (64, 1))
    assert [line["loss"] for line in parts] == pytest.approx([line["loss"] for line in whole], rel=1e-4)
    assert [line["validation_loss"] for line in parts[2::3]] == pytest.approx([line["validation_loss"] for line in whole[2::3]], rel=1e-4)


def test_when_memory_ends_parts_are_halved_the_step_is_repeated_and_losses_stay(
    train: Train, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The memory here holds two pairs. What fits is kept for the rest of the run, and told once."""
    training = TRAINING.model_copy(update={"questions_per_step": 3, "pairs_per_question": 3})
    expected = log_of(train(Path("enough"), training=training))
    original, sizes = Trainer._losses, []

    def losses(self: Trainer, part: Part, **more: Any) -> Tensor:
        sizes.append(len(part.examples))
        if len(part.examples) > 2:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
        return original(self, part, **more)

    monkeypatch.setattr(Trainer, "_losses", losses)
    capsys.readouterr()
    found = log_of(train(Path("short"), training=training))
    assert [line["loss"] for line in found] == pytest.approx([line["loss"] for line in expected], rel=1e-4)
    assert [size for size in sizes if size > 2] == [8, 4]
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["warning"] for line in said if "warning" in line] == [
        "memory ended with 8 pairs at once: the step is repeated with 4",
        "memory ended with 4 pairs at once: the step is repeated with 2",
    ]


def test_what_fitted_into_memory_is_kept_by_checkpoints(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    at_step(monkeypatch, 6, lambda: os.kill(os.getpid(), signal.SIGTERM))
    original = worker._train

    def train_in_ones(run: worker.Run) -> None:
        run.trainer.pairs_per_forward = 1
        original(run)

    monkeypatch.setattr(worker, "_train", train_in_ones)
    with pytest.raises(SystemExit):
        train(Path("one"))
    found = newest_checkpoint(tmp_path / "one" / "checkpoints")
    assert found is not None and found.state["progress"]["pairs_per_forward"] == 1


def test_a_pair_that_does_not_fit_into_memory_alone_ends_the_run_with_what_to_do(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_losses", lambda *_, **__: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(StepError, match="a single pair does not fit into memory. Take a smaller model"):
        train(Path("one"))


def test_another_error_than_memory_s_is_not_taken_for_it(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Trainer, "_losses", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("shapes do not match")))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        train(Path("one"))


def test_processes_that_would_train_apart_are_refused(train: Train, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Accelerate starts them, and then makes no group of them, when a file for GPUs is used without a GPU."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="2 processes were started that Accelerate does not bring together on this machine's cpu: each would train"):
        train(Path("one"))
    assert not (tmp_path / "one" / LOG).exists()


@pytest.mark.parametrize("objective", ["tokens", "modal", "ordinal"])
def test_every_objective_trains(train: Train, objective: str) -> None:
    log = log_of(train(Path("one"), training=TRAINING.model_copy(update={"objective": objective, "epochs": 4.0})))
    losses = [line["validation_loss"] for line in log if line["validation_loss"] is not None]
    assert min(losses) < losses[0]
