"""`sentinel.toml` and the environment → frozen settings; a wrong key or type is a one-line error."""

import ast
import dataclasses
import difflib
import hashlib
import inspect
import json
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    create_model,
    field_validator,
    model_validator,
)

from sentinel import private
from sentinel.model.policy import Policy, contradictions
from sentinel.model.severity import Severity

PREFIX = "SENTINEL_"
FILE = "sentinel.toml"
SYSTEM_FILE = Path("/etc/sentinel") / FILE
"""Where a service has its settings: taken where no file is named and none lies here."""
RESTART = (
    'scancel --me --name "$SENTINEL_JOB"; sbatch --job-name "$SENTINEL_JOB" '
    "${SENTINEL_AVOID:+--exclude=$SENTINEL_AVOID} train.sh"
)
"""A `job.restart_command` for Slurm."""
_NAME = r"^\w[\w.-]*$"
_Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,253}$")]
RECOVERY = 154
"""The Xid with which the driver says what it asks for: reset the GPU, reboot, drain, or nothing."""
_LOCAL = ("localhost", "127.0.0.1", "::1")
_T = TypeVar("_T", bound="Table")
_Signal = Annotated[int, Field(ge=1, le=64)]
_Xid = Annotated[int, Field(ge=1, le=999)]


def _listed(given: Any) -> Any:
    """Read a list, which the environment gives as `10,15` or as JSON."""
    if isinstance(given, str) and given.startswith("["):
        return tuple(json.loads(given))
    if isinstance(given, str):
        return tuple(part for part in given.split(",") if part.strip())
    return tuple(given) if isinstance(given, list) else given


class ConfigError(ValueError):
    """A setting is wrong; one line says where it was given, its key and what is expected."""


class Table(BaseModel):
    """One table of the file: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Cluster(Table):
    """The cluster that one controller watches."""

    name: str = Field(default="sentinel", pattern=_NAME, examples=["blue"])
    """Named in pages and metrics, so that two clusters can share a channel."""
    backend: str = Field(default="ray", pattern=r"^[A-Za-z_][\w.]*$", examples=["ray"])
    """What places work on its nodes: a folder of `sentinel.backends`, or a module of your own."""
    state_dir: Path = Path("/var/lib/sentinel")
    """Journal, logbook, token and key of the controller; a local disk, for SQLite's WAL needs one."""
    memory_dir: Path = Path("/dev/shm")  # noqa: S108 - shared memory is the point, files in it are private
    """Heartbeat records and memory snapshots: memory that outlives the process that wrote it."""
    bind: str = "127.0.0.1"
    """Address of the head node that agents and browsers connect to; the default keeps everybody else out."""
    report_port: int = Field(default=7801, ge=1, le=65535)
    """Agents report here."""
    web_port: int = Field(default=7800, ge=1, le=65535)
    """Status, logbook, metrics and control API."""
    web_hosts: Annotated[tuple[_Host, ...], BeforeValidator(_listed)] = Field(
        default=(), examples=["sentinel.example.org"]
    )
    """Further names that browsers call it by, such as a proxy's; any other but its own is refused."""
    agent_metrics_port: int = Field(default=0, ge=0, le=65535, examples=[7802])
    """Metrics of the agents that Sentinel starts; 0: each takes a free port, which its agent.json tells."""
    expected_gpus: int | None = Field(default=None, ge=0)
    """GPUs that each node with such an agent should have; without it as many as it first saw."""
    topology: Path | None = None
    """A file that says in which rack, on which power feed and the like nodes are, by their names."""
    dead_man_switch: str = Field(
        default="",
        repr=False,
        pattern=r"^(https?://([^\s/@]+@)?[\w.-]+(:\d+)?(/\S*)?)?$",
        examples=["https://example.org/ping/blue"],
    )
    """A URL that the watchdog posts to each minute; whoever runs it pages when the posts stop."""

    @field_validator("bind")
    @classmethod
    def _is_one_address(cls, bind: str) -> str:
        if bind in ("", "*", "0.0.0.0"):  # noqa: S104
            raise ValueError(f"agents connect to it, so give the head node's own address, not {bind!r}")
        if ":" in bind or "/" in bind:
            raise ValueError(f"expected an IPv4 address or a host name, got {bind!r}")
        return bind

    @model_validator(mode="after")
    def _has_two_ports(self) -> Self:
        if self.report_port == self.web_port:
            raise ValueError(f"report_port and web_port must differ, both are {self.web_port}")
        return self

    @property
    def web_url(self) -> str:
        """Where the controller's pages are."""
        return f"http://{self.bind}:{self.web_port}"

    def names(self) -> frozenset[str]:
        """Give the names by which the pages may be asked for."""
        return frozenset({self.bind, *_LOCAL, socket.gethostname(), *self.web_hosts})

    @property
    def keys_dir(self) -> Path:
        """Where the key files lie; agents need a copy of some of them."""
        return self.state_dir / "keys"


