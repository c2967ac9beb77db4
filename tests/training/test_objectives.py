"""What fine-tuning minimises, against independent computations."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy

from tasks.prompting.prompt import LEAD
from tasks.prompting.tree import PromptEncoder, group_prompts
from tasks.training.forward import OptionScorer
from tasks.training.objectives import pair_losses
from tests.training.test_forward import opening_of, prompts_of
from tests.training.tiny import QUESTIONS, TERMINATOR, tiny_model, tiny_tokenizer


def test_distribution_is_the_cross_entropy_to_the_surveys_shares() -> None:
    generator = np.random.default_rng(4)
    shares, probabilities = generator.dirichlet(np.ones(4)), 0.8 * generator.dirichlet(np.ones(4))
    loss = pair_losses([torch.tensor(np.log(probabilities))], torch.zeros(1), shares=[list(shares)], objective="distribution")
    assert float(loss) == pytest.approx(entropy(shares) + entropy(shares, probabilities / probabilities.sum()) - np.log(0.8), abs=1e-12)


def test_distribution_is_least_where_the_model_gives_the_surveys_shares_and_nothing_else() -> None:
    """With logits over the options and one thing outside, the gradient is p - share: zero only there."""
    shares = [0.5, 0.3, 0.2]
    logits = torch.tensor([*np.log(shares), -30.0], dtype=torch.float64, requires_grad=True)
    pair_losses([logits.log_softmax(-1)[:3]], torch.zeros(1), shares=[shares], objective="distribution").sum().backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-12


def test_trap_7_a_question_with_many_options_weighs_as_much_as_one_with_few() -> None:
    certain = [torch.full((options,), -1.0) for options in (2, 10)]
    losses = pair_losses(certain, torch.zeros(2), shares=[[1.0] + [0.0] * (options - 1) for options in (2, 10)], objective="distribution")
    assert losses.tolist() == [1.0, 1.0]


def test_tokens_is_the_next_token_loss_on_the_modal_answer_with_its_stop_token() -> None:
    """Traps 6 and 8: the modal option is 10, and the padding token is the terminator, which still counts."""
    model, tokenizer = tiny_model().double(), tiny_tokenizer()
    codes = QUESTIONS["Q2"].codes
    shares = [0.05] * 9 + [0.55]
    group = group_prompts([PromptEncoder(tokenizer).encode(prompt, codes=codes) for prompt in prompts_of("Q2")])
    with torch.inference_mode():
        scored = OptionScorer(model)(group)
    ours = pair_losses(scored.options, scored.leads, shares=[shares] * 3, objective="tokens")
    for loss, prompt in zip(ours, prompts_of("Q2"), strict=True):
        opening = tokenizer(opening_of(tokenizer, prompt), add_special_tokens=False)["input_ids"]
        whole = tokenizer(f"{opening_of(tokenizer, prompt)}{LEAD}10{TERMINATOR}", add_special_tokens=False)["input_ids"]
        labels = torch.tensor([[-100] * len(opening) + whole[len(opening) :]])
        with torch.inference_mode():
            mean = model(input_ids=torch.tensor([whole]), labels=labels).loss
        assert float(loss) == pytest.approx(float(mean) * (len(whole) - len(opening)), rel=1e-6)  # theirs is float32
