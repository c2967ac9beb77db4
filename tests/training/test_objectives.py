"""What fine-tuning minimises and how pairs are weighed, against independent computations."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from tasks.prompting.prompt import LEAD
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.training.dataset import Example, Objective
from tasks.training.forward import OptionScorer, ScoredOptions
from tasks.training.objectives import GroupWeights, noise_floor, pair_losses, subgroup_weights
from tests.training.test_forward import opening_of, prompts_of
from tests.training.tiny import QUESTIONS, TERMINATOR, tiny_model, tiny_tokenizer


def example(shares: Any, *, subgroup: str = "all", scale: str = "ordinal", effective_n: float = 100.0) -> Example:
    return Example("Q1", subgroup, EncodedPrompt((), 0, (), (), ()), tuple(shares), scale, effective_n)


def loss_of(probabilities: Any, shares: Any, objective: Objective, **more: Any) -> float:
    scored = ScoredOptions([torch.tensor(np.log(probabilities))], torch.tensor([-0.25], dtype=torch.float64))
    return float(pair_losses(scored, [example(shares, **more)], objective=objective))


def test_distribution_is_the_cross_entropy_to_the_surveys_shares_and_the_answer_s_beginning() -> None:
    generator = np.random.default_rng(4)
    shares, probabilities = generator.dirichlet(np.ones(4)), 0.8 * generator.dirichlet(np.ones(4))
    expected = 0.25 + entropy(shares) + entropy(shares, probabilities / probabilities.sum()) - np.log(0.8)
    assert loss_of(probabilities, shares, "distribution") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("objective", ["distribution", "ordinal"])
def test_the_loss_is_least_where_the_model_gives_the_surveys_shares_and_nothing_else(objective: Objective) -> None:
    """With logits over the options and one thing outside, the gradient vanishes there."""
    shares = [0.5, 0.3, 0.2]
    logits = torch.tensor([*np.log(shares), -30.0], dtype=torch.float64, requires_grad=True)
    pair_losses(ScoredOptions([logits.log_softmax(-1)[:3]], torch.zeros(1)), [example(shares)], objective=objective).sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


def test_ordinal_is_the_ranked_probability_score_and_the_mass_outside() -> None:
    generator = np.random.default_rng(6)
    shares, inside = generator.dirichlet(np.ones(5)), generator.dirichlet(np.ones(5))
    apart = sum((inside[: k + 1].sum() - shares[: k + 1].sum()) ** 2 for k in range(4)) / 4
    assert loss_of(0.7 * inside, shares, "ordinal") == pytest.approx(apart + 0.3, abs=1e-12)


def test_trap_13_ordinal_is_one_for_opposite_distributions_and_grows_with_the_distance() -> None:
    """Trap: where all places on the scale are the same number, the loss is a constant.

    Epstein's score: a neighbour is half as wrong as it could be on a scale of three, the far end wholly.
    """
    certain = np.eye(3) * (1 - 2e-12) + 1e-12 / 2
    assert [loss_of(certain[k], [1.0, 0.0, 0.0], "ordinal") for k in range(3)] == pytest.approx([0, 0.5, 1], abs=1e-9)
    assert [loss_of(certain[k], [1.0, 0.0, 0.0], "ordinal", scale="nominal") for k in range(3)] == pytest.approx([0, 1, 1], abs=1e-9)


def test_modal_is_the_likeliest_option_s_surprise_and_tokens_adds_the_answer_s_beginning() -> None:
    assert loss_of([0.1, 0.6], [0.4, 0.6], "modal") == pytest.approx(-np.log(0.6))
    assert loss_of([0.1, 0.6], [0.4, 0.6], "tokens") == pytest.approx(0.25 - np.log(0.6))
    assert loss_of([0.1, 0.6], [0.5, 0.5], "modal") == pytest.approx(-np.log(0.1)), "the first of equals, as the survey's targets"


def test_trap_7_a_question_with_many_options_weighs_as_much_as_one_with_few() -> None:
    certain = ScoredOptions([torch.full((options,), -1.0) for options in (2, 10)], torch.zeros(2))
    losses = pair_losses(certain, [example([1.0] + [0.0] * (options - 1)) for options in (2, 10)], objective="distribution")
    assert losses.tolist() == [1.0, 1.0]


def test_tokens_is_the_next_token_loss_on_the_modal_answer_with_its_stop_token() -> None:
    """Traps 6 and 8: the modal option is 10, and the padding token is the terminator, which still counts."""
    model, tokenizer = tiny_model().double(), tiny_tokenizer()
    encoder, shares = PromptEncoder(tokenizer), (*[0.05] * 9, 0.55)
    examples = [Example("Q2", "all", encoder.encode(prompt, codes=QUESTIONS["Q2"].codes), shares).needed_by("tokens") for prompt in prompts_of("Q2")]
    with torch.inference_mode():
        ours = pair_losses(OptionScorer(model)([one.prompt for one in examples]), examples, objective="tokens")
    for loss, prompt in zip(ours, prompts_of("Q2"), strict=True):
        opening = tokenizer(opening_of(tokenizer, prompt), add_special_tokens=False)["input_ids"]
        whole = tokenizer(f"{opening_of(tokenizer, prompt)}{LEAD}10{TERMINATOR}", add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(opening) + whole[len(opening) :]])
        with torch.inference_mode():
            mean = model(input_ids=torch.tensor([whole]), labels=labels).loss
        assert float(loss) == pytest.approx(float(mean) * (len(whole) - len(opening)), rel=1e-6)  # theirs is float32


@pytest.mark.parametrize("objective", ["distribution", "ordinal"])
def test_the_noise_floor_is_what_the_population_s_own_shares_lose_on_samples(objective: Objective) -> None:
    """Simulated: 20,000 surveys of 60 respondents; the floor of each is estimated from its own shares."""
    generator, population, n = np.random.default_rng(8), np.array([0.4, 0.3, 0.2, 0.1]), 60
    samples = generator.multinomial(n, population, size=20_000) / n
    log_p = torch.tensor(np.log(population)).expand(len(samples), -1)
    examples = [example(sample, effective_n=n) for sample in samples]
    lost = pair_losses(ScoredOptions(list(log_p), torch.zeros(len(samples))), examples, objective=objective)
    floors = np.mean([noise_floor(one, objective=objective) for one in examples])
    assert floors == pytest.approx(float(lost.mean()), rel=0.03)


def test_subgroups_weigh_alike_however_many_pairs_they_have() -> None:
    examples = [example([1.0], subgroup=name) for name in "aaabbc"]
    weights = subgroup_weights(examples)
    totals = {name: sum(weights[one.subgroup] for one in examples if one.subgroup == name) for name in "abc"}
    assert totals == pytest.approx({"a": 2.0, "b": 2.0, "c": 2.0})


def test_group_dro_s_weights_and_loss_are_those_of_the_algorithm() -> None:
    """Sagawa et al. (2020), algorithm 1, written out for pairs that are of several groups."""
    subgroups = ["sex=F", "sex=M", "sex=F|age=old", "sex=M|age=old", "all"]
    examples, losses = [example([1.0], subgroup=name) for name in subgroups], np.array([1.0, 2.0, 3.0, 4.0, 0.5])
    groups, members = GroupWeights(examples, rate=0.3), {"age=old": [2, 3], "all": [4], "sex=F": [0, 2], "sex=M": [1, 3]}
    assert groups.groups == sorted(members)
    q = np.full(4, 0.25)
    for _ in range(3):
        means = np.array([losses[rows].mean() for rows in members.values()])
        assert float((groups.of_pairs(examples).numpy() * losses).mean()) == pytest.approx((q * means).sum())
        membership = groups.membership(examples)
        groups.update(Tensor(losses).double() @ membership, membership.sum(0))
        q = q * np.exp(0.3 * means)
        q /= q.sum()
        assert groups.q.numpy() == pytest.approx(q)
    assert groups.q.argmax() == groups.groups.index("age=old"), "the worst group gets the most"


def test_group_dro_in_a_step_without_a_group_leaves_its_weight_to_the_others() -> None:
    examples = [example([1.0], subgroup=name) for name in ("a", "b")]
    groups = GroupWeights(examples, rate=0.3)
    assert groups.of_pairs(examples[:1]).tolist() == [1.0]
    groups.update(torch.tensor([2.0, 0.0], dtype=torch.float64), torch.tensor([1.0, 0.0], dtype=torch.float64))
    assert groups.q[0] > groups.q[1] > 0
