"""What a new wave changes in the targets: given cells of two runs, expected rows."""

from pathlib import Path

import pandas as pd
import pytest

from tasks.files import FileSet, file_set, write_table
from tasks.subgroups.drift import FILES, moved_rows, write_drift
from tests.conftest import Row, Warehouse

ITEMS = "item question topic integrated"
OPTIONS = "item position code wording"
CELLS = "item subgroup_id position code share respondents"
WORDS = ("Yes", "Perhaps", "No")


def options(item: str, words: tuple[str, ...] = WORDS, *, first: int = 1) -> list[Row]:
    return [(item, position, position + first, word) for position, word in enumerate(words)]


def cell(item: str, subgroup: str, *shares: float, respondents: int = 100) -> list[Row]:
    return [(item, subgroup, position, position + 1, share, respondents) for position, share in enumerate(shares)]


@pytest.fixture
def two_waves(warehouse: Warehouse) -> Warehouse:
    """Q1 was V4 in the wave before; Q2 has no integrated code; Q3 has other words now; Q4 is new."""
    now, before = ["Q1", "Q2", "Q3", "Q4"], ["V4", "Q2", "Q3"]
    codes: dict[str, str | None] = {"Q1": "A001", "V4": "A001", "Q2": None, "Q3": "A003", "Q4": "A004"}
    warehouse.given("items", ITEMS, [(item, f"{item}?", "topic", codes[item]) for item in now])
    warehouse.given("before_items", ITEMS, [(item, f"{item}?", "topic", codes[item]) for item in before])
    warehouse.given("options", OPTIONS, [row for item in now for row in options(item)])
    warehouse.given(
        "before_options",
        OPTIONS,
        [*options("V4", first=0), *options("Q2"), *options("Q3", ("Always", "Perhaps", "No"))],
    )
    return warehouse


def test_a_question_is_followed_across_waves_that_number_it_differently(two_waves: Warehouse) -> None:
    two_waves.given("distributions", CELLS, [*cell("Q1", "all", 0.5, 0.3, 0.2), *cell("Q3", "all", 1, 0, 0), *cell("Q4", "all", 1, 0, 0)])
    two_waves.given("before_distributions", CELLS, [*cell("V4", "all", 0.2, 0.3, 0.5), *cell("Q3", "all", 0, 0, 1)])
    columns = "item item_before subgroup_id moved answer_before answer share_before share distance"
    assert two_waves.run("marts/drift", columns) == [("Q1", "V4", "all", True, "No", "Yes", 0.5, 0.5, pytest.approx(0.3))]


def test_a_cell_that_only_one_run_has_is_no_change(two_waves: Warehouse) -> None:
    two_waves.given("distributions", CELLS, [*cell("Q2", "all", 0.5, 0.3, 0.2), *cell("Q2", "sex=Female", 0.2, 0.3, 0.5)])
    two_waves.given("before_distributions", CELLS, [*cell("Q2", "all", 0.6, 0.2, 0.2), *cell("Q2", "sex=Male", 0.2, 0.3, 0.5)])
    assert two_waves.run("marts/drift", "subgroup_id moved") == [("all", False)]


@pytest.mark.parametrize(
    ("before", "now", "moved"),
    [
        ((0.4, 0.4, 0.2), (0.2, 0.6, 0.2), False),
        ((0.4, 0.4, 0.2), (0.2, 0.2, 0.6), True),
        ((0.6, 0.2, 0.2), (0.4, 0.4, 0.2), False),
        ((0.6, 0.2, 0.2), (0.2, 0.4, 0.4), True),
    ],
)
def test_a_mode_that_was_or_became_one_of_a_tie_has_not_moved(
    two_waves: Warehouse, before: tuple[float, ...], now: tuple[float, ...], moved: bool
) -> None:
    two_waves.given("distributions", CELLS, cell("Q2", "all", *now))
    two_waves.given("before_distributions", CELLS, cell("Q2", "all", *before))
    assert two_waves.run("marts/drift", "moved") == [(moved,)]


def test_what_moved_most_comes_first_and_small_cells_are_not_shown(tmp_path: Path) -> None:
    small = {"respondents": 29}
    now = [*cell("Q2", "all", 0.5, 0.3, 0.2), *cell("Q2", "a", 0.8, 0.1, 0.1), *cell("Q2", "b", 0.9, 0.1, 0.0, **small), *cell("Q2", "c", 0, 1, 0)]
    before = [*cell("Q2", "all", 0.3, 0.5, 0.2), *cell("Q2", "a", 0.1, 0.1, 0.8), *cell("Q2", "b", 0.1, 0.1, 0.8), *cell("Q2", "c", 0.1, 0.9, 0)]
    made = write_drift(run(tmp_path / "now", now), run(tmp_path / "before", before), folder=tmp_path / "now")
    assert made.rows == {"drift": 4}
    assert list(made.read("drift")["subgroup_id"]) == ["b", "a", "all", "c"]
    assert moved_rows(made) == [
        {"question": "Q2 Q2?", "subgroup": "a", "before": "No (80%)", "now": "Yes (80%)", "distance": 0.7},
        {"question": "Q2 Q2?", "subgroup": "all", "before": "Perhaps (50%)", "now": "Yes (50%)", "distance": 0.2},
    ]


def run(folder: Path, cells: list[Row]) -> FileSet:
    tables = {"items": (ITEMS, [("Q2", "Q2?", "topic", None)]), "options": (OPTIONS, options("Q2")), "distributions": (CELLS, cells)}
    for name, (columns, rows) in tables.items():
        write_table(pd.DataFrame(rows, columns=columns.split()), folder / "tables" / f"{name}.parquet")
    return file_set(folder, FILES)
