"""Whom an open page is told and when, computed anew from when it came: nothing of it has to be remembered."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from sentinel.model.action import Page
from sentinel.model.ids import Instant
from sentinel.oncall import wall
from sentinel.oncall.rota import Rota
from sentinel.oncall.routes import ON_CALL, Routes

History = Sequence[tuple[Page, Instant]]
"""What an incident's page said, oldest first, and when that came."""


def since_acknowledged(history: History) -> History:
    """Give what came after the last acknowledgement, if what it says since is new to who has it."""
    acked = [place for place, (page, _) in enumerate(history) if page.acked_by]
    return history[acked[-1] + 1 :] if acked and not history[-1][0].acked_by else history


@dataclass(frozen=True, slots=True)
class Plan:
    """Routes say when a receiver is due; who is a person's is told once that person is asked."""

    routes: Routes = field(default_factory=Routes)
    rota: Rota | None = None

    def __bool__(self) -> bool:
        """Say whether it says anything but: all at once, and once."""
        return bool(self.routes) or self.rota is not None

    def told_at(
        self, receiver: str, history: History, wants: Callable[[Page], bool] = lambda _: True
    ) -> Instant | None:
        """Say from when on a receiver is told of an incident; None for never."""
        history = since_acknowledged(history)
        waiting = [(page, at) for page, at in history if page.stage != "resolved" and wants(page)]
        dues = (self.routes.due(page, receiver, at) for page, at in waiting)
        first = min((due for due in dues if due is not None), default=None)
        people = self.rota.of(receiver) if self.rota else ()
        if first is None or self.rota is None or not people or not waiting[-1][0].cause:
            return first
        return next(
            (ask.at for ask in self.rota.asks(first) if not set(people).isdisjoint(ask.people)), first
        )

    def stops(self, receiver: str, history: History) -> bool:
        """Say whether nobody more is told through it: somebody has it, or it is over."""
        page = history[-1][0]
        is_a_persons = self.rota is not None and bool(self.rota.of(receiver))
        return page.stage == "resolved" or (bool(page.acked_by) and is_a_persons)

    def asked(self, history: History, now: Instant) -> str:
        """Say who was asked and who is next, in a line; empty where that is nobody's."""
        if self.rota is None:
            return ""
        where, page = self.rota.where, history[-1][0]
        steps = list(self._steps(history))
        said = [f"{names} {wall.clock(at, where)}" for at, names in steps if at <= now]
        later = [f"{names} {wall.clock(at, where)}" for at, names in steps if at > now]
        line = f"Asked: {', '.join(said)}" if said else "Asked: nobody yet" if later else ""
        if not later or page.acked_by or page.stage == "resolved":
            return line
        return f"{line}; next, unless somebody acknowledges: {later[0]}"

    def reminds(self, receiver: str, history: History, since: Instant, now: Instant) -> bool:
        """Say whether a receiver is told again of what still waits, for a time in (since, now]."""
        page, came = history[-1]
        told = self.told_at(receiver, history)
        if told is None or page.acked_by or page.stage == "resolved":
            return False
        if receiver == ON_CALL and any(since < at <= now and at > told for at, _ in self._steps(history)):
            return True
        every = self.routes.repeat_s(page, receiver, came)
        return every > 0 and now >= told + every and (now - told) // every > (since - told) // every

    def _steps(self, history: History) -> Iterator[tuple[Instant, str]]:
        """Give when whom is asked, each once; those that are all that are left are everybody."""
        times: dict[Instant, list[str]] = {}
        for name, person in (self.rota.people if self.rota else {}).items():
            found = [self.told_at(each, history) for each in person.receivers]
            if at := min((at for at in found if at is not None), default=None):
                times.setdefault(at, []).append(name)
        for number, at in enumerate(sorted(times)):
            is_rest = number and number == len(times) - 1 and len(times[at]) > 1
            yield at, "everybody" if is_rest else " and ".join(times[at])
