"""One plant for all faults: what a fault breaks, the next test finds mended."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows.plant import Plant, run_folder, running


@dataclass
class Undisturbed:
    """The run that every other one has to be like. `folder`: a copy of what it left; `seconds`: from the first task to the end."""

    folder: Path
    workspace: Path
    seconds: float


@pytest.fixture(scope="package")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with running(tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@pytest.fixture(scope="package")
def undisturbed(plant: Plant, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    workspace = tmp_path_factory.mktemp("undisturbed")
    run = plant.start(workspace=workspace)
    plant.wait(run, "Running")
    began = time.monotonic()
    plant.wait(run, "Completed")
    seconds = time.monotonic() - began
    kept = tmp_path_factory.mktemp("kept") / "run"
    shutil.copytree(run_folder(workspace, run), kept)
    return Undisturbed(kept, workspace, seconds)


def training(workspace: Path) -> bool:
    return any(workspace.glob("training/*/checkpoints/step-*"))
