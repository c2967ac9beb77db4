"""Prompts and options as tokens, with tokenizers made here: one that splits digits, as SmolLM2's does, and one to which " 10" is one token."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tasks.errors import InputError
from tasks.prompting.prompt import LEAD, SYSTEM, Question, render_prompt
from tasks.prompting.tree import ROOT, EncodedPrompt, PromptEncoder

TURN_END, TEXT_END = "<|im_end|>", "<|endoftext|>"
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
BARE = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
TEN = tuple(range(1, 11))
QUESTION = Question("Is it justifiable?", TEN, tuple(f"step {code}" for code in TEN))


def tokenizer_of(*, single_digits: bool = True, template: str | None = TEMPLATE, eos: str = TURN_END) -> PreTrainedTokenizerFast:
    """Bytes as tokens, and beside them the merges " 1" and " 10", which a tokenizer that splits digits first cannot use."""
    space = "\u0120"
    vocabulary = [*sorted(pre_tokenizers.ByteLevel.alphabet()), f"{space}1", f"{space}10"]
    tokenizer = Tokenizer(models.BPE({token: place for place, token in enumerate(vocabulary)}, [(space, "1"), (f"{space}1", "0")]))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if single_digits else []
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in ("<|im_start|>", TURN_END, TEXT_END)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=eos, chat_template=template)


@pytest.fixture(params=[True, False], ids=["digits split", "10 is a token"])
def tokenizer(request: pytest.FixtureRequest) -> PreTrainedTokenizerFast:
    return tokenizer_of(single_digits=request.param)


def prompt_of(persona: str, *, question: Question = QUESTION) -> str:
    return render_prompt(question, persona=persona, order="question_first")


def whole_text(tokenizer: Any, prompt: str, answer: str) -> str:
    """Prompt and answer as the chat template has them, up to the turn's end."""
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
    return f"{tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)}{LEAD}{answer}{TURN_END}"


def path_of(encoded: EncodedPrompt, option: int) -> list[int]:
    return [step.token for step in encoded.options[option]]


def probabilities(encoded: EncodedPrompt, next_token: Callable[[tuple[int, ...]], np.ndarray]) -> np.ndarray:
    """p(option) under a made-up language model: after which tokens, which token. Reads nodes and steps as the scorer does."""

    def fed(node: int) -> tuple[int, ...]:
        return () if node == ROOT else (*fed(encoded.nodes[node].parent), encoded.nodes[node].token)

    return np.array([np.prod([next_token(fed(step.node))[step.token] for step in option]) for option in encoded.options])


# Prompt and answer are one string


def test_prompt_and_each_answer_are_tokenised_as_one_string(tokenizer: Any) -> None:
    prompt = prompt_of("You are a woman.")
    encoded = PromptEncoder(tokenizer).encode(prompt, codes=TEN)
    for option, code in enumerate(encoded.codes):
        assert [*encoded.tokens, *path_of(encoded, option)] == tokenizer(whole_text(tokenizer, prompt, str(code)), add_special_tokens=False)[
            "input_ids"
        ]


@pytest.mark.parametrize("template", [TEMPLATE, BARE], ids=["special tokens around the answer", "no special token"])
@pytest.mark.parametrize("begins_with_space", [True, False])
def test_a_later_prompt_is_tokenised_as_one_string_too(template: str, begins_with_space: bool) -> None:
    """Though the end of all prompts was tokenised before. A tokenizer that begins with a space of its own makes other tokens of an end alone."""
    tokenizer = tokenizer_of(template=template, eos=TEXT_END)
    if begins_with_space:
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u0120", prepend_scheme="first")
    encoder = PromptEncoder(tokenizer)
    for persona in ("You are a woman.", "You are a man.", f"You are {TURN_END}", "You say <|im_start|>assistant\n1"):
        for codes in (TEN, (1, 2)):
            assert encoder.encode(prompt_of(persona), codes=codes) == PromptEncoder(tokenizer).encode(prompt_of(persona), codes=codes)


def test_peers_trap_4_the_space_before_the_number_is_wherever_the_tokenizer_puts_it(tokenizer: Any) -> None:
    """ "Answer:" and then " 1" or "Answer: " and then "1": scored apart, one of the two is a token that a model never says."""
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=(1, 2))
    assert tokenizer.decode([*encoded.tokens[-encoded.lead :], *path_of(encoded, 0)]) == f"{LEAD}1{TURN_END}"
    started = tokenizer.decode(encoded.tokens[-encoded.lead :])
    assert started == (LEAD.strip() if "\u01201" in tokenizer.convert_ids_to_tokens(path_of(encoded, 0)) else LEAD)


def test_the_lead_is_the_answer_s_beginning_that_all_options_share(tokenizer: Any) -> None:
    prompt = prompt_of("You are a woman.")
    for codes in (TEN, (1, 10), (10, 11, 12)):
        encoded = PromptEncoder(tokenizer).encode(prompt, codes=codes)
        opening = whole_text(tokenizer, prompt, "").removesuffix(f"{LEAD}{TURN_END}")
        assert tokenizer.decode(encoded.tokens[: -encoded.lead]) == opening
        assert f"{LEAD}{codes[0]}".startswith(tokenizer.decode(encoded.tokens[-encoded.lead :]))


# The tree of options


