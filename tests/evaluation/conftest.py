"""Tiny models on one thread, as in the training stage."""

from tests.training.conftest import one_thread

__all__ = ["one_thread"]
