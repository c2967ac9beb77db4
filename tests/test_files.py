"""Files that appear whole or not at all, and the record of what a step made."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tasks.errors import InputError, StepError
from tasks.files import FileSet, file_set, hash_of, held_alone, is_held, link_or_copy, make_workspace, write_atomically, write_json, write_table

ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import numpy as np
import pandas as pd
from tasks.errors import ValuescapeError
from tasks.files import write_json, write_table

resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
try:
    numbers = np.random.default_rng(1).random(100_000)
    if sys.argv[2] == "json":
        write_json(Path(sys.argv[1]), list(numbers))
    else:
        write_table(pd.DataFrame({"number": numbers}), Path(sys.argv[1]))
except ValuescapeError as error:
    print(error)
    sys.exit(error.exit_code)
"""


@pytest.fixture
def made(tmp_path: Path) -> FileSet:
    """A step's folder with a table and a text in a folder."""
    folder = tmp_path / "first"
    write_table(pd.DataFrame({"share": [0.5, 0.25]}), folder / "tables" / "shares.parquet")
    write_json(folder / "adapter" / "card.json", {"name": "first"})
    return file_set(folder, ["tables/shares.parquet", "adapter"], rows={"shares": 2})


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Whole or not at all


def test_a_file_appears_under_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "answer.txt"
    with write_atomically(target) as temporary:
        temporary.write_text("all of it")
        assert not target.exists()
        assert temporary.parent == target.parent, "a rename across file systems is not atomic"
    assert target.read_text() == "all of it"
    assert files_under(tmp_path) == ["new/folder/answer.txt"]


