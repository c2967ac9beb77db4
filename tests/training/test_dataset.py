"""The order in which a trainer sees the pairs."""

from collections import Counter
from pathlib import Path

from tasks.files import write_table
from tasks.prompting.tree import EncodedPrompt, PromptEncoder
from tasks.training.dataset import Batching, Example, groups_in_order, read_examples, steps_of_epoch
from tests.training.tiny import made_up_pairs, tiny_tokenizer

BATCHING = Batching(groups_per_step=2, pairs_per_group=3, seed=7)


def examples() -> list[Example]:
    return [Example(f"Q{item}", EncodedPrompt((item, number), 0, (1, 2), (), ()), (0.5, 0.5)) for item in range(4) for number in range(5 + item)]


def order(*, epoch: int = 0, seed: int = 7) -> list[tuple[int, ...]]:
    batching = Batching(BATCHING.groups_per_step, BATCHING.pairs_per_group, seed)
    steps = steps_of_epoch(examples(), batching=batching, epoch=epoch)
    return [example.prompt.tokens for step in steps for group in step for example in group]


def test_an_epoch_holds_every_pair_once() -> None:
    assert Counter(order()) == Counter(example.prompt.tokens for example in examples())


def test_the_order_depends_on_seed_and_epoch_and_nothing_else() -> None:
    assert order() == order()
    assert order() != order(epoch=1)
    assert order() != order(seed=8)


def test_every_epoch_has_the_same_number_of_steps() -> None:
    """A resumed worker counts on it to find its epoch and place."""
    assert len({len(steps_of_epoch(examples(), batching=BATCHING, epoch=epoch)) for epoch in range(20)}) == 1


def test_groups_for_evaluation_hold_every_pair_once_and_unshuffled() -> None:
    groups = groups_in_order(examples(), size=4)
    assert [example.prompt.tokens for group in groups for example in group] == [example.prompt.tokens for example in examples()]
    assert all(len({example.group for example in group}) == 1 and len(group) <= 4 for group in groups)


def test_examples_are_of_their_split_and_keep_the_surveys_shares(tmp_path: Path) -> None:
    pairs = made_up_pairs()
    write_table(pairs, tmp_path / "pairs.parquet")
    read = read_examples(tmp_path / "pairs.parquet", PromptEncoder(tiny_tokenizer()), split="train", group_by="item")
    trained = pairs[pairs["split"] == "train"]
    assert [example.group for example in read] == list(trained["item"])
    assert [example.shares for example in read] == [tuple(shares) for shares in trained["shares"]]
    assert [example.prompt.codes for example in read] == [tuple(codes) for codes in trained["codes"]]


def test_a_group_shares_its_question_and_a_step_mixes_questions() -> None:
    steps = steps_of_epoch(examples(), batching=BATCHING, epoch=0)
    assert all(len({example.group for example in group}) == 1 and len(group) <= 3 for step in steps for group in step)
    assert all(len(step) == 2 for step in steps[:-1])
    assert any(len({group[0].group for group in step}) > 1 for step in steps)
