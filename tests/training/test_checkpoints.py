"""A checkpoint is there whole or not at all, and is checked before it is trusted."""

import logging
import shutil
from pathlib import Path

import pytest
import torch

from tasks.training.checkpoints import ADAPTER, newest_checkpoint, save_checkpoint


def save(folder: Path, step: int) -> Path:
    parameter = torch.nn.Parameter(torch.full((3,), float(step)))
    optimizer = torch.optim.AdamW([parameter])
    parameter.sum().backward()
    optimizer.step()
    return save_checkpoint(folder, adapter={"a": torch.full((3,), float(step))}, optimizer=optimizer.state_dict(), state={"step": step, "best": 0.5})


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    save(tmp_path, 10)
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state["step"] == 10
    assert found.adapter()["a"].tolist() == [10, 10, 10]
    assert found.optimizer()["state"][0]["step"] == 1


def test_the_two_newest_are_kept(tmp_path: Path) -> None:
    for step in (10, 20, 30, 100):
        save(tmp_path, step)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-000030", "step-000100"]


def test_a_damaged_newest_one_is_passed_over_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path, 10)
    damaged = save(tmp_path, 20) / ADAPTER
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    with caplog.at_level(logging.WARNING, logger="valuescape"):
        found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state["step"] == 10
    assert "step-000020 is damaged" in caplog.text


def test_one_whose_state_was_changed_is_passed_over(tmp_path: Path) -> None:
    save(tmp_path, 10)
    state = save(tmp_path, 20) / "state.json"
    state.write_text(state.read_text(encoding="utf-8").replace("0.5", "0.4"), encoding="utf-8")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state["step"] == 10


def test_one_without_its_state_is_passed_over_too(tmp_path: Path) -> None:
    (save(tmp_path, 10) / "state.json").unlink()
    assert newest_checkpoint(tmp_path) is None


def test_a_save_that_fails_leaves_nothing_and_the_older_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, 10)
    monkeypatch.setattr(torch, "save", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, 20)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]


def test_a_save_that_was_killed_halfway_is_not_taken_for_a_checkpoint(tmp_path: Path) -> None:
    """SIGKILL lets nothing be tidied: the folder under its temporary name stays, and nobody looks at it."""
    whole = save(tmp_path, 10)
    shutil.copytree(whole, tmp_path / ".building-abc")
    (tmp_path / ".building-abc" / "state.json").unlink()
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.folder == whole


@pytest.mark.parametrize("written", ["", '{"step": 20', "{}"])
def test_a_state_that_is_cut_off_is_passed_over(tmp_path: Path, written: str) -> None:
    save(tmp_path, 10)
    (save(tmp_path, 20) / "state.json").write_text(written, encoding="utf-8")
    found = newest_checkpoint(tmp_path)
    assert found is not None
    assert found.state["step"] == 10


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path / "never-written") is None
