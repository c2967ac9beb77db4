"""Files appear whole or not at all, and a file set knows whether it still holds."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.errors import InputError, StepError
from tasks.files import file_set, make_workspace, write_atomically, write_json

FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from tasks.errors import StepError
from tasks.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))  # as on a disk with 1,000 bytes left
try:
    with write_atomically(Path(sys.argv[1])) as temporary:
        temporary.write_bytes(b"x" * 5000)
except StepError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_a_file_appears_under_its_name_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "file.json"
    with write_atomically(target) as temporary:
        temporary.write_text("{}", encoding="utf-8")
        assert not target.exists()
    assert target.read_text(encoding="utf-8") == "{}"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_content_and_nothing_beside_it(tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"old": True})
    with pytest.raises(KeyError), write_atomically(tmp_path / "file.json") as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise KeyError
    assert '"old"' in (tmp_path / "file.json").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_full_disk_is_one_message_and_no_half_file(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", FULL_DISK, tmp_path / "table"], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert ended.returncode == StepError.exit_code == 1
    assert "cannot write" in ended.stdout
    assert "--workspace" in ended.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_set_holds_until_a_file_changes_or_goes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1", encoding="utf-8")
    made = file_set(tmp_path, ["a"])
    assert made.holds()
    (tmp_path / "a").write_text("2", encoding="utf-8")
    assert not made.holds()
    (tmp_path / "a").unlink()
    assert not made.holds()


def test_a_sets_key_is_its_contents_wherever_they_are(tmp_path: Path) -> None:
    for folder, text in (("one", "1"), ("two", "1"), ("three", "3")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a").write_text(text, encoding="utf-8")
    one, two, three = (file_set(tmp_path / folder, ["a"]).content_key for folder in ("one", "two", "three"))
    assert one == two != three


def test_an_adopted_set_is_the_same_files_in_the_other_folder(tmp_path: Path) -> None:
    (tmp_path / "one" / "sub").mkdir(parents=True)
    (tmp_path / "one" / "sub" / "a").write_text("1", encoding="utf-8")
    made = file_set(tmp_path / "one", ["sub"])
    adopted = made.adopted_into(tmp_path / "two")
    assert adopted.holds()
    assert adopted.content_key == made.content_key
    assert os.path.samefile(made.path("sub/a"), adopted.path("sub/a"))  # noqa: PTH121


def test_a_workspace_is_for_its_user_alone(tmp_path: Path) -> None:
    make_workspace(tmp_path / "workspace")
    assert (tmp_path / "workspace").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "workspace").iterdir()) == []


def test_a_workspace_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--workspace"):
        make_workspace(tmp_path / "file" / "workspace")
