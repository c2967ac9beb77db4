"""The fine-tuning worker: one LoRA run, resumable, started by Accelerate.

    accelerate launch --config_file infra/accelerate/cpu.yaml -m tasks.training.worker JOB.json

JOB.json (see Job) says what to train; hardware is Accelerate's file. One line of JSON per optimizer step goes to standard output. SIGTERM and
Ctrl-C write a checkpoint before the process ends; started again, the worker goes on from there.
"""

import fcntl
import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator
from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.errors import InputError
from tasks.files import flush_folder, write_atomically
from tasks.prompting.tree import PromptEncoder
from tasks.training.checkpoints import newest_checkpoint, save_checkpoint
from tasks.training.dataset import Batching, Example, Grouping, best_grouping, in_groups, read_examples, steps_of_epoch
from tasks.training.forward import OptionScorer, pack_if_equal
from tasks.training.job import BEST, LOG, Job, die_with_parent
from tasks.training.lora import with_lora
from tasks.training.model import load_model
from tasks.training.optimisation import Trainer, Weigher
from tasks.training.sharding import shard, wants_sharding

INTERRUPTED = 75  # EX_TEMPFAIL: a checkpoint was written, start me again
APART = (
    "{started} processes were started that Accelerate does not bring together on this machine's {device}: each would train alone. Take a hardware "
    "file for this machine; without GPUs one with use_cpu: true, and start it through `valuescape`, or with ACCELERATE_USE_CPU=true"
)

logger = logging.getLogger("valuescape")


@dataclass
class Progress:
    """What a checkpoint must know besides tensors. The place in the data follows from the step, the seed and the batching."""

    pairs_per_forward: int
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    worse: int = 0  # evaluations since the best one
    group_weights: list[float] | None = None


@dataclass
class Run:
    """One worker's state."""

    job: Job
    trainer: Trainer
    scheduler: Any
    train: list[Example]
    validation: list[Example]
    grouping: Grouping
    total: int  # optimizer steps of the whole run
    precision: str
    progress: Progress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.job.training.pairs_per_forward)

    @property
    def model(self) -> Any:
        return self.trainer.scorer.model

    @property
    def writes(self) -> bool:
        """Whether this process is the one that leaves files and speaks."""
        return bool(self.trainer.accelerator.is_main_process)

    @property
    def is_over(self) -> bool:
        return self.progress.step == self.total or self.progress.worse >= self.job.training.patience


def main() -> None:
    """The reason for a failure goes to standard output in one line, its traceback to standard error."""
    die_with_parent()
    try:
        _work(Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except Exception as error:
        _say({"error": f"{type(error).__name__}: {error}"})
        raise


def _work(job: Job) -> None:
    accelerator = Accelerator()
    if accelerator.num_processes != int(os.environ.get("WORLD_SIZE", 1)):
        raise InputError(APART.format(started=os.environ["WORLD_SIZE"], device=accelerator.device))
    with (Path(job.folder) / "worker.lock").open("ab") as lock:
        if accelerator.is_main_process:
            logger.handlers = [_Said()]
            fcntl.flock(lock, fcntl.LOCK_EX)  # a worker whose launcher was killed may still be writing its last checkpoint, or the adapter
        accelerator.wait_for_everyone()
        if (Path(job.folder) / "adapter").is_dir():
            return
        run = _start(job, accelerator)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stopper(run.trainer))
        _resume(run)
        _train(run)
        if run.writes:
            _finish(run)
        accelerator.wait_for_everyone()


class _Said(logging.Handler):
    """Warnings reach the launcher as the steps do."""

    def emit(self, record: logging.LogRecord) -> None:
        _say({"warning": record.getMessage()})


def _stopper(trainer: Trainer) -> Any:
    def stop(number: int, _: FrameType | None) -> None:
        trainer.stop_signal = number

    return stop


def _start(job: Job, accelerator: Accelerator) -> Run:
    torch.manual_seed(job.seed)
    training = job.training
    assert training.objective != "none", "the launcher does not start a worker for training.objective none"
    sharded = wants_sharding(accelerator)
    loaded = load_model(Path(job.model_folder), job.model, device=accelerator.device, sharded=sharded)  # the hardware file decides
    model = with_lora(loaded.model, rank=training.lora_rank, alpha=training.lora_alpha)
    model.eval()  # a base model's own dropout too would make a resumed run another one
    encoder = PromptEncoder(loaded.tokenizer)
    train, validation = (read_examples(Path(job.pairs), encoder, split=split, objective=training.objective) for split in ("train", "validation"))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=training.learning_rate, weight_decay=0.0, fused=True)
    grouping = best_grouping(train, batching=_batching(job))
    steps = total_steps(train, job, grouping=grouping)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: rate_at(step, total=steps, warmup=training.warmup, schedule=training.schedule)
    )
    scorer = OptionScorer(model)
    if sharded:
        shard(scorer, device=accelerator.device)
    pack_if_equal(scorer, [example.prompt for example in train])
    trainer = Trainer(accelerator, scorer, optimizer, training, Weigher(train, training), training.pairs_per_forward)
    return Run(job, trainer, scheduler, train, in_groups(validation, grouping=grouping), grouping, steps, loaded.precision)


def _batching(job: Job) -> Batching:
    return Batching(job.training.questions_per_step, job.training.pairs_per_question, job.seed)


def total_steps(examples: list[Example], job: Job, *, grouping: Grouping) -> int:
    """Optimizer steps of the whole run; a fraction of an epoch is cut at a step."""
    return max(1, round(job.training.epochs * len(steps_of_epoch(examples, batching=_batching(job), grouping=grouping, epoch=0))))


