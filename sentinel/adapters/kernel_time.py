"""When the kernel wrote a line, as far as the line says."""

import re
import time
from datetime import datetime

from sentinel.model.ids import Seconds

_HEAD = 160
"""Where a log puts its times; what stands further behind is what was said."""
_DAY: Seconds = 86400.0
_STAMP = re.compile(r"\[ *(\d{1,10}\.\d{1,9})\]")
"""As printk.c writes it: seconds since the boot, which go on evenly whatever happens to the wall's clock."""
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)")
_SYSLOG = re.compile(r"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?= )")
"""RFC 3164, in the machine's own zone and without a year."""


def stamp(line: str) -> Seconds | None:
    """Give the kernel's own time in a line, seconds since the boot."""
    found = _STAMP.search(line, 0, _HEAD)
    return float(found[1]) if found else None


def dated(line: str) -> float | None:
    """Give the date that a log put before a line, in seconds since the epoch."""
    try:
        if found := _ISO.search(line, 0, _HEAD):
            return datetime.fromisoformat(found[0]).timestamp()
        if found := _SYSLOG.match(line):
            return _latest(found[0])
    except ValueError:  # no day of the calendar
        pass
    return None


def _latest(text: str) -> float:
    """Give the last moment at which a calendar without years showed this: a log is not of the future."""
    year = time.localtime().tm_year
    at = datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S")
    return at.timestamp() if at.timestamp() < time.time() + _DAY else at.replace(year=year - 1).timestamp()


def age(line: str, longest: Seconds) -> Seconds:
    """How long ago a line of this boot was written; where it does not say, the longest that it can be."""
    if (since_boot := stamp(line)) is not None:
        return max(0.0, time.monotonic() - since_boot)
    if (at := dated(line)) is not None:
        return max(0.0, time.time() - at)
    return longest
