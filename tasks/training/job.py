"""What the launcher hands to the worker, the names of what the worker leaves, and the bond between the two processes."""

import ctypes
import os
import signal
import sys
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from tasks.study import ModelSection, TrainingSection

LOG = "training_log.jsonl"
BEST = "best.safetensors"
PR_SET_PDEATHSIG = 1
LAUNCHER = "VALUESCAPE_LAUNCHER"  # the process id of the launcher: the parent of Accelerate's, which is the parent of every worker


class Job(BaseModel):
    """`folder`: where checkpoints, log and adapter go; `model_folder`: the model's files, to be loaded as `model` says."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    model_folder: str
    model: ModelSection
    pairs: str
    folder: str
    seed: int
    training: TrainingSection


def die_with_parent(parent: int | None = None) -> None:
    """On Linux, end this process when the one that started it ends, even by SIGKILL. Each process of a chain has to call it: the launcher, who names
    itself as `parent`, between fork and exec for Accelerate's own launcher, and the worker for itself, which takes seconds to come so far: it may be
    alone by then."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if parent is not None and os.getppid() != parent:
            os._exit(1)  # it was killed in this moment; the handlers for signals are still its own
        if _is_alone():
            os.kill(os.getpid(), signal.SIGTERM)


def _is_alone() -> bool:
    """Whether another process, the system's first or a reaper, has become the parent of a worker. One that was started by hand does not know."""
    status = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8")
    grandparent = status.rpartition(")")[2].split()[1]
    return os.environ.get(LAUNCHER, grandparent) != grandparent
