"""Several files as one survey: countries and waves side by side, items by what they mean."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import InputError
from tasks.files import FileSet
from tasks.intake.ingest import ingest, read_report
from tasks.intake.layout import SHAPES
from tasks.intake.pool import pool
from tasks.study import Study, SurveySection, load_study
from tasks.subgroups.marts import build_marts
from tasks.subgroups.splits import assign_splits
from tasks.warehouse.database import connect
from tests.intake.test_every_layout import shared_items, written_as
from tests.intake.writers import csv_of_codes, survey

RESPONDENTS = 240
SIXTH, SERIES = SHAPES[1], SHAPES[-1]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    return survey(tmp_path_factory.mktemp("synthetic")).head(RESPONDENTS)


@pytest.fixture(scope="module")
def study() -> Study:
    """Sex, age and religion: what every wave has a vocabulary for."""
    usual = load_study("country")
    return usual.model_copy(update={"dimensions": {name: section for name, section in usual.dimensions.items() if name != "ethnicity"}})


@pytest.fixture
def take(tmp_path: Path, study: Study) -> Callable[..., FileSet]:
    def staged(table: pd.DataFrame, name: str, **section: object) -> FileSet:
        path = csv_of_codes(";")(table, tmp_path / f"{name}.csv")
        chosen = SurveySection(**({"file": ("one.csv", "other.csv")} | section))
        return ingest(path, section=chosen, dimensions=study.dimensions, folder=tmp_path)

    return staged


def american(table: pd.DataFrame) -> pd.DataFrame:
    """The same people, said to be of another country."""
    return table.assign(B_COUNTRY_ALPHA="USA", B_COUNTRY="840")


def query(files: FileSet, statement: str) -> list[tuple]:
    with connect(next(files.path(name) for name in files.files if name.endswith(".duckdb")), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def test_two_countries_of_a_wave_are_one_survey_with_the_options_that_either_fielded(table, take, tmp_path):
    fewer = american(table).assign(Q1=table["Q1"].replace({"4": "-1"}), Q2=table["Q2"].replace({"4": "-1"}), Q3="-4")
    files = [take(table.assign(Q2=table["Q2"].replace({"1": "-2"})), "sgp"), take(fewer, "usa")]
    made = pool(files, folder=tmp_path)
    assert query(made, "select country, wave, count(*) from stg_respondents group by all order by all") == [("SGP", 7, 240), ("USA", 7, 240)]
    assert query(made, "select code, position from options where item = 'Q2' order by position") == [(1, 0), (2, 1), (3, 2), (4, 3)]
    assert query(made, "select k from items where item = 'Q2'") == [(4,)]
    assert query(made, "select count(*) from items where item = 'Q3'") == [(0,)]
    for number, files_of_one in enumerate(files):
        alone = query(files_of_one, "select respondent_id, item, code, missing from stg_answers where item not in ('Q3') order by all")
        prefix = alone[0][0].split("-")[0]
        assert [row for row in query(made, "from stg_answers order by all") if row[0].startswith(prefix)] == alone, number
    report = read_report(made)
    assert (report["country"], report["country_name"], report["wave"]) == ("SGP and USA", "Singapore and the United States", 7)
    assert (report["respondents"], report["weighted"], report["synthetic"]) == (480, True, True)
    assert [population["country"] for population in report["populations"]] == ["SGP", "USA"]


@pytest.mark.parametrize("shape", [SIXTH, SERIES], ids=lambda shape: shape.name)
def test_waves_share_the_items_that_mean_the_same_under_the_newer_wave_s_codes(table, take, tmp_path, shape):
    """The earlier wave is the same people's answers under its own codes: pooled, both waves say the same."""
    earlier = written_as(table, shape).assign(**({"S002VS": "6", "S020": "2012"} if shape is SERIES else {}))
    made = pool([take(earlier, "earlier"), take(table, "later")], folder=tmp_path)
    report = read_report(made)
    assert (report["wave"], report["year"]) == ("6 and 7", f"{2012 if shape is SERIES else 2010} and 2020")
    items = {item for (item,) in query(made, "select item from items")}
    same_codes = set(shared_items(shape)) & items
    assert len(same_codes) > 20
    by_wave = (
        "select split_part(respondent_id, '-', 2), item, code, missing from stg_answers join stg_respondents using (respondent_id) "
        f"where wave = {{}} and item in ({', '.join(repr(item) for item in sorted(same_codes))}) order by all"
    )
    assert query(made, by_wave.format(6)) == query(made, by_wave.format(7))


def test_a_battery_that_waves_code_differently_is_pooled_by_what_its_options_say(table, take, tmp_path):
    """Mentioned or not is 1 and 2 in wave 7, and 1 and 0 in the time series."""
    series = written_as(table, SERIES).assign(S002VS="6", S020="2012", A029=table["Q8"].replace({"2": "0"}))
    made = pool([take(series, "series"), take(table, "later")], folder=tmp_path)
    shares = (
        "select wave, code, count(*) from stg_answers join stg_respondents using (respondent_id) where item = 'Q8' and code is not null group by all"
    )
    counted = {(wave, code): number for wave, code, number in query(made, shares)}
    assert {code for _, code in counted} == {1, 2}
    assert (counted[6, 1], counted[6, 2]) == (counted[7, 1], counted[7, 2])


