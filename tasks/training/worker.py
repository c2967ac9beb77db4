"""The fine-tuning worker: one LoRA run, resumable, started by Accelerate.

    accelerate launch --config_file infra/accelerate/cpu.yaml -m tasks.training.worker JOB.json

JOB.json (see Job) says what to train; hardware is Accelerate's file. One line of JSON per optimizer step goes to standard output. SIGTERM and
Ctrl-C write a checkpoint before the process ends; started again, the worker goes on from there.
"""

import fcntl
import json
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
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.errors import StepError
from tasks.files import flush_folder, write_atomically
from tasks.prompting.tree import PromptEncoder, group_prompts
from tasks.study import TrainingSection
from tasks.training.checkpoints import newest_checkpoint, save_checkpoint
from tasks.training.dataset import Batching, Example, groups_in_order, read_examples, steps_of_epoch
from tasks.training.forward import OptionScorer
from tasks.training.job import BEST, LOG, Job, die_with_parent
from tasks.training.model import load_model
from tasks.training.objectives import pair_losses

INTERRUPTED = 75  # EX_TEMPFAIL: a checkpoint was written, start me again


@dataclass
class Progress:
    """What a checkpoint must know besides tensors."""

    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")


@dataclass
class Run:
    """One worker's state."""

    job: Job
    accelerator: Accelerator
    scorer: Any
    optimizer: Any
    scheduler: Any
    train: list[Example]
    validation: list[Example]
    total: int  # optimizer steps of the whole run
    progress: Progress = field(default_factory=Progress)
    stop_signal: int | None = None

    @property
    def peft_model(self) -> Any:
        return self.accelerator.unwrap_model(self.scorer).model

    @property
    def batching(self) -> Batching:
        return Batching(self.job.training.questions_per_step, self.job.training.pairs_per_question, self.job.seed)


def main() -> None:
    """The reason for a failure goes to standard output in one line, its traceback to standard error."""
    die_with_parent()
    try:
        _work(Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8")))
    except Exception as error:
        _say({"error": f"{type(error).__name__}: {error}"})
        raise


def _work(job: Job) -> None:
    run = _start(job)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stopper(run))
    with (Path(job.folder) / "worker.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a worker whose launcher was killed may still be writing its last checkpoint, or the adapter
        if (Path(job.folder) / "adapter").is_dir():
            return
        _resume(run)
        _train(run)
        _finish(run)


def _stopper(run: Run) -> Any:
    def stop(number: int, _: FrameType | None) -> None:
        run.stop_signal = number

    return stop


def _start(job: Job) -> Run:
    accelerator = Accelerator()
    if accelerator.num_processes > 1:
        raise StepError(f"{accelerator.num_processes} processes were started; this worker trains in one. Set num_processes: 1 in infra/accelerate.")
    torch.manual_seed(job.seed)
    loaded = load_model(Path(job.model), dtype=job.dtype, device=accelerator.device)  # the hardware file decides
    model = get_peft_model(loaded.model, _lora(job.training)).eval()  # a base model's own dropout too would make a resumed run another one
    encoder = PromptEncoder(loaded.tokenizer)
    train, validation = (read_examples(Path(job.pairs), encoder, split=split, group_by=job.group_by) for split in ("train", "validation"))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=job.training.learning_rate, weight_decay=0.0)
    steps = total_steps(train, job)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate_at(step, total=steps, warmup=job.training.warmup))
    scorer, optimizer = accelerator.prepare(OptionScorer(model), optimizer)
    return Run(job, accelerator, scorer, optimizer, scheduler, train, validation, steps)


