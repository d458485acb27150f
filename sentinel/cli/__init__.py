"""The `sentinel` command; what a command needs is imported when it runs, so that `--help` is quick."""

from sentinel.cli import operate, tools, trust
from sentinel.cli.frame import app

__all__ = ["app", "operate", "tools", "trust"]
