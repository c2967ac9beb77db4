"""What fine-tuning minimises, for one pair; log-probabilities come from tasks/training/forward.py."""

from typing import Literal

import torch
from torch import Tensor

Objective = Literal["tokens", "distribution"]


def pair_losses(options: list[Tensor], leads: Tensor, *, shares: list[list[float]], objective: Objective) -> Tensor:
    """The loss of each pair, in nats: [pairs]. `options`: log p of each option; `shares`: the survey's weighted shares, in the same order.

    distribution: -sum_o share(o) log p(o), the cross-entropy to the survey's distribution, over the full vocabulary and not renormalised:
    its minimum puts all probability on the options, so the model also learns to stay on them.

    tokens: -log p("Answer: N" and the turn's end) for the modal option, all of the answer's tokens summed: the next-token loss on structured
    preferences of Tan et al. (2026, arXiv 2604.12851).
    """
    targets = [torch.tensor(row, dtype=log_probs.dtype, device=log_probs.device) for row, log_probs in zip(shares, options, strict=True)]
    if objective == "distribution":
        return torch.stack([-(target * log_probs).sum() for target, log_probs in zip(targets, options, strict=True)])
    modal = torch.stack([log_probs[target.argmax()] for target, log_probs in zip(targets, options, strict=True)])
    return -(leads + modal)