def _lora(training: TrainingSection) -> LoraConfig:
    """LoRA (Hu et al. 2022) on every linear layer. No dropout: the same pairs give the same gradients however they are batched."""
    return LoraConfig(r=training.lora_rank, lora_alpha=training.lora_alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def total_steps(examples: list[Example], job: Job) -> int:
    """Optimizer steps of the whole run; a fraction of an epoch is cut at a step."""
    batching = Batching(job.training.questions_per_step, job.training.pairs_per_question, job.seed)
    return max(1, round(job.training.epochs * len(steps_of_epoch(examples, batching=batching, epoch=0))))


def rate_at(step: int, *, total: int, warmup: float) -> float:
    """Share of the peak learning rate: linear from 0 over the warm-up, then linear to 0."""
    rising = max(1, round(warmup * total))
    return (step + 1) / rising if step < rising else max(0.0, (total - step) / max(1, total - rising))


def _resume(run: Run) -> None:
    found = newest_checkpoint(Path(run.job.folder) / "checkpoints")
    log = Path(run.job.folder) / LOG
    if found is None:
        log.unlink(missing_ok=True)
        return
    set_peft_model_state_dict(run.peft_model, found.adapter())
    run.optimizer.load_state_dict(found.optimizer())
    run.scheduler.load_state_dict(found.state["scheduler"])
    run.progress = Progress(**found.state["progress"])
    _cut_log(log, after=run.progress.step)
    _say({"resumed": run.progress.step, "total": run.total})


def _cut_log(log: Path, *, after: int) -> None:
    """Steps that were logged but not kept by a checkpoint are done, and logged, again."""
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.endswith("}")] if log.exists() else []
    kept = [line for line in lines if json.loads(line)["step"] <= after]
    with write_atomically(log) as temporary:
        temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _train(run: Run) -> None:
    for epoch, groups in islice(_steps_after(run, run.progress.step), run.total - run.progress.step):
        started = time.monotonic()
        loss = _optimise(run, groups)
        speed = sum(len(group) for group in groups) / (time.monotonic() - started)
        run.progress.step += 1
        last = run.progress.step == run.total
        checked = _validate(run) if last or run.progress.step % run.job.training.evaluate_steps == 0 else None
        run.progress.seconds += time.monotonic() - started
        _log(run, loss=loss, validation_loss=checked, speed=speed, epoch=epoch)
        if last or run.stop_signal or run.progress.step % run.job.training.checkpoint_steps == 0:
            _checkpoint(run)
        if run.stop_signal:
            sys.exit(INTERRUPTED)


def _steps_after(run: Run, done: int) -> Iterator[tuple[float, list[list[Example]]]]:
    """The optimizer steps that follow the first `done` ones, each with the epochs that end with it; without an end."""
    per_epoch = len(steps_of_epoch(run.train, batching=run.batching, epoch=0))
    for epoch in count(done // per_epoch):
        steps = steps_of_epoch(run.train, batching=run.batching, epoch=epoch)
        first = max(0, done - epoch * per_epoch)
        for place, groups in enumerate(steps[first:], start=first + 1):
            yield epoch + place / per_epoch, groups


def _optimise(run: Run, groups: list[list[Example]]) -> float:
    """One optimizer step over the mean loss of its pairs; groups are accumulated one after another."""
    pairs = sum(len(group) for group in groups)
    total = 0.0
    for group in groups:
        loss = _losses(run, group).sum() / pairs
        run.accelerator.backward(loss)
        total += float(loss.detach())
    run.accelerator.clip_grad_norm_(run.scorer.parameters(), run.job.training.gradient_clip)
    run.optimizer.step()
    run.scheduler.step()
    run.optimizer.zero_grad()
    return total


def _losses(run: Run, group: list[Example]) -> Tensor:
    scored = run.scorer(group_prompts([example.prompt for example in group]))
    objective = run.job.training.objective
    assert objective != "none", "the launcher does not start a worker for training.objective none"
    return pair_losses(scored.options, scored.leads, shares=[list(example.shares) for example in group], objective=objective)


def _validate(run: Run) -> float | None:
    """Mean loss over the validation pairs; the adapter with the lowest is kept aside."""
    if not run.validation:
        return None
    with torch.no_grad():
        groups = groups_in_order(run.validation, size=2 * run.job.training.pairs_per_question)
        loss = sum(float(_losses(run, group).sum()) for group in groups) / len(run.validation)
    if loss < run.progress.best_loss:
        run.progress.best_loss = loss
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
    }
    with (Path(run.job.folder) / LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    try:
        _say({**line, "total": run.total})
    except BrokenPipeError:  # whoever listened is gone: as if it had told us to stop
        run.stop_signal = signal.SIGPIPE


def _say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


def _adapter(run: Run) -> dict[str, Tensor]:
    state: dict[str, Tensor] = get_peft_model_state_dict(run.peft_model)
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _checkpoint(run: Run) -> None:
    state = {"step": run.progress.step, "progress": vars(run.progress), "scheduler": _plain(run.scheduler.state_dict())}
    save_checkpoint(Path(run.job.folder) / "checkpoints", adapter=_adapter(run), optimizer=run.optimizer.state_dict(), state=state)


def _plain(state: dict[str, Any]) -> dict[str, Any]:
    """A scheduler's state without its function, which is made anew."""
    return {name: value for name, value in state.items() if name != "lr_lambdas"} | {"lr_lambdas": [None]}


def _finish(run: Run) -> None:
    """The adapter of the lowest validation loss, in PEFT's own format."""
    best = Path(run.job.folder) / BEST
    if best.exists():
        set_peft_model_state_dict(run.peft_model, load_file(best))
    building = Path(run.job.folder) / "adapter.building"
    run.peft_model.save_pretrained(building)
    flush_folder(building)
    building.replace(Path(run.job.folder) / "adapter")


if __name__ == "__main__":
    main()
