"""The worker's own loop, in this process: stopped and broken off at any step, it ends with the weights of an undisturbed run."""

import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tasks.files import write_json, write_table
from tasks.study import TrainingSection
from tasks.training import worker
from tasks.training.checkpoints import newest_checkpoint
from tasks.training.job import BEST, LOG, Job
from tests.training.tiny import made_up_pairs, save_model

TRAINING = TrainingSection(
    epochs=4 / 3, learning_rate=0.01, lora_rank=2, questions_per_step=1, pairs_per_question=2, checkpoint_steps=4, evaluate_steps=3
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
        job = Job(
            model=str(model), pairs=str(tmp_path / "pairs.parquet"), folder=str(folder), group_by="item", dtype="float32", seed=3, training=training
        )
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


def test_the_adapter_is_that_of_the_lowest_validation_loss(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the second of four; a worker that starts again after it still has it."""
    losses = iter([2.0, 1.0, 3.0, 4.0])
    kept: list[dict[str, Tensor]] = []
    original = worker._validate

    def validate(run: worker.Run) -> float | None:
        if run.progress.step == 6:
            kept.append({name: tensor.clone() for name, tensor in worker._adapter(run).items()})
        with monkeypatch.context() as patched:
            loss = next(losses) * len(run.validation)
            patched.setattr(worker, "groups_in_order", lambda *_, **__: [[]])
            patched.setattr(worker, "_losses", lambda *_: torch.tensor([loss]))
            return original(run)

    monkeypatch.setattr(worker, "_validate", validate)
    at_step(monkeypatch, 7, lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit):
        train(Path("one"))
    folder = train(Path("one"))
    assert [line["validation_loss"] for line in log_of(folder) if line["validation_loss"] is not None] == [2, 1, 3, 4]
    assert load_file(folder / BEST).keys() == kept[0].keys()
    saved = weights(folder)
    assert all(saved[name].equal(kept[0][name]) for name in kept[0])


def test_a_step_is_the_mean_over_its_pairs_whatever_the_sizes_of_its_groups(train: Train) -> None:
    run = worker._start(Job.model_validate_json((train(Path("one")) / "job.json").read_text(encoding="utf-8")))
    first, second, third = run.train[0], run.train[1], run.train[-1]
    assert first.group == second.group != third.group
    with torch.no_grad():
        expected = sum(float(worker._losses(run, [example])) for example in (first, second, third)) / 3
    assert worker._optimise(run, [[first, second], [third]]) == pytest.approx(expected, rel=1e-5)


def test_without_validation_pairs_the_last_adapter_is_kept(train: Train, tmp_path: Path) -> None:
    pairs = made_up_pairs()
    write_table(pairs[pairs["split"] != "validation"], tmp_path / "pairs.parquet")
    folder = train(Path("one"))
    assert not (folder / BEST).exists()
    assert all(line["validation_loss"] is None for line in log_of(folder))
    assert any(tensor.abs().max() > 0 for name, tensor in weights(folder).items() if "lora_B" in name)


def test_the_learning_rate_rises_and_falls_in_straight_lines() -> None:
    rates = [worker.rate_at(step, total=10, warmup=0.2) for step in range(11)]
    assert rates == pytest.approx([0.5, 1, 1, 7 / 8, 6 / 8, 5 / 8, 4 / 8, 3 / 8, 2 / 8, 1 / 8, 0])
    assert worker.rate_at(0, total=1, warmup=0.0) == 1
