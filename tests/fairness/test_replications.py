"""What replications say of a metric: its mean, and Student's interval of it."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tasks.fairness.replications import KEYS, compare


def metrics(value: float, *, dimension: str = "all", group: str = "all") -> dict[str, object]:
    whole = dict.fromkeys(KEYS, "x") | {"dimension": dimension, "group": group}
    return {**whole, "value": value, "low": np.nan, "high": np.nan, "pairs": 10}


def test_the_interval_is_students_of_the_replications() -> None:
    values = [0.61, 0.66, 0.58, 0.64]
    row = compare([pd.DataFrame([metrics(value)]) for value in values]).iloc[0]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (row["replications"], row["value"], row["sd"]) == (4, pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert (row["low"], row["high"]) == (pytest.approx(expected.low, rel=1e-9), pytest.approx(expected.high, rel=1e-9))


def test_single_subgroups_are_left_out_and_a_group_of_one_replication_has_no_interval() -> None:
    first = pd.DataFrame([metrics(0.5), metrics(0.4, dimension="subgroup", group="sex=Male"), metrics(0.3, dimension="sex", group="Male")])
    rows = compare([first, pd.DataFrame([metrics(0.7)])]).set_index("dimension")
    assert sorted(rows.index) == ["all", "sex"]
    assert rows.loc["sex", ["low", "high"]].isna().all()
    assert rows.loc["all", "low"] < 0.6 < rows.loc["all", "high"]


def test_the_interval_covers_the_mean_of_many_replications_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    draws = generator.normal(0.6, 0.03, size=(1500, 5))
    frames = [pd.DataFrame([metrics(value, dimension="topic", group=str(study)) for study, value in enumerate(column)]) for column in draws.T]
    rows = compare(frames)
    assert ((rows["low"] <= 0.6) & (rows["high"] >= 0.6)).mean() == pytest.approx(0.95, abs=0.02)