class Ray(Table):
    """How the controller's hands reach Ray."""

    address: str = Field(
        default="auto", pattern=r"^(auto|[^\s/]+:\d{1,5})$", examples=["auto", "10.0.0.1:6379"]
    )
    """The GCS, `host:port`; with `auto`, the one of this machine, it is neither watched nor restarted."""


class Job(Table):
    """The job to keep alive."""

    name: str = Field(default="train", pattern=_NAME, examples=["run-7"])
    """Named in pages, metrics and the logbook."""
    trainable: str = Field(
        default="sentinel.trainer.moe_trainer:MoeTrainer", pattern=r"^[\w.]+:\w+$", examples=["pack.job:Job"]
    )
    """`module:name` of the Trainable, as Ray's workers can import it; the default is the bundled model."""
    trainer_config: Path | None = None
    """Handed to the trainable as it is; without one it takes its own defaults."""
    world: int = Field(default=2, ge=0)
    """Ranks; 0 for no job: then the nodes are watched, and no rank is started."""
    min_world: int = Field(default=1, ge=1)
    """Without a spare the job shrinks down to this many ranks, and below it waits for a human."""
    priority: int = 0
    """Of jobs that want the same GPUs the one with the highest gets them; none that runs is preempted."""
    standbys: int = Field(default=1, ge=0)
    """Warm processes per node; each costs host memory, none costs seconds of import when a rank dies."""
    snapshot_every: int = Field(default=1, ge=1)
    """Steps between memory snapshots: at most this many are lost with a rank."""
    checkpoint_every: int = Field(default=50, ge=1)
    """Steps between durable checkpoints: lost only when a snapshot and its peer copy are."""
    checkpoint_dir: Path = Path("checkpoints")
    """A volume that all nodes share."""
    collective_timeout_s: float = Field(default=600.0, gt=0)
    """Only a backstop: a hang is found by heartbeats long before a collective times out."""
    lease_s: float = Field(default=10.0, gt=0)
    """A rank without progress stops itself when its node has not heard the controller for this long."""
    backend: Literal["auto", "gloo", "nccl"] = "auto"
    """`auto` takes nccl where ranks have a GPU."""

    restart_command: str = Field(default="", examples=[RESTART])
    """Starts a job that Sentinel did not start again, and ends what is left of it; needs `world` 0.

    Under Slurm `scancel --me --name "$SENTINEL_JOB"; sbatch --job-name "$SENTINEL_JOB"
    ${SENTINEL_AVOID:+--exclude=$SENTINEL_AVOID} train.sh`: with no node to avoid there is no `--exclude`.
    """
    restart_within_s: float = Field(default=60.0, gt=0)
    """The restart command is killed when it has not ended by then: it leaves the job running behind it."""

    @model_validator(mode="after")
    def _can_start(self) -> Self:
        if self.restart_command and self.world:
            raise ValueError("restart_command is for a job that Sentinel does not start, which has world = 0")
        if self.min_world > self.world > 0:
            raise ValueError(f"min_world must not be above world, {self.world}")
        return self


class Checks(Table):
    """Where an operator knows better than a check's table."""

    xid_fatal: Annotated[tuple[_Xid, ...], BeforeValidator(_listed)] = Field(default=(), examples=["31"])
    """Xids that evict their node here, whatever NVIDIA's table says, but those of strangers' processes."""
    xid_ignored: Annotated[tuple[_Xid, ...], BeforeValidator(_listed)] = Field(default=(), examples=["43"])
    """Xids that mean nothing here: they are kept as events and counted, and match no runbook."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if both := sorted({*self.xid_fatal} & {*self.xid_ignored}):
            raise ValueError(f"xid_fatal and xid_ignored both name {both[0]}")
        if RECOVERY in (*self.xid_fatal, *self.xid_ignored):
            raise ValueError(f"{RECOVERY} stands in no list: its line says itself what the driver asks for")
        return self

    def lists(self) -> Mapping[str, tuple[int, ...]]:
        """Give what agents get of it, by their options."""
        return {"--xid-fatal": self.xid_fatal, "--xid-ignored": self.xid_ignored}


class Pages(Table):
    """Who is woken, and through what."""

    slack_token: SecretStr = SecretStr("")
    """From the environment only, never in the file; without one pages go to the console and a file."""
    slack_token_file: Path | None = None
    """Read when no token is in the environment; a mounted secret."""
    channel: str = "#oncall"
    """One message per incident, details in its thread."""
    fallback_channel: str = ""
    """Taken when the channel does not accept a page; empty: the console and the file."""
    base_url: str = "https://slack.com/api/"
    """Another server that speaks Slack's API, such as the one of the tests."""
    fallback_after_s: float = Field(default=20.0, gt=0)
    """A page that is not delivered for this long also goes to the fallback: longer than one Retry-After."""

    def token(self) -> str:
        """Give the Slack token, empty for none. Raises ConfigError when its file can't be read."""
        if self.slack_token.get_secret_value() or self.slack_token_file is None:
            return self.slack_token.get_secret_value()
        return read_secret("pages.slack_token_file", self.slack_token_file)


