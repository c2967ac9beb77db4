"""The worker in two processes, the model's weights spread over them (FSDP): it trains what one process trains, and resumes to the same bits."""

import json
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from tasks.files import write_json, write_table
from tasks.study import ModelSection, TrainingSection
from tasks.training import worker
from tasks.training.checkpoints import newest_checkpoint
from tasks.training.job import Job
from tasks.training.optimisation import Trainer
from tests.training.test_worker import TRAINING, assert_same_training, at_step, log_of, weights
from tests.training.tiny import made_up_pairs, save_model

SHARDED = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "FSDP_CPU_RAM_EFFICIENT_LOADING": "false"}  # what Accelerate makes of fsdp.yaml
FORK = multiprocessing.get_context("fork")

JobIn = Callable[..., Path]


@pytest.fixture
def job_in(tmp_path: Path) -> JobIn:
    """Write a job into a folder of this name; returns it."""
    write_table(made_up_pairs(), tmp_path / "pairs.parquet")

    def made(name: str, *, family: str = "llama", dtype: str = "float32", training: TrainingSection = TRAINING) -> Path:
        folder, model = tmp_path / name, tmp_path / family
        if not model.exists():
            save_model(model, family)
        loaded_as = ModelSection(dtype=dtype)
        job = Job(model_folder=str(model), model=loaded_as, pairs=str(tmp_path / "pairs.parquet"), folder=str(folder), seed=3, training=training)
        write_json(folder / "job.json", job.model_dump(mode="json"))
        return folder

    return made


Run = Callable[..., list[int | None]]


@pytest.fixture
def run() -> Iterator[Run]:
    """Work in a folder, in new processes that see what `accelerate launch` would tell them; returns how they ended."""
    started: list[ForkProcess] = []

    def run_in(folder: Path, *, processes: int = 2, sharded: bool = False) -> list[int | None]:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = str(server.getsockname()[1])
        for rank in range(processes):
            place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            hardware = {"ACCELERATE_USE_CPU": "true", **(place if processes > 1 else {}), **(SHARDED if sharded else {})}
            started.append(FORK.Process(target=_work, args=(folder, rank, hardware)))
            started[-1].start()
        for process in started[-processes:]:
            process.join(timeout=60)
        return [process.exitcode for process in started[-processes:]]

    yield run_in
    for process in started:
        process.kill()


def _work(folder: Path, rank: int, hardware: dict[str, str]) -> None:
    os.environ.update(hardware)
    AcceleratorState._reset_state(reset_partial_state=True)
    for name in ("stdout", "stderr"):
        setattr(sys, name, (folder / f"{name}-{rank}").open("a", encoding="utf-8", buffering=1))
    sys.argv = ["worker", str(folder / "job.json")]
    worker.main()


def said(folder: Path, rank: int = 0) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / f"stdout-{rank}").read_text(encoding="utf-8").splitlines()]


def assert_close_training(one: Path, other: Path) -> None:
    """Losses and weights to rounding in float32."""
    pd.testing.assert_frame_equal(pd.DataFrame(log_of(one)), pd.DataFrame(log_of(other)), rtol=1e-4)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "dtype"), [("llama", "float32"), ("qwen2", "bfloat16"), ("neox", "float32")])
def test_two_processes_that_share_the_weights_train_as_two_with_all_of_them(job_in: JobIn, run: Run, family: str, dtype: str) -> None:
    """To the bit: what is gathered is what was there. Every third step has one pair: one process computes it for the other's sake. Embeddings that
    are the output layer, too (Qwen2 here), belong to one group."""
    whole, sharded = (job_in(name, family=family, dtype=dtype) for name in ("whole", "sharded"))
    assert run(whole) == run(sharded, sharded=True) == [0, 0]
    assert_same_training(sharded, whole)
    assert said(sharded, rank=1) == [], "only one of them speaks"


@pytest.mark.parametrize("balance", ["none", "group_dro"])
def test_two_processes_that_share_the_weights_train_as_one_does(job_in: JobIn, run: Run, balance: str) -> None:
    training = TRAINING.model_copy(update={"balance": balance, "questions_per_step": 3, "pairs_per_question": 3, "pairs_per_forward": 2})
    one, sharded = (job_in(name, training=training) for name in ("one", "sharded"))
    assert run(one, processes=1) == [0]
    assert run(sharded, sharded=True) == [0, 0]
    assert_close_training(sharded, one)


