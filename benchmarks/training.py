"""Fine-tuning against TRL's SFTTrainer and against our own padded batches, paired in one run: ratios, not seconds, are the result.

    python -m benchmarks.training --json training.json [--quick] [--peer-python OTHER/bin/python]

The sample study's own pairs and model, bfloat16 where the machine computes it, LoRA r=16 on all linear layers, objective tokens (the next-token loss
on the modal answer), the same pairs in the same order. A step has the study's own 4 questions x 8 pairs or, as packing gains with its size, twice as
many: 4 x 16, in all that ends in `_64`. Sides take turns, each in a process of its own:

- packed, padded: ours, and what a model that cannot be packed falls back to.
- trl: prompt-completion data, completion-only loss, no gradient checkpointing, at the best of several batch sizes; trl_defaults: as it comes.
- persona_first, persona_first_padded: the other order of the prompts, which shares less.

TRL is not among the project's dependencies: `pip install trl` in an environment of its own that has the project's packages, and name its interpreter.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.sides import ORDERS, Clock, leave_side, pairs_file, prepare_sample, run_side
from tasks.prompting.tree import PromptEncoder
from tasks.study import ModelSection, TrainingSection
from tasks.training.dataset import Batching, Example, best_grouping, read_examples, steps_of_epoch
from tasks.training.forward import OptionScorer
from tasks.training.lora import load_lora, with_lora
from tasks.training.model import load_model
from tasks.training.optimisation import Trainer, Weigher
from tasks.training.packing import stream_length

ROUNDS, STEPS = 3, 9
PEER_BATCHES = (4, 8, 16)
TRAINING = TrainingSection(objective="tokens", epochs=1.0)
STEP_SIZES = {"": TRAINING.pairs_per_question, "_64": 16}  # pairs of a question in a step, by how the sides' names end
PAPER_PAIRS = 20_877  # of Tan et al. (2026)
SEED = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="Two steps: shows that it runs, and measures nothing.")
    parser.add_argument("--steps", type=int, default=STEPS, help="Optimizer steps of a side, of which the first is not timed.")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--peer-python", default=sys.executable, help="An interpreter that has TRL.")
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)  # one side, in its own process
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.steps, arguments.rounds = 2, 1
    if arguments.side:
        _run_side(*arguments.side, steps=arguments.steps, out=arguments.json)
        return
    with tempfile.TemporaryDirectory() as name:
        prepare_sample(Path(name))
        results = _measure(Path(name), peer=arguments.peer_python, steps=arguments.steps, rounds=arguments.rounds)
    arguments.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1))


def _measure(folder: Path, *, peer: str, steps: int, rounds: int) -> dict[str, Any]:
    tried = {size: _side(f"trl {size}", folder, python=peer, steps=2)["samples_per_second"] for size in PEER_BATCHES}
    best = max(tried, key=lambda size: float(tried[size]))
    sides = {"persona_first": "persona_first", "persona_first_padded": "persona_first_padded"}
    for end in STEP_SIZES:
        sides |= {f"packed{end}": f"packed{end}", f"trl{end}": f"trl{end} {best}", f"padded{end}": f"padded{end}"}
    found = [
        {name: _side(side, folder, python=peer if name.startswith("trl") else sys.executable, steps=steps) for name, side in sides.items()}
        for _ in range(rounds)
    ]
    found[0]["trl_defaults"] = _side("trl_defaults", folder, python=peer, steps=steps)
    return {**_compared(found), "matmul_peak_gflops": round(_matmul_peak() / 1e9), "trl_tried": tried, "rounds": found}


def _compared(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    def ratio(ours: str, theirs: str, *, by: str = "samples_per_second") -> float:
        return round(statistics.median(float(one[ours][by]) / float(one[theirs][by]) for one in rounds if theirs in one), 2)

    def by_step_size(end: str) -> dict[str, float]:
        packed, trl, speed = f"packed{end}", f"trl{end}", statistics.median(one[f"packed{end}"]["samples_per_second"] for one in rounds)
        return {
            f"ratio_vs_trl{end}": ratio(packed, trl),
            f"ratio_vs_trl_in_cpu_time{end}": ratio(packed, trl, by="samples_per_cpu_second"),
            f"ratio_vs_padded{end}": ratio(packed, f"padded{end}"),
            f"held_out_loss_vs_trl{end}": round(rounds[0][packed]["held_out_loss"] / rounds[0][trl]["held_out_loss"], 4),
            f"minutes_per_epoch_of_the_paper{end}": round(PAPER_PAIRS / speed / 60, 1),
        }

    others = {
        "ratio_persona_first_vs_padded": ratio("persona_first", "persona_first_padded"),
        "ratio_vs_trl_defaults": ratio("packed", "trl_defaults"),
    }
    return {**by_step_size(""), **by_step_size("_64"), **others}


def _side(name: str, folder: Path, *, python: str, steps: int) -> dict[str, Any]:
    return run_side("benchmarks.training", name, folder, python=python, options={"steps": steps})


def _run_side(name: str, folder_name: str, *, steps: int, out: Path) -> None:
    folder, kind = Path(folder_name), name.split()[0]
    end = "_64" if kind.endswith("_64") else ""
    sides: dict[str, Callable[[], dict[str, Any]]] = {
        "packed": lambda: _ours(folder, "question_first", packed=True, steps=steps, size=STEP_SIZES[end]),
        "padded": lambda: _ours(folder, "question_first", packed=False, steps=steps, size=STEP_SIZES[end]),
        "persona_first": lambda: _ours(folder, "persona_first", packed=True, steps=steps),
        "persona_first_padded": lambda: _ours(folder, "persona_first", packed=False, steps=steps),
        "trl": lambda: _trl(folder, steps=steps, settings=_settings(int(name.split()[1]), size=STEP_SIZES[end]), size=STEP_SIZES[end]),
        "trl_defaults": lambda: _trl(folder, steps=2 * steps, settings={}),
    }
    leave_side(sides[kind.removesuffix("_64")](), out)


def _read(folder: Path, order: str, *, split: str, tokenizer: Any) -> list[Example]:
    return read_examples(pairs_file(folder, order), PromptEncoder(tokenizer), split=split, objective="tokens")


def _steps(examples: list[Example], *, count: int, size: int) -> list[list[Example]]:
    batching = Batching(TRAINING.questions_per_step, size, SEED)
    whole = TRAINING.questions_per_step * size
    found = steps_of_epoch(examples, batching=batching, grouping=best_grouping(examples, batching=batching), epoch=0)
    return sorted(found, key=lambda step: abs(len(step) - whole))[:count]


def _trainer(model: Any, *, packed: bool) -> Trainer:
    from accelerate import Accelerator

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=TRAINING.learning_rate, weight_decay=0.0, fused=True)
    return Trainer(Accelerator(cpu=True), OptionScorer(model, packed=packed), optimizer, TRAINING, Weigher([], TRAINING), TRAINING.pairs_per_forward)


def _ours(folder: Path, order: str, *, packed: bool, steps: int, size: int = TRAINING.pairs_per_question) -> dict[str, Any]:
    torch.manual_seed(SEED)
    loaded = load_model(folder / "model", ModelSection())
    model = with_lora(loaded.model, rank=TRAINING.lora_rank, alpha=TRAINING.lora_alpha).eval()
    trainer, chosen = _trainer(model, packed=packed), _steps(_read(folder, order, split="train", tokenizer=loaded.tokenizer), count=steps, size=size)
    schedule = torch.optim.lr_scheduler.LinearLR(trainer.optimizer, 1.0, 0.0, total_iters=steps)
    clock = Clock()
    for step in chosen:
        trainer.step(step)
        schedule.step()
        clock.tick()
    tokens = sum(stream_length([one.prompt for one in step]) if packed else sum(len(one.prompt.tokens) for one in step) for step in chosen[1:])
    weights = sum(one.numel() for one in model.get_decoder().layers.parameters())
    return {
        **clock.speed(sum(map(len, chosen[1:]))),
        "tokens_per_second": round(tokens / clock.seconds),
        "gflops": round(4 * weights * tokens / clock.seconds / 1e9),  # forward, and the gradient by the states; frozen weights have none
        "held_out_loss": trainer.mean_loss(_read(folder, order, split="validation", tokenizer=loaded.tokenizer)),
    }


def _settings(batch: int, *, size: int) -> dict[str, Any]:
    together = TRAINING.questions_per_step * size
    return {
        "per_device_train_batch_size": batch, "gradient_accumulation_steps": together // batch, "gradient_checkpointing": False,
        "completion_only_loss": True, "learning_rate": TRAINING.learning_rate, "lr_scheduler_type": "linear", "warmup_steps": 0, "weight_decay": 0.0,
        "max_grad_norm": TRAINING.gradient_clip,
    }  # fmt: skip


def _trl(folder: Path, *, steps: int, settings: dict[str, Any], size: int = TRAINING.pairs_per_question) -> dict[str, Any]:
    """SFTTrainer over the same pairs in the same order; its adapter's held-out loss is computed by ours."""
    from datasets import Dataset  # type: ignore[import-not-found]
    from peft import LoraConfig
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    clock = Clock()

    class Ticking(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.tick()

    class InOrder(SFTTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, dataset: Any = None) -> Any:
            return SequentialSampler(dataset if dataset is not None else self.train_dataset)

    loaded, out = load_model(folder / "model", ModelSection()), folder / "trl"
    train = _read(folder, "question_first", split="train", tokenizer=loaded.tokenizer)
    chosen = [one for step in _steps(train, count=max(steps, 4), size=size) for one in step]
    lora = LoraConfig(r=TRAINING.lora_rank, lora_alpha=TRAINING.lora_alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    arguments = SFTConfig(
        output_dir=str(out), max_steps=steps, save_strategy="no", report_to=[], use_cpu=True, bf16=False, seed=SEED, logging_steps=10**6,
        disable_tqdm=True, **settings,
    )  # fmt: skip
    data = Dataset.from_list(_chats(folder, chosen))
    trainer = InOrder(
        model=loaded.model, args=arguments, train_dataset=data, peft_config=lora, processing_class=loaded.tokenizer, callbacks=[Ticking()]
    )
    trainer.train()
    trainer.save_model(str(out))
    batch = arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps
    tuned = load_lora(load_model(folder / "model", ModelSection()).model, out).eval()
    held_out = _read(folder, "question_first", split="validation", tokenizer=loaded.tokenizer)
    return {
        **clock.speed(batch * (len(clock.ends) - 1)),
        "held_out_loss": _trainer(tuned.requires_grad_(True), packed=True).mean_loss(held_out),
    }


def _chats(folder: Path, chosen: list[Example]) -> list[dict[str, Any]]:
    """The pairs that the study wrote for other trainers, as prompt and completion."""
    lines = (folder / ORDERS["question_first"] / "dataset" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    chats = {(one["item"], one["subgroup_id"]): one["messages"] for one in map(json.loads, lines)}
    return [{"prompt": chats[pair.item, pair.subgroup][:-1], "completion": chats[pair.item, pair.subgroup][-1:]} for pair in chosen]


def _matmul_peak() -> float:
    """bfloat16 products of large matrices, the best of several: FLOP per second."""
    size = 2048
    one, other = (torch.randn(size, size).bfloat16() for _ in range(2))
    best = float("inf")
    for _ in range(10):
        began = time.monotonic()
        one @ other
        best = min(best, time.monotonic() - began)
    return 2 * size**3 / best


if __name__ == "__main__":
    main()
