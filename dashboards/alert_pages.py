"""What people read when an alert of `rules/` wakes them, where no runbook of a cause says it."""

from pathlib import Path

FOLDER = Path(__file__).parent / "alerts"


def prose(name: str) -> str | None:
    """Give a page as Markdown, None where there is none; `name` is a word, and no path."""
    try:
        return (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    except OSError:
        return None