@pytest.mark.parametrize("interruption", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_in_mid_write_leaves_what_was_there_and_nothing_else(tmp_path: Path, interruption: type[BaseException]) -> None:
    target = tmp_path / "answer.txt"
    target.write_text("the old one")
    with pytest.raises(interruption), write_atomically(target) as temporary:
        temporary.write_text("half of")
        raise interruption
    assert target.read_text() == "the old one"
    assert files_under(tmp_path) == ["answer.txt"]


@pytest.mark.parametrize("writes", ["json", "table"])
def test_a_full_disk_is_one_sentence_and_exit_code_1_and_leaves_no_half_file(tmp_path: Path, writes: str) -> None:
    target = tmp_path / "numbers"
    target.write_text("the old one")
    ended = subprocess.run([sys.executable, "-c", ON_A_FULL_DISK, str(target), writes], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert ended.stdout.startswith(f"cannot write {target}: ")
    assert "Make room or take another --workspace" in ended.stdout
    assert len(ended.stdout.splitlines()) == 1
    assert target.read_text() == "the old one"
    assert files_under(tmp_path) == ["numbers"]


def test_a_folder_that_cannot_be_made_is_a_step_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file, where a folder is needed")
    with pytest.raises(StepError, match="cannot write .*taken/answer.json"):
        write_json(tmp_path / "taken" / "answer.json", 1)


def test_what_a_killed_process_left_is_never_written_into_though_it_is_a_link_to_another_run(tmp_path: Path) -> None:
    """The same process id comes again, in containers above all."""
    other_run = tmp_path / "other.json"
    other_run.write_text("another run's")
    os.link(other_run, tmp_path / f".answer.json.{os.getpid()}.tmp")
    write_json(tmp_path / "answer.json", {"mine": True})
    assert other_run.read_text() == "another run's"
    assert json.loads((tmp_path / "answer.json").read_text()) == {"mine": True}


# The record of files


def test_a_set_names_files_by_their_place_in_the_folder_and_folders_by_all_they_hold(made: FileSet) -> None:
    assert set(made.files) == {"tables/shares.parquet", "adapter/card.json"}
    assert made.path("adapter/card.json") == Path(made.folder) / "adapter" / "card.json"
    assert made.read("shares")["share"].tolist() == [0.5, 0.25]


def test_the_one_file_of_a_set_of_one(made: FileSet) -> None:
    assert file_set(Path(made.folder), ["adapter"]).only() == made.path("adapter/card.json")
    with pytest.raises(ValueError, match="unpack"):
        made.only()


def test_a_set_holds_until_a_file_is_changed_or_deleted(made: FileSet) -> None:
    card = made.path("adapter/card.json")
    kept = card.read_bytes()
    assert made.holds()
    card.write_bytes(kept.replace(b"first", b"other"))
    assert not made.holds()
    card.write_bytes(kept)
    assert made.holds()
    card.unlink()
    assert not made.holds()


def test_the_content_key_is_of_names_and_contents_not_of_the_place(made: FileSet, tmp_path: Path) -> None:
    moved = made.adopted_into(tmp_path / "second")
    assert moved.folder != made.folder
    assert moved.content_key == made.content_key
    write_json(moved.path("adapter/card.json"), {"name": "second"})
    changed = file_set(tmp_path / "second", list(made.files))
    renamed = FileSet(folder="x", files={f"{name}.old": sha for name, sha in made.files.items()})
    assert len({made.content_key, changed.content_key, renamed.content_key}) == 3


def test_a_stored_set_comes_back_equal(made: FileSet) -> None:
    assert FileSet.model_validate_json(made.model_dump_json()) == made


def test_adopted_files_are_links_and_writing_one_anew_leaves_the_first_run_s(made: FileSet, tmp_path: Path) -> None:
    adopted = made.adopted_into(tmp_path / "second")
    assert adopted.holds()
    assert adopted.rows == made.rows
    for name in made.files:
        assert adopted.path(name).samefile(made.path(name))
    write_json(adopted.path("adapter/card.json"), {"name": "second"})
    assert made.holds()
    assert not adopted.holds()


def test_adopting_into_the_same_folder_or_twice_changes_nothing(made: FileSet, tmp_path: Path) -> None:
    assert made.adopted_into(Path(made.folder)) is made
    adopted = made.adopted_into(tmp_path / "second")
    assert made.adopted_into(tmp_path / "second") == adopted
    assert adopted.holds()
    assert files_under(tmp_path / "second") == sorted(made.files)


def test_where_links_are_not_to_be_had_a_file_is_copied(made: FileSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("links are not supported here")

    monkeypatch.setattr(os, "link", refuse)
    card, copy = made.path("adapter/card.json"), tmp_path / "copy.json"
    link_or_copy(card, copy)
    assert copy.read_bytes() == card.read_bytes()
    assert not copy.samefile(card)


def test_a_hash_depends_on_values_and_not_on_the_order_of_keys() -> None:
    assert hash_of({"a": 1, "b": [1, 2]}) == hash_of({"b": [1, 2], "a": 1})
    assert hash_of([1, 2]) != hash_of([2, 1])


# The workspace


# Locks


def test_a_lock_is_held_by_one_and_freed_at_its_end(tmp_path: Path) -> None:
    lock = tmp_path / "run" / "lock"
    assert not is_held(lock)
    with held_alone(lock, refusal="mine"):
        assert is_held(lock)
        with pytest.raises(StepError, match="somebody has it"), held_alone(lock, refusal="somebody has it"):
            pass
    assert not is_held(lock)


def test_a_lock_that_cannot_be_made_is_a_step_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StepError, match="cannot write"), held_alone(tmp_path / "file" / "lock", refusal=""):
        pass


def test_a_new_workspace_is_this_user_s_alone(tmp_path: Path) -> None:
    make_workspace(tmp_path / "deep" / "workspace")
    assert stat.S_IMODE((tmp_path / "deep" / "workspace").stat().st_mode) == 0o700


def test_in_a_workspace_that_was_open_to_others_the_survey_rows_are_not(tmp_path: Path) -> None:
    (tmp_path / "surveys").mkdir(mode=0o755)
    tmp_path.chmod(0o755)
    make_workspace(tmp_path)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"surveys": 0o700, "runs": 0o700, "training": 0o700, "landed": 0o700}


def test_a_workspace_that_cannot_be_written_is_the_user_s_to_change(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for place in (tmp_path / "taken", tmp_path / "taken" / "workspace"):
        with pytest.raises(InputError, match="cannot be written: .* Choose a folder of yours with --workspace"):
            make_workspace(place)
