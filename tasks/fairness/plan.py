"""How uncertainty is computed in a study: replicates, confidence, margin and seed."""

import zlib
from typing import NamedTuple

import numpy as np

from tasks.study import Study


class Plan(NamedTuple):
    """`margin`: by how much a standard deviation between levels may widen and still be called no wider."""

    replicates: int = 2000
    level: float = 0.95
    margin: float = 0.02
    seed: int = 20260412

    def generator(self, *purpose: str) -> np.random.Generator:
        """Random numbers of their own for each purpose: what is drawn for one does not depend on the others."""
        return np.random.default_rng([self.seed, *(zlib.crc32(word.encode()) for word in purpose)])


def plan_of(study: Study) -> Plan:
    return Plan(replicates=study.fairness.replicates, level=study.fairness.confidence, margin=study.fairness.margin, seed=study.seed)
