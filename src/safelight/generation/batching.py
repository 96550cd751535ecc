"""Drawing together: what several pictures ask of the denoiser in one step is computed in one call.

Each picture is drawn by a thread of its own, with a pipeline of its own. Only one thread at a time has the *floor*, the
lock under which everything here is done: neither pipelines nor the networks, tokenizers and caches that they share may
be used by two threads at a time, and one device computes one thing at a time anyway. A thread leaves the floor where
it waits for the denoiser, and meets the others there: once all of them wait, or the first one has waited long enough,
the calls that fit each other become one. Pictures come and go between any two steps; prompts, seeds, samplers, steps
and guidance may all differ.

A picture that is alone is computed as if this module was not there. Together, sums are made in another order, and the
last bits differ: ``docs/generation.md`` says by how much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from safelight.generation.calls import Call, computed
from safelight.generation.fair_lock import FairLock

Compute = Callable[[Call], object]


@dataclass(eq=False)
class _Ticket:
    """A call that waits for its answer.

    Attributes:
        deadline: When it has waited long enough, by the monotonic clock.
        company: How many calls were computed as one with it, itself included.
    """

    call: Call
    deadline: float
    answer: object = None
    error: Exception | None = None
    company: int = 0


class Rendezvous:
    """Where pictures on their way meet. Everything but the constructor needs the floor.

    Args:
        floor: The lock; whoever waits here leaves it meanwhile.
        wait: Seconds that the first call waits for those of other pictures.
        let_go: Called by a thread that is about to wait for others, which may compute meanwhile.
    """

    def __init__(self, floor: FairLock, wait: float, let_go: Callable[[], None] = lambda: None) -> None:
        self._wait, self._let_go = wait, let_go
        self._news = threading.Condition(floor)  # type: ignore[arg-type]  # which needs no more than this lock has
        self._members = 0
        self._waiting: list[_Ticket] = []

    def join(self) -> None:
        """Be one more picture that the others wait for."""
        self._members += 1

    def leave(self) -> None:
        """Be one less: those who wait may be complete now."""
        self._members -= 1
        self._news.notify_all()

    def compute(self, call: Call) -> tuple[object, int]:
        """The answer to a call, and how many calls were computed as one.

        Raises:
            Exception: Whatever the network raised when it computed this call alone.
        """
        ticket = _Ticket(call, time.monotonic() + self._wait)
        self._waiting.append(ticket)
        try:
            while not ticket.company:
                if len(self._waiting) >= self._members or self._patience <= 0:
                    self._compute_all()
                else:
                    self._let_go()
                    self._news.wait(self._patience)
        finally:
            if not ticket.company:  # Ctrl-C; the others still want theirs
                self._waiting.remove(ticket)
        if ticket.error is not None:
            raise ticket.error
        return ticket.answer, ticket.company

    @property
    def _patience(self) -> float:
        """Seconds that the one who has waited longest goes on waiting."""
        return self._waiting[0].deadline - time.monotonic()

    def _compute_all(self) -> None:
        try:
            for group in _grouped(self._waiting):
                _answer(group)
        finally:
            self._waiting = [ticket for ticket in self._waiting if not ticket.company]
            self._news.notify_all()


class Seat:
    """A picture's place at the rendezvous, taken with its first call; use it as a context manager.

    Args:
        rendezvous: Where it meets others; None for a picture that is to be computed alone.

    Attributes:
        together: Whether one of its calls was computed as one with another picture's.
    """

    def __init__(self, rendezvous: Rendezvous | None = None) -> None:
        self._rendezvous = rendezvous
        self._taken = False
        self.together = False

    def compute(self, call: Call) -> object:
        """The answer to a call."""
        if self._rendezvous is None:
            return call.compute()
        if not self._taken:
            self._taken = True
            self._rendezvous.join()
        answer, company = self._rendezvous.compute(call)
        self.together = self.together or company > 1
        return answer

    def leave(self) -> None:
        """No call is to follow soon: nobody has to wait for this picture."""
        if self._taken and self._rendezvous is not None:
            self._taken = False
            self._rendezvous.leave()

    def __enter__(self) -> Seat:
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()


class StandIn(nn.Module):
    """Stands in a pipeline where the denoiser would: hooks on it are one picture's own, and its calls go to a seat.

    Args:
        network: The denoiser, which answers for everything else that is asked of it.
        compute: Answers a call.
    """

    def __init__(self, network: nn.Module, compute: Compute) -> None:
        super().__init__()
        self.network = network
        self._compute = compute

    def forward(self, *args: object, **kwargs: object) -> object:
        """The network's answer."""
        return self._compute(Call(self.network, args, kwargs))

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("network"), name)


def _grouped(tickets: Sequence[_Ticket]) -> list[list[_Ticket]]:
    """The tickets whose calls fit each other, in the order in which they came."""
    groups: list[list[_Ticket]] = []
    for ticket in tickets:
        group = next((group for group in groups if group[0].call.fits(ticket.call)), None)
        if group is None:
            groups.append([ticket])
        else:
            group.append(ticket)
    return groups


def _answer(group: Sequence[_Ticket]) -> None:
    """Compute a group's calls as one, or else each alone, for each to have its answer or its error."""
    if len(group) > 1 and (answers := _together(group)):
        for ticket, answer in zip(group, answers, strict=True):
            ticket.answer, ticket.company = answer, len(group)
        return
    for ticket in group:
        try:
            ticket.answer = ticket.call.compute()
        except Exception as error:  # noqa: BLE001  it goes to the thread that waits for an answer
            ticket.error = error
        ticket.company = 1


def _together(group: Sequence[_Ticket]) -> list[object]:
    """The answers from a common call; none if it failed.

    What is too much memory together may not be too much for each, and nobody is to fail for what another one asked.
    Each is computed after this is left: until then the error holds on to what the common call has made.
    """
    try:
        return computed([ticket.call for ticket in group])
    except Exception:  # noqa: BLE001  whoever's fault it is will have it again
        return []
