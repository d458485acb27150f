"""How the logbook writes Markdown: templates, moments, and foreign text that stays text."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING

from sentinel.model.counted import duration
from sentinel.model.ids import Instant, Seconds

if TYPE_CHECKING:
    import jinja2


@cache
def template(name: str) -> "jinja2.Template":
    """Give one of the logbook's templates."""
    return _environment().get_template(name)


@cache
def _environment() -> "jinja2.Environment":
    import jinja2  # who only writes a moment needs none

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("sentinel.logbook"),
        autoescape=False,  # noqa: S701 - the output is Markdown; the web page renders it with HTML disabled
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "utc": utc,
        "relative": relative,
        "inline": inline,
        "fence": fence,
        "duration": duration,
        "pairs": pairs,
    }
    return environment


def pairs(evidence: Mapping[str, str | int | float]) -> str:
    """Write raw evidence, a line for each value."""
    return "\n".join(f"{key}: {value}" for key, value in evidence.items())


def utc(at: Instant) -> str:
    """Write an instant as `2026-03-04 05:06:07 UTC`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def relative(seconds: Seconds) -> str:
    """Write how long after something: `+0.40 s`."""
    return f"{seconds:+.2f} s"


def inline(text: str) -> str:
    """Keep a foreign text on its line and without Markdown of its own."""
    return re.sub(r"([\\`*\[\]<|])", r"\\\1", " ".join(text.split()))


def fence(text: str) -> str:
    """Put raw text into a code block that nothing inside can close."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
