"""When a stored result may be used again, and when a failed step is worth another try."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tasks.errors import BudgetError, GateError, InputError, StepError
from tasks.files import FileSet
from tasks.policy import content_key, is_worth_retrying
from tasks.study import Study, load_study
from tasks.study_split import SplitSection

SPLIT_AND_SEED = ("split", "seed")
FILES = FileSet(folder="first", files={"tables/pairs.parquet": "aa"}, rows={"pairs": 3})


def key(*, version: int = 1, sections: tuple[str, ...] = SPLIT_AND_SEED, name: str = "pairs", **parameters: Any) -> str:
    return content_key(name, version=version, sections=sections)(None, parameters)


def sample(*overrides: str) -> Study:
    return load_study("sample", overrides=list(overrides))


def test_a_key_is_the_same_for_the_same_inputs_and_names_its_step() -> None:
    assert key(marts=FILES, study=sample()) == key(marts=FILES.model_copy(), study=sample())
    assert key(marts=FILES).startswith("pairs-")


def test_where_a_result_is_put_and_where_its_inputs_lie_does_not_change_the_key() -> None:
    moved = FILES.model_copy(update={"folder": "second"})
    assert key(marts=FILES, folder=Path("a"), workspace=Path("b")) == key(marts=moved, folder=Path("c"), workspace=Path("d"))


@pytest.mark.parametrize(
    "changed",
    [
        {"marts": FILES.model_copy(update={"files": {"tables/pairs.parquet": "bb"}})},
        {"marts": FILES.model_copy(update={"files": {"tables/other.parquet": "aa"}})},
        {"country": "Japan"},
        {"version": 2},
        {"name": "marts"},
        {"study": sample("split.held_out=0.2")},
        {"study": sample("seed=1")},
        {"sections": ("split",)},
    ],
)
def test_a_change_of_content_section_value_or_version_changes_the_key(changed: dict[str, Any]) -> None:
    inputs = {"marts": FILES, "study": sample(), "country": "Singapore"}
    assert key(**inputs) != key(**(inputs | changed))


def test_a_section_that_the_step_does_not_read_leaves_its_result_good() -> None:
    assert key(study=sample()) == key(study=sample("training.epochs=9", "items.limit=3"))


def test_a_change_of_what_the_step_reads_of_the_project_changes_the_key(tmp_path: Path) -> None:
    def read() -> str:
        return content_key("gate", version=1, read=(tmp_path / "checks", tmp_path / "suites.py"))(None, {})

    (tmp_path / "checks").mkdir()
    (tmp_path / "checks" / "one.sql").write_text("select 1")
    (tmp_path / "suites.py").write_text("rules")
    keys = [read(), read()]
    (tmp_path / "suites.py").write_text("stricter rules")
    keys.append(read())
    (tmp_path / "checks" / "one.sql").write_text("select 2")
    keys.append(read())
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_lists_of_inputs_count_in_their_order() -> None:
    other = FILES.model_copy(update={"files": {"a": "b"}})
    assert key(made=[FILES, other]) != key(made=[other, FILES])
    assert key(made=[FILES, other]) == key(made=(FILES.model_copy(), other))


def test_settings_count_by_what_they_say() -> None:
    assert key(limits=SplitSection(held_out=0.2)) == key(limits=SplitSection(held_out=0.2)) != key(limits=SplitSection())


def test_records_count_by_what_they_hold_in_their_order() -> None:
    singapore, japan = {"country": "SGP", "year": 2020}, {"country": "JPN", "year": 2019}
    assert key(populations=[singapore, japan]) == key(populations=[dict(reversed(singapore.items())), japan])
    assert len({key(populations=named) for named in ([singapore], [japan], [japan, singapore], [singapore, japan])}) == 4


@pytest.mark.parametrize("value", [pd.DataFrame({"a": [1]}), object(), {"a": object()}, {1, 2}, [object()], b"bytes"])
def test_what_cannot_be_hashed_is_refused_instead_of_silently_never_reused(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        key(value=value)


def test_a_section_that_no_study_has_is_refused() -> None:
    """Left out of the key in silence, a change of the section that was meant would use a stale result."""
    with pytest.raises(ValueError, match="no section \\['splits'\\] in a study"):
        content_key("pairs", version=1, sections=("splits", "seed"))


@pytest.mark.parametrize("error", [InputError("no such file"), GateError("a rule is broken"), BudgetError("it is spent")])
def test_what_the_user_must_mend_is_not_tried_again(error: Exception) -> None:
    assert not is_worth_retrying(None, None, SimpleNamespace(data=error))


@pytest.mark.parametrize("error", [OSError("busy"), ConnectionError(), MemoryError(), StepError("the disk is full, or a worker was lost")])
def test_what_may_pass_is_tried_again(error: Exception) -> None:
    assert is_worth_retrying(None, None, SimpleNamespace(data=error))


def test_an_error_that_was_stored_is_read_before_it_is_judged() -> None:
    def stored(error: Exception) -> SimpleNamespace:
        return SimpleNamespace(data="a record of where the result is", result=lambda raise_on_failure: error)

    assert not is_worth_retrying(None, None, stored(InputError("no such file")))
    assert is_worth_retrying(None, None, stored(OSError("busy")))
