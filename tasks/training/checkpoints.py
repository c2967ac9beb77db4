"""Checkpoints that appear whole, are checked before they are trusted, and let a run go on where it was cut off.

save_checkpoint(folder, step=40, tensors={"adapter": ...}, optimizer=optimizer.state_dict(), state={...})
found = newest_checkpoint(folder)
"""

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from tasks.files import flush_folder, sha256_of

KEPT = 2
ADAPTER, OPTIMIZER, STATE, CHECKSUMS = "adapter.safetensors", "optimizer.pt", "state.json", "checksums.json"

logger = logging.getLogger("valuescape")


class Checkpoint(NamedTuple):
    """`state` is what the worker needs besides tensors: step, best loss, scheduler, seconds so far."""

    folder: Path
    state: dict[str, Any]

    def adapter(self) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = load_file(self.folder / ADAPTER)
        return tensors

    def optimizer(self) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(self.folder / OPTIMIZER, weights_only=True)
        return state


def save_checkpoint(folder: Path, *, adapter: dict[str, Tensor], optimizer: dict[str, Any], state: dict[str, Any]) -> Path:
    """Write <folder>/step-NNNNNN under a temporary name, flush, rename; keep the two newest."""
    folder.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
    try:
        save_file(adapter, building / ADAPTER)
        torch.save(optimizer, building / OPTIMIZER)
        (building / STATE).write_text(json.dumps(state), encoding="utf-8")
        checksums = {name: sha256_of(building / name) for name in (ADAPTER, OPTIMIZER, STATE)}
        (building / CHECKSUMS).write_text(json.dumps(checksums), encoding="utf-8")
        flush_folder(building)
        final = folder / f"step-{state['step']:06d}"
        if final.exists():  # the same step once more, after a resume: the old one is as good
            return final
        building.rename(final)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    for old in _folders(folder)[:-KEPT]:
        shutil.rmtree(old)
    return final


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files match their checksums; a damaged one is passed over with a warning."""
    for candidate in reversed(_folders(folder)):
        try:
            checksums = json.loads((candidate / CHECKSUMS).read_text(encoding="utf-8"))
            if all(sha256_of(candidate / name) == checksums[name] for name in (ADAPTER, OPTIMIZER, STATE)):
                return Checkpoint(candidate, json.loads((candidate / STATE).read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError):
            pass  # told below, with the damaged ones whose checksums differ
        logger.warning("checkpoint %s is damaged; the one before it is used", candidate)
        shutil.rmtree(candidate)
    return None


def _folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))
