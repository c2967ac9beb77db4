"""What of the value landscape is diversity and what is sampling, on made-up populations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tasks.files import FileSet
from tasks.subgroups.certainty import posterior_table
from tasks.subgroups.diversity import EVERY_TOPIC, diversity_intervals
from tests.subgroups.test_build_marts import true_shares
from tests.subgroups.test_certainty import made_up_answers, made_up_subgroups

ORDERS = [0, *[1] * 10, *[2] * 16]
DIMENSIONS = ["all", *["sex"] * 2, *["age"] * 8, *["sex x age"] * 16]


def landscape(*, spread: float, questions: int, options: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Intervals of every question and its topic, with `seen` and `truth` in the dimension of the intersections."""
    generator = np.random.default_rng(31)
    subgroups = made_up_subgroups().assign(subgroup_order=ORDERS, dimension=DIMENSIONS)
    frames, scores = [], []
    for number in range(questions):
        sample, truth = made_up_answers(generator, options=options, spread=spread)
        rows = pd.MultiIndex.from_product([subgroups["subgroup_id"], range(options)], names=["subgroup_id", "code"]).to_frame(index=False)
        n = np.repeat([640.0, *[320.0] * 2, *[80.0] * 8, *[40.0] * 16], options)
        frames.append(rows.assign(item=f"Q{number}", position=rows["code"], share=sample.ravel(), effective_n=n))
        modes = [np.bincount(table[11:].argmax(axis=1), minlength=options) for table in (sample, truth)]
        scores.append([f"Q{number}", *(stats.entropy(counts) / np.log(options) for counts in modes)])
    distributions = pd.concat(frames, ignore_index=True)
    items = pd.DataFrame({"item": [f"Q{number}" for number in range(questions)], "topic": "Trust"})
    found = diversity_intervals(distributions, posterior_table(distributions, subgroups), subgroups, items)
    found = found[found["dimension"] == "sex x age"]
    topic = found[found["topic"] == EVERY_TOPIC]
    return found.merge(pd.DataFrame(scores, columns=["item", "seen", "truth"]), on="item"), topic


def test_where_subgroups_are_equal_what_is_seen_is_what_sampling_gives() -> None:
    found, whole = landscape(spread=0.0, questions=80)
    assert found["truth"].max() == 0
    assert found["seen"].mean() == pytest.approx(found["mds_sampling"].mean(), abs=0.03)
    assert found["mds_expected"].mean() < found["seen"].mean()
    assert (whole["low"] < whole["mds_sampling"]).all()  # so it is not called beyond what sampling gives, though it lies above the population's


def test_intervals_cover_the_population_s_score() -> None:
    found, topic = landscape(spread=0.4, questions=120)
    assert ((found["low"] - 1e-9 <= found["truth"]) & (found["truth"] <= found["high"] + 1e-9)).mean() > 0.9
    assert abs(found["mds_expected"].mean() - found["truth"].mean()) < abs(found["seen"].mean() - found["truth"].mean()) + 0.01
    ((low, high),) = topic[["low", "high"]].to_numpy()
    assert low <= found["truth"].mean() + 0.02 and high >= found["truth"].mean() - 0.02 and high - low < 0.1


def test_the_sample_survey_s_landscape_is_near_that_of_the_population_behind_it(sample_marts: FileSet) -> None:
    truth = true_shares(sample_marts)
    modes = truth.loc[truth.groupby(["item", "subgroup_id"])["truth"].idxmax(), ["item", "subgroup_id", "code"]]
    modes = modes[modes["subgroup_id"] != "all"]
    k = truth.groupby("item")["code"].nunique()
    entropy = modes.groupby("item")["code"].agg(lambda codes: stats.entropy(codes.value_counts()))
    true = entropy / np.log(k)
    found = sample_marts.read("landscape").query("dimension == 'all'").set_index("item")
    assert (found["mds_expected"] - true).abs().mean() < (found["mds"] - true).abs().mean() + 0.01
    assert found["mds_sampling"].between(0, 1).all()
    topics = sample_marts.read("landscape_topics")
    assert (topics["low"] <= topics["high"]).all() and topics["mds"].between(0, 1).all()