def test_peers_trap_6_options_1_and_10_share_a_node_and_end_with_the_terminator() -> None:
    """With digits split, "1" is a part of "10"."""
    tokenizer = tokenizer_of()
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=TEN)
    one, ten = encoded.options[0], encoded.options[9]
    end = tokenizer.convert_tokens_to_ids(TURN_END)
    assert [tokenizer.decode(step.token) for step in (*one, *ten)] == ["1", TURN_END, "1", "0", TURN_END]
    assert one[0] == ten[0]
    assert one[1].node == ten[1].node != ROOT
    assert {option[-1].token for option in encoded.options} == {end}
    assert len(encoded.nodes) == 10  # the digits 1 to 9, and the 0 after the 1


def test_peers_trap_6_a_model_that_means_10_has_10_chosen() -> None:
    """Without the terminator p("1") >= p("10") whatever the model says."""
    tokenizer = tokenizer_of()
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=TEN)
    says = {(): "1", ("1",): "0", ("1", "0"): TURN_END}

    def next_token(fed: tuple[int, ...]) -> np.ndarray:
        probable = np.full(len(tokenizer), 0.1 / (len(tokenizer) - 1))
        probable[tokenizer.convert_tokens_to_ids(says.get(tuple(tokenizer.convert_ids_to_tokens(fed)), "x"))] = 0.9
        return probable

    found = probabilities(encoded, next_token)
    assert encoded.codes[found.argmax()] == 10
    assert found[9] == pytest.approx(0.9**3)
    assert found[0] < 0.001


def test_the_options_never_have_more_than_all_of_the_probability(tokenizer: Any) -> None:
    """No option is the beginning of another, so what lies outside them cannot be negative."""
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=(*TEN, 100))
    likely = {token for option in range(11) for token in path_of(encoded, option)}

    def next_token(fed: tuple[int, ...]) -> np.ndarray:
        odds = np.random.default_rng([7, *fed]).dirichlet(np.ones(len(likely)))
        return np.bincount(sorted(likely), odds, len(tokenizer))

    found = probabilities(encoded, next_token)
    assert (found > 0).all()
    assert 0 < found.sum() < 1


def test_nodes_stand_after_their_parents_and_count_their_depth_from_the_prompt(tokenizer: Any) -> None:
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=(*TEN, 100, 101))
    for place, node in enumerate(encoded.nodes):
        assert node.parent < place
        assert node.depth == 1 + (0 if node.parent == ROOT else encoded.nodes[node.parent].depth)
    assert len({(node.parent, node.token) for node in encoded.nodes}) == len(encoded.nodes)


def test_a_node_s_descendants_follow_it(tokenizer: Any) -> None:
    """So that in a stream its subtree is one run of tokens."""
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=(*TEN, 100, 101))
    for place, node in enumerate(encoded.nodes[1:], start=1):
        ancestors, above = set(), place - 1
        while above != ROOT:
            ancestors.add(above)
            above = encoded.nodes[above].parent
        assert node.parent in {ROOT, *ancestors}


def test_a_prompt_that_keeps_some_options_keeps_their_paths_and_no_other_node(tokenizer: Any) -> None:
    whole = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=TEN)
    kept = whole.keeping([9, 1])
    assert (kept.tokens, kept.lead, kept.codes) == (whole.tokens, whole.lead, (10, 2))
    assert [path_of(kept, option) for option in (0, 1)] == [path_of(whole, option) for option in (9, 1)]
    needed = {step.node for option in (9, 1) for step in whole.options[option]} - {ROOT}
    assert sorted(node.token for node in kept.nodes) == sorted(whole.nodes[node].token for node in needed)


def test_an_option_of_zero_or_of_two_digits_is_an_option_like_others(tokenizer: Any) -> None:
    encoded = PromptEncoder(tokenizer).encode(prompt_of("You are a woman."), codes=(0, 12, 5))
    assert encoded.codes == (0, 12, 5)
    shown = [tokenizer.decode([*encoded.tokens[-encoded.lead :], *path_of(encoded, option)]) for option in range(3)]
    assert shown == [f"{LEAD}{code}{TURN_END}" for code in (0, 12, 5)]


# Templates


def test_a_template_that_refuses_a_system_message_gets_it_in_front_of_the_prompt() -> None:
    tokenizer = tokenizer_of(template=NO_SYSTEM)
    encoded = PromptEncoder(tokenizer).encode("Trust?", codes=(1, 2))
    assert tokenizer.decode([*encoded.tokens, *path_of(encoded, 1)]) == (
        f"<|im_start|>user\n{SYSTEM}\n\nTrust?{TURN_END}\n<|im_start|>assistant\n{LEAD}2{TURN_END}"
    )


def test_the_terminator_is_the_end_of_the_turn_where_the_tokenizer_s_end_of_text_is_another() -> None:
    """Gemma's and Phi's tokenizers: no model ends a turn with <eos>, so every option would look improbable."""
    tokenizer = tokenizer_of(eos=TEXT_END)
    encoded = PromptEncoder(tokenizer).encode("Trust?", codes=(1, 2))
    assert tokenizer.decode(path_of(encoded, 0)) == f"1{TURN_END}"


def test_a_template_that_ends_a_turn_with_no_token_leaves_the_end_of_text() -> None:
    tokenizer = tokenizer_of(template=BARE, eos=TEXT_END)
    encoded = PromptEncoder(tokenizer).encode("Trust?", codes=(1, 2))
    assert tokenizer.decode(path_of(encoded, 0)) == f"1{TEXT_END}"


def test_a_tokenizer_without_a_chat_template_is_refused() -> None:
    with pytest.raises(InputError, match="no chat template.*Take an instruction-tuned model"):
        PromptEncoder(tokenizer_of(template=None))
