"""The control that never saw a subgroup: the study's training over everybody's answers alone.

    settings = training_of_order0(study.training, pairs)

A model that learned the form of an answer and the country's modes does as well as this one; what a tuned model has over it, it has from subgroups.
"""

import pandas as pd

from tasks.study import TrainingSection

PART_OF_PAIRS = 0.05  # of those that the study's training sees
FEWEST_PASSES = 3.0


def order0_pairs(pairs: pd.DataFrame) -> pd.DataFrame:
    """Everybody's trained pairs."""
    return pairs[(pairs["subgroup_order"] == 0) & (pairs["split"] == "train")]


def training_of_order0(training: TrainingSection, pairs: pd.DataFrame) -> TrainingSection:
    """The same recipe with another number of passes, and smaller steps: as many passes as see PART_OF_PAIRS of the pairs that the study's training
    sees, FEWEST_PASSES at least, in steps of `questions_per_step` questions, one pair each.

    Everybody is one pair to a question, and no two of these share a question's tokens: one takes about three times as long as one of the study's, and
    the control about a seventh of the study's training. A step of as many pairs as the study's would leave a handful of steps, which do not teach
    the form of an answer. Nothing is kept back for validation: the last weights stay.
    """
    seen = training.epochs * int((pairs["split"] == "train").sum())
    passes = PART_OF_PAIRS * seen / max(1, len(order0_pairs(pairs)))
    # All pairs are of one group, everybody's: the group is cut into steps.
    steps = {"questions_per_step": 1, "pairs_per_question": training.questions_per_step}
    return training.model_copy(update={"epochs": max(FEWEST_PASSES, round(passes, 2)), **steps})