def read_secret(key: str, path: Path) -> str:
    """Read the file that a key names. Raises ConfigError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{key}: {error.strerror}: {path}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{key}: is no text: {path}") from None


class Receiver(Table):
    """One more place that gets pages, `[receivers.NAME]`; whatever else stands there is its kind's own."""

    model_config = ConfigDict(extra="allow")

    kind: str = Field(default="", pattern=r"^\w*$", examples=["webhook"])
    """`webhook`, `slack`, or what an installed package offers; empty: its name says it."""
    causes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Whose pages it gets, such as `gpu-*`; empty for all. Sentinel's own troubles are told to everybody."""

    severity: Annotated[tuple[Severity, ...], BeforeValidator(_listed)] = ()
    """Which of `critical`, `warning` and `info` it gets; empty for all."""

    def of(self, name: str, model: type[_T]) -> _T:
        """Give what is its kind's own. Raises ConfigError."""
        return _valid("settings", f"receivers.{name}", model, self.model_extra, strict=False)


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


def _type_of(field: "dataclasses.Field[Any]") -> Any:
    """Give a policy field's type with its bounds."""
    if isinstance(field.default, tuple):
        return Annotated[tuple[_Signal, ...], BeforeValidator(_listed)]
    return Annotated[field.type, Field(ge=field.metadata.get("least"), le=field.metadata.get("most"))]


class _Numbers(Table):
    """Numbers of a policy, each within its bounds, that can be meant together."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if wrong := next(contradictions(self.policy()), ""):
            raise ValueError(wrong)
        return self

    def policy(self) -> Policy:
        """Give them to whoever decides."""
        return Policy(**self.model_dump())


def _policy_table() -> type[_Numbers]:
    fields: dict[str, Any] = {
        field.name: (_type_of(field), field.default) for field in dataclasses.fields(Policy)
    }
    return create_model("PolicyTable", __base__=_Numbers, **fields)


_TABLES: Mapping[str, type[Table]] = {
    "cluster": Cluster,
    "ray": Ray,
    "job": Job,
    "checks": Checks,
    "pages": Pages,
    "policy": _policy_table(),
}


RECEIVERS = "receivers"
"""A section with a table for each of them."""
SECTIONS = (*_TABLES, RECEIVERS)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one cluster and its job."""

    cluster: Cluster = dataclasses.field(default_factory=Cluster)
    ray: Ray = dataclasses.field(default_factory=Ray)
    job: Job = dataclasses.field(default_factory=Job)
    checks: Checks = dataclasses.field(default_factory=Checks)
    pages: Pages = dataclasses.field(default_factory=Pages)
    receivers: Mapping[str, Receiver] = dataclasses.field(default_factory=dict)
    policy: Policy = dataclasses.field(default_factory=Policy)


