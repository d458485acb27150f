"""`sentinel.toml` and the environment → frozen settings; a wrong key or type is a one-line error."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sentinel import private
from sentinel.config.tables import (
    NAMED,
    PREFIX,
    SECTIONS,
    TABLES,
    ConfigError,
    Settings,
    Table,
    nearest,
    valid,
    validate,
)

FILE = "sentinel.toml"
SYSTEM_FILE = Path("/etc/sentinel") / FILE
"""Where a service has its settings: taken where no file is named and none lies here."""


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read a file and the environment, which wins.

    Without a path: `SENTINEL_CONFIG`, or else `sentinel.toml` here, or else that in /etc/sentinel, or else
    defaults. Raises ConfigError.
    """
    return merge(*read_all(path, env))


def source(path: Path | None = None, env: Mapping[str, str] = os.environ) -> str:
    """Say in a few words where `load` finds its settings."""
    named = _named(path, env)
    if named and named == path:
        return f"{named}, as --config says"
    if named:
        return f"{named}, as {PREFIX}CONFIG says"
    return str(_found() or f"the defaults: neither ./{FILE} nor {SYSTEM_FILE} is there")


def _found() -> Path | None:
    """Give the file that is taken where none is named."""
    return next((file for file in (Path(FILE), SYSTEM_FILE) if os.path.lexists(file)), None)


def read_all(path: Path | None, env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any], dict[str, Any]]:
    """Give the file, what it says, and what the environment says."""
    named = _named(path, env)
    file = named or _found()
    given = _read(file, is_named=named is not None) if file else {}
    for section, table in given.items():
        if section in NAMED:
            _named_tables(str(file), section, table)
        else:
            validate(str(file), section, table, strict=True)
    return file, given, _environment(env)


def merge(_: Path | None, given: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    """Give the settings of a file and of the environment, which wins. Raises ConfigError."""
    tables: dict[str, Any] = {}
    for section in TABLES:
        if merged := {**given.get(section, {}), **changes.get(section, {})}:
            tables[section] = validate("environment", section, merged, strict=False)
    if "policy" in tables:
        tables["policy"] = tables["policy"].policy()
    for section in NAMED:
        tables[section] = _named_tables("environment", section, _joined(section, given, changes))
    return Settings(**tables)


def _joined(section: str, given: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give each of a section's tables, in which the environment wins key by key."""
    old, new = given.get(section, {}), changes.get(section, {})
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in {**old, **new}}


def _named_tables(where: str, section: str, tables: Any) -> Mapping[str, Table]:
    """Read a table for each name; they stay in their order. Raises ConfigError."""
    if not isinstance(tables, dict):
        raise ConfigError(f"{where}: {section}: expected a table for each, such as [{section}.webhook]")
    for name in tables:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
            raise ConfigError(f"{where}: {section}.{name}: expected a name in small letters, such as webhook")
    return {
        name: valid(where, f"{section}.{name}", NAMED[section], table, strict=False)
        for name, table in tables.items()
    }


def _named(path: Path | None, env: Mapping[str, str]) -> Path | None:
    return path or (Path(env[f"{PREFIX}CONFIG"]) if env.get(f"{PREFIX}CONFIG") else None)


def _read(file: Path, *, is_named: bool) -> dict[str, Any]:
    """Read a file. One that nobody has named must be ours: it says whose code runs and who gets a token."""
    try:
        with open(file, "rb", opener=_at_once) as stream:
            if not is_named and (why := private.open_to_others(file, stream.fileno())):
                raise ConfigError(f"{why}: `--config {file.absolute()}`, if it is to count")
            return tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from None


def _at_once(path: str, flags: int) -> int:
    """Open without waiting for a pipe's other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Give the settings in the environment: `SENTINEL_<SECTION>__<KEY>`; others are none of our settings."""
    ours = {name: value for name, value in env.items() if name.startswith(PREFIX)}
    for name in ours:
        section, _, key = name.removeprefix(PREFIX).lower().partition("_")
        if section in SECTIONS and key and not key.startswith("_"):
            right = f"{PREFIX}{section}__{key}".upper()
            raise ConfigError(f"environment: {name}: no setting; did you mean {right} (two underscores)?")
    found: dict[str, Any] = {}
    for name, value in ours.items():
        section, *path = name.removeprefix(PREFIX).lower().split("__", 1)
        if not path:
            continue
        if section not in SECTIONS:
            near = nearest(section, dict.fromkeys(SECTIONS))
            raise ConfigError(f"environment: {name}: unknown section {section!r}{near}")
        if section in NAMED:
            receiver, _, key = path[0].partition("__")
            if not key:
                raise ConfigError(f"environment: {name}: no setting; expected a key of it, {name}__KEY")
            found.setdefault(section, {}).setdefault(receiver, {})[key] = value
        else:
            found.setdefault(section, {})[path[0]] = value
    return found
