"""When a stored result is used again."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.errors import GateError, InputError
from tasks.files import file_set
from tasks.policy import content_key, is_worth_retrying
from tasks.study import load_study

KEY = content_key("marts", version=1, sections=("items", "seed"))


def test_a_key_is_of_contents_and_not_of_places(tmp_path: Path) -> None:
    for folder, text in (("one", "1"), ("two", "1"), ("three", "3")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text(text, encoding="utf-8")
    one, two, three = (KEY(None, {"staged": file_set(tmp_path / folder, ["a"]), "folder": tmp_path / folder}) for folder in ("one", "two", "three"))
    assert one == two != three


def test_a_key_changes_with_the_sections_that_the_step_reads_and_with_no_other() -> None:
    study = load_study("sample")
    same, other = (load_study("sample", overrides=[change]) for change in ("training.epochs=9", "items.limit=3"))
    assert KEY(None, {"study": study}) == KEY(None, {"study": same}) != KEY(None, {"study": other})


def test_a_key_changes_with_the_steps_name_and_version() -> None:
    keys = {content_key(name, version=version)(None, {"value": 1}) for name, version in (("a", 1), ("a", 2), ("b", 1))}
    assert len(keys) == 3


def test_a_section_that_no_study_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no section"):
        content_key("marts", version=1, sections=("itms",))


def test_an_input_that_cannot_be_hashed_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be part of a cache key"):
        KEY(None, {"connection": object()})


@pytest.mark.parametrize(("error", "again"), [(InputError("x"), False), (GateError("x"), False), (OSError("busy"), True)])
def test_what_a_user_must_mend_is_not_tried_again(error: Exception, again: bool) -> None:
    assert is_worth_retrying(None, None, SimpleNamespace(data=error)) is again
