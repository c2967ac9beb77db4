"""Tiny models on one thread: two that wait for each other are slower, most of all on a busy machine."""

from collections.abc import Iterator

import pytest
import torch

from tasks.files import FileSet
from tasks.training.model import prepare_model


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def sample_model(tmp_path_factory: pytest.TempPathFactory) -> FileSet:
    """SmolLM2, converted. Read only."""
    return prepare_model("sample", cache=tmp_path_factory.mktemp("models"))