def test_each_process_keeps_half_of_the_frozen_weights_and_the_whole_adapter(job_in: JobIn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(run: worker.Run) -> None:
        kept = {"frozen": 0, "adapter": 0}
        for parameter in run.model.parameters():
            here = parameter.to_local() if hasattr(parameter, "to_local") else parameter
            kept["adapter" if parameter.requires_grad else "frozen"] += here.numel()
        write_json(Path(run.job.folder) / f"kept-{run.trainer.accelerator.process_index}.json", kept)

    monkeypatch.setattr(worker, "pack_if_equal", lambda *_: None)  # a forward without gradients leaves the embeddings gathered
    monkeypatch.setattr(worker, "_resume", count)
    monkeypatch.setattr(worker, "_train", lambda _: None)
    whole, sharded = job_in("whole"), job_in("sharded")
    assert run(whole, processes=1) == [0] and run(sharded, sharded=True) == [0, 0]
    everything, *halves = (json.loads((folder / f"kept-{rank}.json").read_text()) for folder, rank in ((whole, 0), (sharded, 0), (sharded, 1)))
    assert sum(half["frozen"] for half in halves) == everything["frozen"]
    assert [half["frozen"] for half in halves] == pytest.approx([everything["frozen"] / 2] * 2, rel=0.01)
    assert [half["adapter"] for half in halves] == [everything["adapter"]] * 2


def test_a_sharded_run_that_is_killed_ends_with_the_same_weights_bit_for_bit(job_in: JobIn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process does not outlive the killed one."""
    undisturbed, killed = job_in("undisturbed"), job_in("killed")
    assert run(undisturbed, sharded=True) == [0, 0]
    with monkeypatch.context() as dying:
        at_step(dying, 7, lambda: os.kill(os.getpid(), signal.SIGKILL))
        first, second = run(killed, sharded=True)
    assert first == -signal.SIGKILL and second not in (0, None)
    assert run(killed, sharded=True) == [0, 0]
    assert {"resumed": 4, "total": 12} in said(killed)
    assert_same_training(killed, undisturbed)


def test_a_sharded_run_that_was_told_to_stop_goes_on_in_one_process(job_in: JobIn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGTERM to the process that writes nothing stops both, at the same step; the checkpoint is that of any other hardware."""
    one, stopped = job_in("one"), job_in("stopped")
    assert run(one, processes=1) == [0]
    original = Trainer.stops

    def stops(trainer: Trainer) -> bool:
        if trainer.accelerator.process_index == 1 and trainer.optimizer.state[trainer.parameters[0]]["step"] == 6:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(trainer)

    with monkeypatch.context() as stopping:
        stopping.setattr(Trainer, "stops", stops)
        assert run(stopped, sharded=True) == [worker.INTERRUPTED] * 2
    found = newest_checkpoint(stopped / "checkpoints")
    assert found is not None and found.state["step"] == 6
    assert run(stopped, processes=1) == [0]
    assert_close_training(stopped, one)


def test_a_sharded_model_that_cannot_be_packed_is_trained_in_padded_batches(job_in: JobIn, run: Run) -> None:
    """Its packed trial ends in the middle of a forward, and the next one begins anew."""
    whole, sharded = (job_in(name, family="mistral") for name in ("whole", "sharded"))
    assert run(whole) == run(sharded, sharded=True) == [0, 0]
    assert any("are not packed" in line.get("warning", "") for line in said(sharded))
    assert_same_training(sharded, whole)


def test_memory_that_ends_in_a_sharded_step_ends_the_run_with_what_to_do(job_in: JobIn, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are in the middle of gathering: nothing can be repeated."""

    def losses(self: Trainer, *_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(Trainer, "_losses", losses)
    folder = job_in("one", training=TRAINING.model_copy(update={"pairs_per_forward": 2}))
    assert run(folder, sharded=True) == [1, 1]
    assert "memory ended with up to 2 pairs at once, and the step of a sharded model cannot be repeated" in said(folder)[-1]["error"]
