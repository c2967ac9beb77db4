"""Mode certainty: its integral against draws and a closed form, its prior, and its calibration on made-up populations."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tasks.files import FileSet
from tasks.subgroups.certainty import mode_probabilities, posterior_table
from tests.subgroups.test_build_marts import true_shares

SEXES, AGES = ("f", "m"), tuple("12345678")


def made_up_subgroups() -> pd.DataFrame:
    rows = [("all", [], 1.0)]
    rows += [(name, ["all"], 1 / len(levels)) for levels in (SEXES, AGES) for name in levels]
    rows += [(f"{sex}|{age}", [sex, age], 1 / 16) for sex in SEXES for age in AGES]
    return pd.DataFrame(rows, columns=["subgroup_id", "parents", "weight_share"]).assign(unseen=False)


def made_up_answers(generator: np.random.Generator, *, options: int, spread: float, cell: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Sampled shares and the population's, of the 16 intersections, both sexes, all ages and everybody: [27, options]. Effects add on the logit
    scale, so that the prior's Dirichlet is not what made them."""
    effects = generator.normal(size=(1, 1, options)) + spread * (
        generator.normal(size=(2, 1, options)) + generator.normal(size=(1, 8, options)) + 0.5 * generator.normal(size=(2, 8, options))
    )
    truth = np.exp(effects) / np.exp(effects).sum(axis=-1, keepdims=True)
    sample = generator.multinomial(cell, truth) / cell
    return tuple(
        np.concatenate([table.mean(axis=(0, 1))[None], table.mean(axis=1), table.mean(axis=0), table.reshape(16, options)])
        for table in (sample, truth)
    )  # type: ignore[return-value]


def made_up_survey(seed: int, *, questions: int) -> tuple[pd.DataFrame, np.ndarray]:
    """distributions of many questions, and for each row whether the option is the population's mode."""
    generator = np.random.default_rng(seed)
    names = made_up_subgroups()["subgroup_id"]
    n = np.array([640, *[320] * 2, *[80] * 8, *[40] * 16], dtype=float)
    frames, modes = [], []
    for number in range(questions):
        options = int(generator.integers(2, 8))
        sample, truth = made_up_answers(generator, options=options, spread=generator.uniform(0, 0.8))
        rows = pd.MultiIndex.from_product([names, range(options)], names=["subgroup_id", "code"]).to_frame(index=False)
        frames.append(rows.assign(item=f"Q{number:03}", position=rows["code"], share=sample.ravel(), effective_n=np.repeat(n, options)))
        modes.append((truth == truth.max(axis=1, keepdims=True)).ravel())
    return pd.concat(frames, ignore_index=True), np.concatenate(modes)


@pytest.mark.parametrize("shapes", [(3.0, 5.0), (0.7, 1.6), (400.0, 380.0), (0.02, 40.0)])
def test_of_two_options_the_probability_is_the_beta_distribution_s_to_1e_9(shapes: tuple[float, float]) -> None:
    assert mode_probabilities(np.array([shapes]))[0, 0] == pytest.approx(stats.beta.sf(0.5, *shapes), abs=1e-9)


def test_of_several_options_it_is_the_share_of_draws_whose_mode_the_option_is() -> None:
    posteriors = np.array([[30, 25, 20, 3, 0.02], [0.6, 0.5, 0.4, 0.3, 0.2]])
    draws = np.random.default_rng(1).dirichlet(posteriors[0], 100_000), np.random.default_rng(1).dirichlet(posteriors[1], 100_000)
    expected = [np.bincount(drawn.argmax(axis=1), minlength=5) / 100_000 for drawn in draws]
    assert mode_probabilities(posteriors) == pytest.approx(np.array(expected), abs=0.006)


def test_probabilities_of_a_cell_sum_to_one_and_equal_options_share_it() -> None:
    posteriors = np.random.default_rng(2).gamma(1, 20, size=(5000, 7)) + 0.01
    assert mode_probabilities(posteriors).sum(axis=1) == pytest.approx(1)
    assert mode_probabilities(np.full((1, 4), 9.0)) == pytest.approx(0.25)


def test_a_posterior_is_the_sample_and_a_prior_at_the_parents_without_the_cell_s_own_respondents() -> None:
    """Cell f|a is a quarter of f and of a; without its own respondents both parents' shares are one half."""
    subgroups = pd.DataFrame(
        {"subgroup_id": ["all", "f", "a", "f|a"], "parents": [[], ["all"], ["all"], ["f", "a"]], "weight_share": [1, 0.4, 0.4, 0.1], "unseen": False}
    )
    shares = {"all": 0.5, "f": 0.6, "a": 0.6, "f|a": 0.9}
    rows = [("Q1", name, code, code, share if code == 0 else 1 - share, 50.0) for name, share in shares.items() for code in (0, 1)]
    table = posterior_table(pd.DataFrame(rows, columns=["item", "subgroup_id", "code", "position", "share", "effective_n"]), subgroups)
    cell = table[table["subgroup_id"] == "f|a"].set_index("code")["posterior"]
    strength = cell.sum() - 50
    assert cell[0] == pytest.approx(50 * 0.9 + strength * 0.5)
    everybody = table[table["subgroup_id"] == "all"]["posterior"]
    assert everybody.tolist() == pytest.approx([25.5, 25.5])  # even, half an answer per option


def test_rows_keep_the_order_of_the_distributions() -> None:
    distributions, _ = made_up_survey(3, questions=5)
    shuffled = distributions.sample(frac=1, random_state=1)
    one, other = posterior_table(distributions, made_up_subgroups()), posterior_table(shuffled, made_up_subgroups())
    assert (other.index == shuffled.index).all()
    pd.testing.assert_frame_equal(one, other.sort_index())


def test_mode_certainty_is_calibrated_on_populations_that_are_not_made_by_its_prior() -> None:
    """Of the options said to be the mode with probability p, a share p is; and the sample's modes are the population's as often as said."""
    distributions, is_mode = made_up_survey(4, questions=300)
    table = posterior_table(distributions, made_up_subgroups())
    small = distributions["subgroup_id"].str.contains("|", regex=False).to_numpy()
    said, true = table["mode_probability"].to_numpy()[small], is_mode[small]
    bins = np.digitize(said, [0.05, 0.2, 0.4, 0.6, 0.8, 0.95])
    for place in range(7):
        inside = bins == place
        assert true[inside].mean() == pytest.approx(said[inside].mean(), abs=0.035), place
    assert ((said - true) ** 2).mean() < 0.034  # an even prior of half an answer per option has 0.038


def test_the_sample_survey_s_certainty_is_right_about_the_population_behind_it(sample_marts: FileSet) -> None:
    truth = true_shares(sample_marts)
    modes = truth.loc[truth.groupby(["item", "subgroup_id"])["truth"].idxmax(), ["item", "subgroup_id", "code"]].rename(columns={"code": "true_code"})
    targets = sample_marts.read("targets").merge(modes, on=["item", "subgroup_id"])
    cells = targets[targets["subgroup_id"].str.contains("|", regex=False)]
    assert (cells["code"] == cells["true_code"]).mean() == pytest.approx(cells["mode_certainty"].mean(), abs=0.03)