def test_a_country_s_wave_in_two_files_is_refused(table, take, tmp_path):
    with pytest.raises(InputError, match=r"SGP, wave 7 is in one.csv and in other.csv: its respondents would count twice"):
        pool([take(table, "one"), take(table.head(100), "other")], folder=tmp_path)


def test_files_without_an_item_in_common_and_a_codebook_for_none_are_refused(table, take, tmp_path):
    files = [take(table[[*table.columns[:8], "Q260", "Q262", "Q289", "Q1"]], "one"), take(american(table).drop(columns="Q1"), "other")]
    with pytest.raises(InputError, match=r"one.csv, other.csv: no item is in all of them"):
        pool(files, folder=tmp_path)
    with pytest.raises(InputError, match=r"codebook mine.csv is for none of the files"):
        pool(files, folder=tmp_path, codebook=tmp_path / "mine.csv")


def test_of_several_files_each_needs_to_have_one_of_the_countries_only(table, take, tmp_path):
    both = pd.concat([table.head(100), american(table).tail(100)])
    files = [take(both, "both", country=("USA", "JPN")), take(table.assign(B_COUNTRY_ALPHA="JPN"), "japan", country=("USA", "JPN"))]
    report = read_report(pool(files, folder=tmp_path))
    assert [(population["country"], population["respondents"]) for population in report["populations"]] == [("JPN", 240), ("USA", 100)]
    with pytest.raises(InputError, match="country JPN is not in the file"):
        take(both, "both", country=("USA", "JPN"), file="both.csv")


def test_all_countries_of_one_file_are_taken_at_once(table, take, tmp_path):
    both = pd.concat([table.head(100), american(table).tail(100)])
    made = take(both, "both", country="ALL", file="both.csv")
    assert query(made, "select country, count(*) from stg_respondents group by all order by all") == [("SGP", 100), ("USA", 100)]
    assert read_report(made)["country"] == "SGP and USA"


def test_respondents_of_a_held_out_country_count_in_none_of_the_trained_tables(table, take, study, tmp_path):
    """What is trained is the same, to the last bit, whatever the held-out country answers."""
    changes = {
        "split": study.split.model_copy(update={"kind": "unseen_country", "unseen": ("USA",)}),
        "items": study.items.model_copy(update={"limit": 8}),
    }
    held_out = study.model_copy(update=changes)
    turned = american(table).assign(**{item: table[item].map({"1": "2", "2": "1"}).fillna(table[item]) for item in ("Q1", "Q2", "Q4", "Q46")})
    shares = []
    for number, other in enumerate((american(table), turned)):
        made = pool([take(table, f"one{number}"), take(other, f"other{number}")], folder=tmp_path)
        marts = build_marts(made, held_out, folder=tmp_path / str(number))
        subgroups = marts.read("subgroups")
        assert set(subgroups.loc[subgroups["unseen"], "subgroup_id"]) == {name for name in subgroups["subgroup_id"] if "country=USA" in name} != set()
        shares.append(marts.read("distributions").merge(subgroups[["subgroup_id", "unseen"]], on="subgroup_id"))
    one, other = ([frame[frame["unseen"] == unseen].reset_index(drop=True) for frame in shares] for unseen in (False, True))
    pd.testing.assert_frame_equal(one[0], one[1], check_exact=True)
    assert not other[0].equals(other[1])


def test_each_population_weighs_alike_whatever_its_size_and_its_weights(table, take, study, tmp_path):
    smaller = american(table).head(120).assign(W_WEIGHT=(table["W_WEIGHT"].head(120).astype(float) * 50).astype(str))
    made = pool([take(table, "one"), take(smaller, "other")], folder=tmp_path)
    marts = build_marts(made, study, folder=tmp_path / "marts")
    shares = marts.read("distributions").set_index(["item", "subgroup_id", "code"])["share"].unstack("subgroup_id")
    mean = (shares["country=SGP"] + shares["country=USA"]) / 2
    answered = query(made, "select item from stg_answers where code is null and missing is not null group by item")
    whole = [item for item in shares.index.unique("item") if (item,) not in answered]
    assert whole
    assert (shares["all"] - mean)[shares.index.isin(whole, level="item")].abs().max() < 1e-12
    weights = marts.read("subgroups").set_index("subgroup_id")["weight_share"]
    assert (weights["country=SGP"], weights["country=USA"]) == (pytest.approx(0.5), pytest.approx(0.5))


