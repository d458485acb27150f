"""The settings' routes and who is on call, as whoever pages follows them."""

from collections.abc import Sequence

from sentinel import config
from sentinel.adapters.calendars import Calendar, Calendars
from sentinel.oncall import reading, routes
from sentinel.oncall.plan import Plan


def load(settings: config.Settings, causes: Sequence[str] = ()) -> tuple[Plan, Sequence[Calendar]]:
    """Read them; the calendars want to be run. `causes` are those of runbooks. Raises ConfigError."""
    file, calendars = settings.pages.oncall_file, Calendars(settings.cluster.state_dir)
    rota = reading.read(file, settings.receivers, calendars) if file else None
    found = routes.read(settings, rota.holidays if rota else (), causes)
    return Plan(found, rota), calendars.all
