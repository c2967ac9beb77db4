"""The workspace's registry under several hands."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks.errors import StepError
from tasks.registry import REGISTRY, Registry

PROJECT = Path(__file__).resolve().parents[1]
TABLE = "create table if not exists numbers (number integer primary key) strict"
WRITES = """
import sys
from pathlib import Path
from tasks.registry import Registry
from tests.test_registry import TABLE

with Registry(Path(sys.argv[1]), [TABLE]) as registry:
    for number in range(300):
        registry.write("insert or ignore into numbers (number) values (?)", [number])
"""


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITES, tmp_path / REGISTRY], cwd=PROJECT) for _ in range(3)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0, 0]
    with Registry(tmp_path / REGISTRY, [TABLE]) as registry:
        assert [row["number"] for row in registry.rows("select number from numbers order by number")] == list(range(300))


def test_hands_that_make_one_registry_at_once_all_get_it(tmp_path: Path) -> None:
    together = threading.Barrier(4)

    def make(path: Path) -> int:
        together.wait(timeout=60)
        with Registry(path, [TABLE]) as registry:
            return registry.write("insert or ignore into numbers (number) values (1)")

    with ThreadPoolExecutor(4) as hands:
        for attempt in range(50):
            assert sum(hands.map(make, [tmp_path / f"{attempt}.sqlite"] * 4)) == 1


def test_of_several_rows_all_are_written_or_none(tmp_path: Path) -> None:
    with Registry(tmp_path / REGISTRY, [TABLE]) as registry:
        registry.write_all("insert into numbers (number) values (?)", [(1,), (2,)])
        with pytest.raises(StepError, match="cannot be used"):
            registry.write_all("insert into numbers (number) values (?)", [(3,), (1,)])
        assert [row["number"] for row in registry.rows("select number from numbers order by number")] == [1, 2]
        assert registry.write("delete from numbers where number = ?", [2]) == 1


def test_a_file_that_is_no_registry_is_named(tmp_path: Path) -> None:
    (tmp_path / REGISTRY).write_bytes(b"no database" * 100)
    with pytest.raises(StepError, match=f"{REGISTRY} cannot be used: file is not a database"):
        Registry(tmp_path / REGISTRY, [TABLE])
