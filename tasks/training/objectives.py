"""What fine-tuning minimises, for one pair, and how pairs and groups of them are weighed.

Log-probabilities come from tasks/training/forward.py. p(o) is an option's probability by full softmaxes, s(o) the survey's weighted share of it.
"""

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from tasks.training.dataset import Example, Objective
from tasks.training.forward import ScoredOptions

TEACH_THE_LEAD = ("tokens", "distribution")  # objectives in which how an answer begins counts


def pair_losses(scored: ScoredOptions, examples: Sequence[Example], *, objective: Objective) -> Tensor:
    """The loss of each pair: [pairs]; in nats, but `ordinal`.

    tokens: -log p("Answer: N" and the turn's end) for the modal option, all of the answer's tokens summed: the next-token loss on structured
    preferences of Tan et al. (2026, arXiv 2604.12851).

    modal: -log p(mode), the beginning "Answer: " taken as given.

    distribution: -log p("Answer: ") - sum_o s(o) log p(o), the cross-entropy of whole answers to the survey's distribution, over the full vocabulary
    and not renormalised: its minimum puts all probability on the options, so the model also learns to begin as an answer does and to stay on them.

    ordinal: sum_k (P(k) - S(k))^2 / (K - 1) + 1 - sum_o p(o), where P and S cumulate p / sum p and s along the scale of K options: the ranked
    probability score (Epstein 1969, J. Appl. Meteorol. 8, 985-987; normalised as by Murphy 1971, 10, 155-156) against shares in the place of one
    outcome, and the mass outside the options. It is 1 for opposite one-hot distributions. Options without an order take the Brier score
    sum_o (p(o) / sum p - s(o))^2 / 2 (Brier 1950) in the first term's place.
    """
    targets = [torch.tensor(example.shares, dtype=log_p.dtype, device=log_p.device) for example, log_p in zip(examples, scored.options, strict=True)]
    if objective == "distribution":
        expected = torch.stack([(share * log_p).sum() for share, log_p in zip(targets, scored.options, strict=True)])
        return -(scored.leads + expected)
    if objective == "ordinal":
        ordered = [example.scale != "nominal" for example in examples]
        return torch.stack([_ordinal(*pair) for pair in zip(scored.options, targets, ordered, strict=True)])
    modal = torch.stack([log_p[share.argmax()] for share, log_p in zip(targets, scored.options, strict=True)])
    return -(scored.leads + modal) if objective == "tokens" else -modal


def _ordinal(log_p: Tensor, share: Tensor, ordered: bool) -> Tensor:
    differences = log_p.softmax(dim=-1) - share
    apart = differences.cumsum(dim=-1)[:-1].square().sum() / max(1, len(share) - 1) if ordered else differences.square().sum() / 2
    return apart + 1 - log_p.exp().sum()


def noise_floor(example: Example, *, objective: Objective) -> float:
    """The loss that a model of the population's own shares is expected to have on a sample's, taking the shares as the population's.

    distribution: H(s) + (K - 1) / (2 n), the entropy and the correction of Miller (1955) for K options with answers and effective n. ordinal:
    sum_k S(k) (1 - S(k)) / n / (K - 1), the sampling variance of cumulated shares (without order sum_o s(o) (1 - s(o)) / n / 2). The objectives on
    the mode take it for certain: 0.
    """
    shares = torch.tensor(example.shares, dtype=torch.float64)
    if objective == "distribution":
        return float(torch.special.entr(shares).sum()) + (len(shares) - 1) / (2 * example.effective_n)
    if objective == "ordinal":
        ordered = example.scale != "nominal"
        parts = shares.cumsum(0)[:-1] if ordered else shares
        return float((parts * (1 - parts)).sum()) / example.effective_n / (max(1, len(shares) - 1) if ordered else 2)
    return 0.0


def subgroup_weights(examples: Sequence[Example]) -> dict[str, float]:
    """balance uniform: a pair's weight by its subgroup, pairs / (subgroups x pairs of the subgroup). All subgroups weigh alike, and the mean over
    pairs is 1."""
    counts = Counter(example.subgroup for example in examples)
    return {subgroup: len(examples) / (len(counts) * count) for subgroup, count in counts.items()}


class GroupWeights:
    """balance group_dro: the worst groups weigh most (Sagawa et al. 2020, arXiv 1911.08731, algorithm 1).

    A group is a single trait, and everybody is one; a pair is of all its traits. The step's loss is sum_g q(g) mean of g's losses, over the groups
    that the step has, q renormalised; after it q(g) <- q(g) exp(rate x mean of (loss - noise floor)), normalised. Without the floor the noisiest
    groups, not the worst fitted ones, would get the weight. The sums come from all processes, so that all have the same q.
    """

    def __init__(self, examples: Sequence[Example], *, rate: float) -> None:
        self.groups = sorted({trait for example in examples for trait in example.traits})
        self.rate = rate
        self.q = torch.full((len(self.groups),), 1 / len(self.groups), dtype=torch.float64)
        self._places = {trait: place for place, trait in enumerate(self.groups)}

    def membership(self, examples: Sequence[Example]) -> Tensor:
        """1 where a pair is of a group: [pairs, groups]."""
        found = torch.zeros(len(examples), len(self.groups), dtype=torch.float64)
        for row, example in enumerate(examples):
            found[row, [self._places[trait] for trait in example.traits]] = 1
        return found

    def of_pairs(self, examples: Sequence[Example]) -> Tensor:
        """Weights of a step's pairs, with a mean of 1, so that sum(weight x loss) / pairs is the step's loss: [pairs]."""
        members = self.membership(examples)
        sizes = members.sum(0)
        present = self.q * (sizes > 0)
        return members @ (present / present.sum() / sizes.clamp(min=1)) * len(examples)

    def update(self, excess: Tensor, sizes: Tensor) -> None:
        """Once per optimizer step: `excess` is the sum over the step's pairs of loss - floor by group, `sizes` their number: [groups] each."""
        grown = self.q * torch.exp(self.rate * excess / sizes.clamp(min=1))
        self.q = grown / grown.sum()
