"""How many requests and tokens may be spent."""

from __future__ import annotations

import asyncio

from g4v.errors import Error


class BudgetSpent(Error):
    """The next request could pass the budget."""


class Budget:
    """How many requests and tokens may be spent. None sets no bound.

    Every request counts, also one that fails. A request is let through only if what was spent, what others
    under way may spend and what it may spend itself stay within the bound.
    """

    def __init__(self, requests: int | None = None, tokens: int | None = None) -> None:
        self._most = requests, tokens
        self.requests = self.tokens = self._reserved = 0
        self._changed = asyncio.Condition()

    async def reserve(self, tokens: int) -> None:
        """Waits until the request fits; BudgetSpent if it never will."""
        async with self._changed:
            while True:
                if self._most[0] is not None and self.requests >= self._most[0]:
                    raise BudgetSpent(f"the budget of {self._most[0]} requests is spent")
                if self._most[1] is None or self.tokens + self._reserved + tokens <= self._most[1]:
                    break
                if not self._reserved:
                    raise BudgetSpent(
                        f"the next request could pass the budget of {self._most[1]} tokens "
                        f"({self.tokens} are spent)"
                    )
                await self._changed.wait()
            self.requests += 1
            self._reserved += tokens

    async def settle(self, reserved: int, used: int) -> None:
        """Replaces a reservation by what was used."""
        async with self._changed:
            self._reserved -= reserved
            self.tokens += used
            self._changed.notify_all()
