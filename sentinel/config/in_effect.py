"""Which settings are in effect and where each came from, as people read about them."""

import ast
import dataclasses
import hashlib
import inspect
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import (
    SecretStr,
)

from sentinel.config.reading import merge, read_all
from sentinel.config.tables import NAMED, PREFIX, SECTIONS, TABLES, UNKNOWN, Table
from sentinel.model.policy import Policy
from sentinel.model.severity import Severity


@dataclasses.dataclass(frozen=True, slots=True)
class Effective:
    """One setting that is in effect, as people read about it."""

    name: str
    value: str
    origin: str
    """`default`, `FILE:LINE`, or the variable of the environment."""
    digest: str
    """Tells it from another value, also where it is hidden."""

    @property
    def generic(self) -> str:
        """Its name among the `keys`, where tables that people name are called NAME."""
        section, *between, key = self.name.split(".")
        return ".".join([section, *(["NAME"] if between else []), key])

    @classmethod
    def of(cls, name: str, value: Any, origin: str, *, secret: bool) -> Self:
        """Describe a setting as it may be shown."""
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        digest = hashlib.sha256(repr(plain).encode()).hexdigest()[:16]
        return cls(name, _shown(value, secret=secret), origin, digest)


def effective(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Iterator[Effective]:
    """Say what is in effect and where it came from, in the order of the file. Raises ConfigError."""
    file, given, changes = found = read_all(path, env)
    settings, lines = merge(*found), _lines(file) if file else {}
    for section, table in TABLES.items():
        for key, field in table.model_fields.items():
            name, origin = f"{section}.{key}", "default"
            if key in changes.get(section, {}):
                origin = f"{PREFIX}{section}__{key}".upper()
            elif key in given.get(section, {}):
                origin = f"{file}:{lines[name]}" if name in lines else str(file)
            value = getattr(getattr(settings, section), key)
            yield Effective.of(name, value, origin, secret=not field.repr)
    for section, model in NAMED.items():
        for name, named in getattr(settings, section).items():
            given_here = changes.get(section, {}).get(name, {})
            yield from _of_named(f"{section}.{name}", model, named, file, lines, given_here)


def located(line: str, path: Path | None = None, env: Mapping[str, str] = os.environ) -> str:
    """Put before a line that begins with a setting's key where that was given; any other stays as it is."""
    key = re.split("[:;]", line.removeprefix(UNKNOWN), maxsplit=1)[0]
    if key.partition(".")[0] not in SECTIONS:
        return line
    given = [each for each in effective(path, env) if each.origin != "default"]
    while "." in key:
        for each in given:
            if each.name == key or each.name.startswith(f"{key}."):
                return f"{each.origin}: {line}"
        key = key.rpartition(".")[0]
    return line


def _of_named(
    name: str,
    model: type[Table],
    table: Table,
    file: Path | None,
    lines: Mapping[str, int],
    changes: Mapping[str, Any],
) -> Iterator[Effective]:
    """Say what is set of a receiver or a route; what is a kind's own may be a secret, such as an address."""
    for key in sorted(table.model_fields_set):
        full = f"{name}.{key}"
        origin = f"{file}:{lines[full]}" if full in lines else str(file)
        origin = f"{PREFIX}{name.replace('.', '__')}__{key}".upper() if key in changes else origin
        yield Effective.of(full, getattr(table, key), origin, secret=key not in model.model_fields)


_HEADER = re.compile(r"\s*\[\s*([\w-]+(?:\s*\.\s*[\w-]+)?)\s*\]")
_KEY = re.compile(r"\s*([\w-]+(?:\s*\.\s*[\w-]+)?)\s*=")


def _lines(file: Path) -> Mapping[str, int]:
    """Give the line of each key that stands on one of its own, such as `job.world`."""
    found, section = dict[str, int](), ""
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if header := _HEADER.match(line):
            section = re.sub(r"\s", "", header[1]) + "."
        elif key := _KEY.match(line):
            found.setdefault(section + re.sub(r"\s", "", key[1]), number)
    return found


def _shown(value: Any, *, secret: bool) -> str:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text in (None, (), ""):
        return ""
    return "[hidden]" if secret or text is not value else _as_written(value)


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
    """One setting as people read about it."""

    name: str
    default: str
    reason: str


def keys() -> Iterator[Key]:
    """Describe every setting, in the order of the file."""
    tables: dict[str, type[Table]] = {
        **TABLES,
        **{f"{section}.NAME": model for section, model in NAMED.items()},
    }
    for section, table in tables.items():
        reasons = _reasons(Policy if section == "policy" else table)
        for name, field in table.model_fields.items():
            default = field.get_default()
            hidden = isinstance(default, SecretStr) or default in (None, "", ())
            yield Key(f"{section}.{name}", "" if hidden else _as_written(default), reasons[name])


def _as_written(default: Any) -> str:
    """Give a value as the file has it."""
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return str([each.value if isinstance(each, Severity) else each for each in default])
    return str(default)


def _reasons(noun: type) -> dict[str, str]:
    """Give the docstring below each field of a class."""
    [body] = ast.parse(inspect.getsource(noun)).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(text.value.value, str)
    }
