"""The order in which a trainer sees the pairs."""

from collections import Counter

from tasks.prompting.tree import EncodedPrompt
from tasks.training.dataset import Batching, Example, steps_of_epoch

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


def test_a_group_shares_its_question_and_a_step_mixes_questions() -> None:
    steps = steps_of_epoch(examples(), batching=BATCHING, epoch=0)
    assert all(len({example.group for example in group}) == 1 and len(group) <= 3 for step in steps for group in step)
    assert all(len(step) == 2 for step in steps[:-1])
    assert any(len({group[0].group for group in step}) > 1 for step in steps)
