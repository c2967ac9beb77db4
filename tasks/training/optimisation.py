"""One optimizer step, whatever the hardware: parts that fit into memory, gradients summed over parts and processes, halved parts when memory ends.

    trainer = Trainer(accelerator, scorer, optimizer, settings, pairs_per_forward=64, weigher=Weigher(...))
    done = trainer.step(examples)

The step's loss is the weighted mean over all its pairs, so that neither the size of a part nor the number of processes changes it but by rounding.
"""

import gc
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tasks.errors import StepError
from tasks.study import TrainingSection
from tasks.training.dataset import Example, Objective, shards
from tasks.training.objectives import TEACH_THE_LEAD, GroupWeights, noise_floor, pair_losses, subgroup_weights
from tasks.training.sharding import is_sharded

NO_REPETITION = (
    "memory ended with up to {pairs} pairs at once, and the step of a sharded model cannot be repeated in smaller parts. Set "
    "training.pairs_per_forward lower, or take more GPUs"
)
# What PyTorch says on the CPU, where running out of memory has no exception of its own.
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")

logger = logging.getLogger("valuescape")


class Part(NamedTuple):
    """What goes through the model at once: pairs of a step and their weights. One that does not `count` is computed for the other processes' sake."""

    examples: list[Example]
    weights: Tensor
    counts: bool = True


class Weigher:
    """What pairs weigh: all alike, by subgroup, or by the group weights of the steps so far."""

    def __init__(self, examples: Sequence[Example], training: TrainingSection) -> None:
        self.by_subgroup = subgroup_weights(examples) if training.balance == "uniform" else None
        self.groups = GroupWeights(examples, rate=training.group_rate) if training.balance == "group_dro" else None

    def __call__(self, examples: Sequence[Example]) -> Tensor:
        if self.groups:
            return self.groups.of_pairs(examples)
        return torch.tensor([self.by_subgroup[example.subgroup] if self.by_subgroup else 1.0 for example in examples], dtype=torch.float64)


@dataclass
class Trainer:
    """`pairs_per_forward` shrinks when memory ends and stays so: checkpoints keep it."""

    accelerator: Any
    scorer: Any
    optimizer: Any
    training: TrainingSection
    weigher: Weigher
    pairs_per_forward: int
    stop_signal: int | None = None

    @property
    def objective(self) -> Objective:
        assert self.training.objective != "none", "the launcher does not start a worker for training.objective none"
        return self.training.objective

    @property
    def parameters(self) -> list[Any]:
        return [parameter for parameter in self.scorer.parameters() if parameter.requires_grad]

    def stops(self) -> bool:
        """Whether any process was told to stop; all of them learn it at the same step."""
        wish = torch.tensor([float(self.stop_signal is not None)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(wish, reduction="sum"))

    def step(self, examples: list[Example]) -> float:
        """One optimizer step over the weighted mean loss of these pairs; returns their unweighted mean loss."""
        sums = self._within_memory(examples, gradients=True)
        self._sum_gradients()
        self.accelerator.clip_grad_norm_(self.parameters, self.training.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if groups := self.weigher.groups:
            groups.update(sums[1:].cpu(), groups.membership(examples).sum(0))
        return float(sums[0]) / len(examples)

    def mean_loss(self, examples: list[Example]) -> float:
        """Over these pairs, without a step."""
        with torch.no_grad():
            return float(self._within_memory(examples, gradients=False)[0]) / len(examples)

    def _within_memory(self, examples: list[Example], *, gradients: bool) -> Tensor:
        """The pairs' sums over all processes; parts are halved, and all of them repeated, until they fit into the memory of every process."""
        while True:
            sums = self._sums(examples, gradients=gradients)
            total: Tensor = self.accelerator.reduce(sums, reduction="sum")
            if not total[-1]:
                return total[:-1]
            self._halve(examples)

    def _halve(self, examples: list[Example]) -> None:
        self.optimizer.zero_grad()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        tried = min(self.pairs_per_forward, -(-len(examples) // self.accelerator.num_processes))
        if tried == 1:
            raise StepError("a single pair does not fit into memory. Take a smaller model, model.dtype bfloat16, or a machine with more memory")
        self.pairs_per_forward = tried // 2
        logger.warning("memory ended with %d pairs at once: the step is repeated with %d", tried, self.pairs_per_forward)

    def _sums(self, examples: list[Example], *, gradients: bool) -> Tensor:
        """This process's share of: losses, excess losses by group, and whether memory ended: [1 + groups + 1]."""
        groups = self.weigher.groups if gradients else None
        excess = torch.zeros(len(groups.groups) if groups else 0, dtype=torch.float64)
        total, full = 0.0, False
        try:
            for part in self._parts(examples, self.weigher(examples) if gradients else torch.ones(len(examples))):
                losses = self._losses(part, pairs=len(examples), gradients=gradients)
                if not part.counts:
                    continue
                total += float(losses.sum())
                if groups:
                    floors = torch.tensor([noise_floor(example, objective=self.objective) for example in part.examples], dtype=torch.float64)
                    excess += (losses - floors) @ groups.membership(part.examples)
        except (MemoryError, RuntimeError) as error:
            if not _ran_out_of_memory(error):
                raise
            if is_sharded(self.scorer):  # the other processes wait for this one's weights: what they compute cannot be taken back
                raise StepError(NO_REPETITION.format(pairs=min(self.pairs_per_forward, len(examples)))) from error
            full = True
        return torch.tensor([total, *excess.tolist(), float(full)], dtype=torch.float64, device=self.accelerator.device)

    def _parts(self, examples: list[Example], weights: Tensor) -> Iterator[Part]:
        """This process's parts of a step; none when there are fewer pairs than processes. With sharded weights all processes compute equally many, if
        need be one that weighs nothing."""
        processes = self.accelerator.num_processes
        places = shards(len(examples), largest=self.pairs_per_forward, processes=processes)
        for mine in places[self.accelerator.process_index :: processes]:
            if mine:
                yield Part(examples[mine.start : mine.stop], weights[mine.start : mine.stop])
            elif is_sharded(self.scorer):
                yield Part(examples[:1], torch.zeros(1), counts=False)

    def _losses(self, part: Part, *, pairs: int, gradients: bool) -> Tensor:
        """Losses of the part's pairs, in float64; their gradients are added to the others'."""
        scored = self.scorer([example.prompt for example in part.examples], leads=self.objective in TEACH_THE_LEAD)
        losses = pair_losses(scored, part.examples, objective=self.objective)
        if gradients:
            self.accelerator.backward((losses * part.weights.to(losses)).sum() / pairs)
        return losses.detach().double().cpu()

    def _sum_gradients(self) -> None:
        """Over processes, in one message."""
        if self.accelerator.num_processes == 1:
            return
        gradients = [torch.zeros_like(one) if one.grad is None else one.grad for one in self.parameters]
        total = self.accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
        for parameter, summed in zip(self.parameters, total.split([gradient.numel() for gradient in gradients]), strict=True):
            parameter.grad = summed.view_as(parameter).clone()


def _ran_out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in str(error) for words in NO_MEMORY)
