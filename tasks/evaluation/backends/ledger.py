"""What asking a server has taken, under a hard budget: room is set aside before a request and settled after it.

ledger = Ledger(budget, prices)
with ledger.request(most) as settle:        # waits for requests under way where they hold the room; raises BudgetError where there is none
    settle(answer.usage)
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tasks.errors import BudgetError
from tasks.evaluation.backends.answers import Usage
from tasks.study_evaluation import BudgetSection, PricesSection

MILLION = 1e6
NOTHING = Usage()


class Ledger:
    """Shared by all threads that ask. `before`: what was taken of the budget before; `spent`: requests that were settled since, answers and
    failures of earlier runs included; `failures`: how many of each kind."""

    def __init__(self, budget: BudgetSection, *, prices: PricesSection | None, before: Usage = NOTHING) -> None:
        self._budget, self._prices, self._before = budget, prices, before
        self._changed = threading.Condition()
        self._reserved = NOTHING
        self.spent = NOTHING
        self.failures: Counter[str] = Counter()

    @contextmanager
    def request(self, most: Usage) -> Iterator[Callable[[Usage], None]]:
        """Set `most` aside for one request. Without a word about what it took it counts as all of that: a server may bill what never arrived."""
        self._reserve(most)
        taken = most

        def settle(usage: Usage) -> None:
            nonlocal taken
            taken = usage

        try:
            yield settle
        finally:
            with self._changed:
                self._reserved -= most
                self.spent += taken
                self._changed.notify_all()

    def add(self, usage: Usage) -> None:
        """What answers and failures kept from before took."""
        with self._changed:
            self.spent += usage

    def count_failures(self, kind: str, attempts: int) -> None:
        with self._changed:
            self.failures[kind] += attempts

    def cost_of(self, usage: Usage) -> float | None:
        """In the currency of the prices; None without prices."""
        if self._prices is None:
            return None
        return (usage.prompt_tokens * self._prices.prompt + usage.completion_tokens * self._prices.completion) / MILLION

    def _reserve(self, most: Usage) -> None:
        with self._changed:
            while spent_by := self._passes(self._reserved + most):
                if self._reserved == NOTHING:
                    raise BudgetError(spent_by)
                self._changed.wait()
            self._reserved += most

    def _passes(self, more: Usage) -> str | None:
        """Which limit would be passed with so much more, in words."""
        taken, wanted = (self._limited(usage) for usage in (self._before + self.spent, self._before + self.spent + more))
        for name, value in wanted.items():
            limit = getattr(self._budget, name)
            if limit is not None and value > limit:
                return f"evaluation.budget.{name} is {limit:,}, {taken[name]:,.6g} are taken, and one more request might pass it"
        return None

    def _limited(self, usage: Usage) -> dict[str, float]:
        return {"requests": usage.requests, "tokens": usage.tokens, "cost": self.cost_of(usage) or 0.0}