def load(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Settings:
    """Read a file and the environment, which wins.

    Without a path: `SENTINEL_CONFIG`, or else `sentinel.toml` here, or else that in /etc/sentinel, or else
    defaults. Raises ConfigError.
    """
    return _settings(*_given(path, env))


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


def _given(path: Path | None, env: Mapping[str, str]) -> tuple[Path | None, dict[str, Any], dict[str, Any]]:
    """Give the file, what it says, and what the environment says."""
    named = _named(path, env)
    file = named or _found()
    given = _read(file, is_named=named is not None) if file else {}
    for section, table in given.items():
        if section == RECEIVERS:
            _receivers(str(file), table)
        else:
            _validate(str(file), section, table, strict=True)
    return file, given, _environment(env)


def _settings(_: Path | None, given: Mapping[str, Any], changes: Mapping[str, Any]) -> Settings:
    tables: dict[str, Any] = {}
    for section in _TABLES:
        if merged := {**given.get(section, {}), **changes.get(section, {})}:
            tables[section] = _validate("environment", section, merged, strict=False)
    if "policy" in tables:
        tables["policy"] = tables["policy"].policy()
    tables[RECEIVERS] = _receivers("environment", _joined(given, changes))
    return Settings(**tables)


def _joined(given: Mapping[str, Any], changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give each receiver's table, in which the environment wins key by key."""
    old, new = given.get(RECEIVERS, {}), changes.get(RECEIVERS, {})
    return {name: {**old.get(name, {}), **new.get(name, {})} for name in {**old, **new}}


def _receivers(where: str, tables: Any) -> Mapping[str, Receiver]:
    if not isinstance(tables, dict):
        raise ConfigError(f"{where}: {RECEIVERS}: expected a table for each, such as [receivers.webhook]")
    for name in tables:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,30}", name):
            raise ConfigError(
                f"{where}: {RECEIVERS}.{name}: expected a name in small letters, such as webhook"
            )
    return {
        name: _valid(where, f"{RECEIVERS}.{name}", Receiver, table, strict=False)
        for name, table in tables.items()
    }


@dataclasses.dataclass(frozen=True, slots=True)
class Effective:
    """One setting that is in effect, as people read about it."""

    name: str
    value: str
    origin: str
    """`default`, `FILE:LINE`, or the variable of the environment."""
    digest: str
    """Tells it from another value, also where it is hidden."""

    @classmethod
    def of(cls, name: str, value: Any, origin: str, *, secret: bool) -> Self:
        """Describe a setting as it may be shown."""
        plain = value.get_secret_value() if isinstance(value, SecretStr) else value
        digest = hashlib.sha256(repr(plain).encode()).hexdigest()[:16]
        return cls(name, _shown(value, secret=secret), origin, digest)


def effective(path: Path | None = None, env: Mapping[str, str] = os.environ) -> Iterator[Effective]:
    """Say what is in effect and where it came from, in the order of the file. Raises ConfigError."""
    file, given, changes = found = _given(path, env)
    settings, lines = _settings(*found), _lines(file) if file else {}
    for section, table in _TABLES.items():
        for key, field in table.model_fields.items():
            name, origin = f"{section}.{key}", "default"
            if key in changes.get(section, {}):
                origin = f"{PREFIX}{section}__{key}".upper()
            elif key in given.get(section, {}):
                origin = f"{file}:{lines[name]}" if name in lines else str(file)
            value = getattr(getattr(settings, section), key)
            yield Effective.of(name, value, origin, secret=not field.repr)
    for name, receiver in settings.receivers.items():
        yield from _of_receiver(name, receiver, file, lines, changes.get(RECEIVERS, {}).get(name, {}))


def _of_receiver(
    name: str, receiver: Receiver, file: Path | None, lines: Mapping[str, int], changes: Mapping[str, Any]
) -> Iterator[Effective]:
    """Say what is set of a receiver; what is its kind's own may be a secret, such as an address."""
    for key in sorted(receiver.model_fields_set):
        full = f"{RECEIVERS}.{name}.{key}"
        origin = f"{file}:{lines[full]}" if full in lines else str(file)
        origin = f"{PREFIX}{RECEIVERS}__{name}__{key}".upper() if key in changes else origin
        own = key not in Receiver.model_fields
        yield Effective.of(full, getattr(receiver, key), origin, secret=own)


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
    tables: dict[str, type[Table]] = {**_TABLES, f"{RECEIVERS}.NAME": Receiver}
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
            near = _nearest(section, dict.fromkeys(SECTIONS))
            raise ConfigError(f"environment: {name}: unknown section {section!r}{near}")
        if section == RECEIVERS:
            receiver, _, key = path[0].partition("__")
            if not key:
                raise ConfigError(f"environment: {name}: no setting; expected a key of it, {name}__KEY")
            found.setdefault(section, {}).setdefault(receiver, {})[key] = value
        else:
            found.setdefault(section, {})[path[0]] = value
    return found


def _validate(where: str, section: str, table: Any, *, strict: bool) -> Table:
    model = _TABLES.get(section)
    if model is None:
        near = _nearest(section, dict.fromkeys(SECTIONS))
        raise ConfigError(f"{where}: unknown section {section!r}{near}")
    if strict and isinstance(table, dict) and "slack_token" in table:
        raise ConfigError(f"{where}: pages.slack_token: a secret; give it as {PREFIX}PAGES__SLACK_TOKEN")
    return _valid(where, section, model, table, strict=strict)


def _valid(where: str, section: str, model: type[_T], table: Any, *, strict: bool) -> _T:
    try:
        return model.model_validate_json(json.dumps(table, default=str), strict=strict)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_explain(section, model, error)}") from None


def _explain(section: str, model: type[Table], error: ValidationError) -> str:
    first = error.errors()[0]
    path = ".".join([section, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"unknown key {path}{_nearest(str(first['loc'][0]), model.model_fields)}"
    if first["type"] == "missing":
        return f"{path}: is missing"
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "value_error":
        return f"{path}: {first['ctx']['error']}"
    if first["type"] == "string_pattern_mismatch":
        examples = model.model_fields[str(first["loc"][0])].examples or ()
        message = f"expected something like {' or '.join(map(str, examples))}"
    return f"{path}: {message}, got {first['input']!r:.80}"


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}"