def rate_at(step: int, *, total: int, warmup: float, schedule: str) -> float:
    """Share of the peak learning rate: in a straight line from 0 over the warm-up; then in one to 0, along half a cosine to 0, or unchanged."""
    rising = max(1, round(warmup * total))
    if step < rising:
        return (step + 1) / rising
    left = max(0.0, (total - step) / max(1, total - rising))
    return {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}[schedule]


def _resume(run: Run) -> None:
    with run.trainer.accelerator.main_process_first():  # which takes damaged checkpoints away
        found = newest_checkpoint(Path(run.job.folder) / "checkpoints")
    log = Path(run.job.folder) / LOG
    if found is None:
        if run.writes:
            log.unlink(missing_ok=True)
        return
    set_peft_model_state_dict(run.model, found.adapter())
    tensors = found.optimizer()
    run.trainer.optimizer.load_state_dict(tensors["optimizer"])
    torch.set_rng_state(tensors["random"])
    run.scheduler.load_state_dict(found.state["scheduler"])
    run.progress = Progress(**found.state["progress"])
    run.trainer.pairs_per_forward = run.progress.pairs_per_forward
    if groups := run.trainer.weigher.groups:
        groups.q = torch.tensor(run.progress.group_weights, dtype=torch.float64)
    if run.writes:
        _cut_log(log, after=run.progress.step)
        _say({"resumed": run.progress.step, "total": run.total})


def _cut_log(log: Path, *, after: int) -> None:
    """Steps that were logged but not kept by a checkpoint are done, and logged, again."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")] if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= after]
    with write_atomically(log) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _train(run: Run) -> None:
    steps = islice(_steps_after(run, run.progress.step), run.total - run.progress.step)
    while not run.is_over:
        epoch, examples = next(steps)
        started = time.monotonic()
        loss = run.trainer.step(examples)
        run.scheduler.step()
        speed = len(examples) / (time.monotonic() - started)
        run.progress.step += 1
        due = run.progress.step == run.total or run.progress.step % run.job.training.evaluate_steps == 0
        checked = _validate(run) if due else None
        run.progress.seconds += time.monotonic() - started
        if run.writes:
            _log(run, loss=loss, validation_loss=checked, speed=speed, epoch=epoch)
        stops = run.trainer.stops()
        if run.is_over or stops or run.progress.step % run.job.training.checkpoint_steps == 0:
            _checkpoint(run)
        if stops and not run.is_over:
            sys.exit(INTERRUPTED)


def _steps_after(run: Run, done: int) -> Iterator[tuple[float, list[Example]]]:
    """The optimizer steps that follow the first `done` ones, each with the epochs that end with it; without an end."""

    def of_epoch(epoch: int) -> list[list[Example]]:
        return steps_of_epoch(run.train, batching=_batching(run.job), grouping=run.grouping, epoch=epoch)

    per_epoch = len(of_epoch(0))
    for epoch in count(done // per_epoch):
        steps = of_epoch(epoch)
        first = max(0, done - epoch * per_epoch)
        for place, examples in enumerate(steps[first:], start=first + 1):
            yield epoch + place / per_epoch, examples


def _validate(run: Run) -> float | None:
    """Mean loss over the validation pairs; the adapter with the lowest is kept aside."""
    if not run.validation:
        return None
    loss = run.trainer.mean_loss(run.validation)
    run.progress.worse += 1
    if loss < run.progress.best_loss:
        run.progress.best_loss, run.progress.worse = loss, 0
        if run.writes:
            with write_atomically(Path(run.job.folder) / BEST) as temporary:
                save_file(_adapter(run), temporary)
    return loss


def _log(run: Run, *, loss: float, validation_loss: float | None, speed: float, epoch: float) -> None:
    line = {
        "step": run.progress.step,
        "epoch": epoch,
        "loss": loss,
        "validation_loss": validation_loss,
        "learning_rate": run.scheduler.get_last_lr()[0],
        "samples_per_second": speed,
        "seconds": run.progress.seconds,
        "precision": run.precision,
    }
    with (Path(run.job.folder) / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    try:
        _say({**line, "total": run.total})
    except BrokenPipeError:  # whoever listened is gone: as if it had told us to stop
        run.trainer.stop_signal = signal.SIGPIPE


def _say(line: dict[str, Any]) -> None:
    """In one write: two processes may speak at once."""
    print(json.dumps(line) + "\n", end="", flush=True)


def _adapter(run: Run) -> dict[str, Tensor]:
    """By its parameters: asked for its whole state, a sharded model would let go on this process only what was gathered."""
    trained = {name: parameter for name, parameter in run.model.named_parameters() if parameter.requires_grad}
    state: dict[str, Tensor] = get_peft_model_state_dict(run.model, state_dict=trained)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _checkpoint(run: Run) -> None:
    if not run.writes:
        return
    groups = run.trainer.weigher.groups
    run.progress.pairs_per_forward = run.trainer.pairs_per_forward
    run.progress.group_weights = groups.q.tolist() if groups else None
    save_checkpoint(
        Path(run.job.folder) / "checkpoints",
        adapter=_adapter(run),
        optimizer={"optimizer": run.trainer.optimizer.state_dict(), "random": torch.get_rng_state()},
        state={"step": run.progress.step, "progress": vars(run.progress), "scheduler": _plain(run.scheduler.state_dict())},
    )


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its function, which is made anew."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {"lr_lambdas": [None]}


def _finish(run: Run) -> None:
    """The adapter of the lowest validation loss, in PEFT's own format."""
    best = Path(run.job.folder) / BEST
    if best.exists():
        set_peft_model_state_dict(run.model, load_file(best))
    building = Path(run.job.folder) / "adapter.building"
    run.model.save_pretrained(building)
    flush_folder(building)
    building.replace(Path(run.job.folder) / "adapter")


if __name__ == "__main__":
    main()