def test_a_level_may_be_renamed_that_only_one_of_the_files_has_but_not_one_that_none_has(table, take, tmp_path, study):
    usual = study.dimensions["religion"]

    def files(level: str) -> list[FileSet]:
        dimensions = study.dimensions | {"religion": usual.model_copy(update={"levels": {level: "Another"}})}
        without = american(table).assign(Q289=table["Q289"].replace({"5": "0"}))
        section = SurveySection(file=("one.csv", "other.csv"))
        paths = [csv_of_codes(";")(rows, tmp_path / name) for rows, name in ((table, "one.csv"), (without, "other.csv"))]
        return [ingest(path, section=section, dimensions=dimensions, folder=tmp_path) for path in paths]

    assert read_report(pool(files("Muslim"), folder=tmp_path))["dimensions"]["religion"]["Another"] > 0
    with pytest.raises(
        InputError, match=r"dimensions.religion .levels, phrases. names 'Muslims', no level of Q289 \(None, .*\). Correct the spelling"
    ):
        pool(files("Muslims"), folder=tmp_path)


def test_subgroups_of_the_same_people_are_one_and_no_test_pair_is_the_twin_of_a_trained_one(table, take, study, tmp_path):
    """Country and wave are one-to-one, and of the held-out country only one is left to train."""
    others = table.assign(W_WEIGHT=table["W_WEIGHT"].sample(frac=1, random_state=1).to_numpy())
    earlier = written_as(others, SIXTH).assign(V2="840")
    made = pool([take(earlier, "earlier"), take(table, "later")], folder=tmp_path)
    for kind in ("unseen_subgroup", "unseen_country", "unseen_wave"):
        changed = study.model_copy(
            update={"split": study.split.model_copy(update={"kind": kind}), "items": study.items.model_copy(update={"limit": 9})}
        )
        marts = build_marts(made, changed, folder=tmp_path / kind)
        subgroups, cells = marts.read("subgroups"), marts.read("targets")
        shares = marts.read("distributions").sort_values(["item", "position"]).groupby(["item", "subgroup_id"])["share"].agg(tuple).rename("shares")
        splits = assign_splits(cells, subgroups, section=changed.split, seed=1).merge(shares, on=["item", "subgroup_id"])
        splits = splits.merge(subgroups[["subgroup_id", "respondents", "unseen"]], on="subgroup_id")
        seen = splits[~splits["unseen"] & splits["shares"].map(lambda shares: max(shares) < 1)]
        trained = set(seen.loc[seen["split"] == "train", ["item", "respondents", "shares"]].itertuples(index=False, name=None))
        tested = seen.loc[seen["split"].isin(["id_test", "ood_test"]), ["item", "respondents", "shares"]]
        assert not trained & set(tested.itertuples(index=False, name=None)), kind
        assert all(parent in set(subgroups["subgroup_id"]) for parents in subgroups["parents"] for parent in parents)


def test_an_item_whose_card_differs_between_waves_or_that_a_country_hardly_asked_is_left_out(table, take, study, tmp_path):
    earlier = written_as(table, SIXTH)
    shared = {one: other for one, other in shared_items(SIXTH).items() if other in earlier}
    shorter, rare = "Q2", "Q4"
    earlier[shared[shorter]] = earlier[shared[shorter]].replace({"4": "3", "3": "3"})
    table = table.assign(**{shorter: ["4" if row % 5 == 0 else cell for row, cell in enumerate(table[shorter])]})
    earlier[shared[rare]] = [cell if row < 20 else "-4" for row, cell in enumerate(earlier[shared[rare]])]
    made = pool([take(earlier, "earlier"), take(table, "later")], folder=tmp_path)
    pooled = {item for (item,) in query(made, "select item from items")}
    every_item = study.model_copy(update={"items": study.items.model_copy(update={"limit": None})})
    asked = set(build_marts(made, every_item, folder=tmp_path / "m").read("items")["item"])
    assert {shorter, rare} <= pooled
    assert not {shorter, rare} & asked
    assert len(asked) > 20


def test_a_level_of_one_country_s_own_is_another_than_the_other_country_s(table, study, tmp_path):
    both = {name: section for name, section in load_study("country").dimensions.items() if name in ("sex", "ethnicity")}
    section = SurveySection(file=("one.csv", "other.csv"))
    other = american(table).assign(Q290=table["Q290"].map({"702004": "US: Other"}).fillna("US: White"))
    paths = [csv_of_codes(";")(rows, tmp_path / name) for rows, name in ((table, "one.csv"), (other, "other.csv"))]
    made = pool([ingest(path, section=section, dimensions=both, folder=tmp_path) for path in paths], folder=tmp_path)
    changed = study.model_copy(update={"dimensions": both})
    subgroups = set(build_marts(made, changed, folder=tmp_path / "m").read("subgroups")["subgroup_id"])
    assert {"ethnicity=Chinese (SGP)", "ethnicity=Other (USA)", "ethnicity=White (USA)", "sex=Female"} <= subgroups
    assert not [name for name in subgroups if name.startswith("country=") and "ethnicity=" in name], "they are the same people as without the country"
