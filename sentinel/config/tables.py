"""Every setting: its table, type, default and reason; a wrong one is one line."""

import dataclasses
import difflib
import json
import socket
from collections.abc import Mapping
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

from sentinel.model.policy import Policy, contradictions
from sentinel.model.severity import Severity

PREFIX = "SENTINEL_"
RESTART = (
    'scancel --me --name "$SENTINEL_JOB"; sbatch --job-name "$SENTINEL_JOB" '
    "${SENTINEL_AVOID:+--exclude=$SENTINEL_AVOID} train.sh"
)
"""A `job.restart_command` for Slurm."""
REBOOT = 'ssh -o BatchMode=yes "$SENTINEL_NODE" sudo systemctl reboot'
"""An `operations.reboot_command` for machines that are reached by ssh."""
_NAME = r"^\w[\w.-]*$"
# Lengths stand beside patterns: a class that is repeated so many times takes 30 ms to compile.
_Host = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$", max_length=253)]
RECOVERY = 154
"""The Xid with which the driver says what it asks for: reset the GPU, reboot, drain, or nothing."""
_LOCAL = ("localhost", "127.0.0.1", "::1")
_T = TypeVar("_T", bound="Table")
_Group = Annotated[str, Field(pattern=r"^@?[\w.-]+$", max_length=81, examples=["sre-oncall"])]
_Signal = Annotated[int, Field(ge=1, le=64)]
_Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64, examples=["gemm"])]
_Xid = Annotated[int, Field(ge=1, le=999)]


def _listed(given: Any) -> Any:
    """Read a list, which the environment gives as `10,15` or as JSON."""
    if isinstance(given, str) and given.startswith("["):
        return tuple(json.loads(given))
    if isinstance(given, str):
        return tuple(part for part in given.split(",") if part.strip())
    return tuple(given) if isinstance(given, list) else given


UNKNOWN = "unknown key "
"""What a line about a key that there is not begins with."""
MOST_NAMES = 16
"""Names that an error lists."""


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
    targets_file: Path | None = None
    """A file that the controller keeps for Prometheus' `file_sd_configs`: what `/sd` says."""
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
    def runbooks_dir(self) -> Path:
        """Where the cluster's own runbooks lie, those in force and drafts; it need not be there."""
        return self.state_dir / "runbooks"

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

    tokens_per_step: float = Field(default=0.0, ge=0)
    """Tokens of one step of all ranks, for the metric of tokens a second; 0: not told."""
    flops_per_step: float = Field(default=0.0, ge=0)
    """Floating-point operations that the model needs for one step of all ranks, for the metric of MFU."""
    peak_flops_per_rank: float = Field(default=0.0, ge=0, examples=[9.89e14])
    """What one rank's GPU could do in a second at most, in the precision that is trained in; for MFU."""

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

    volumes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = Field(
        default=(), examples=["s3://bucket/a"]
    )
    """What each node watches beside `/` and the checkpoints: directories, and object stores' URLs."""

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


class Operations(Table):
    """What Sentinel may do to machines, beside what it does to jobs."""

    reboot_command: str = Field(default="", max_length=4000, examples=[REBOOT])
    """Reboots the node in SENTINEL_NODE, for the rung `reboot` of `policy.repair`; run here, by `sh -c`.

    It ends once the reboot is under way. SENTINEL_REPAIR is the same if it is run again after a restart.
    """
    reboot_within_s: float = Field(default=60.0, ge=1.0, le=3600.0)
    """A command that has not ended by then is killed, and the next rung follows."""

    @property
    def reboot(self) -> tuple[str, float]:
        """The command, and how long it may take."""
        return self.reboot_command, self.reboot_within_s


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
    slack_app_token: SecretStr = SecretStr("")
    """From the environment only: an app-level token, `xapp-…`; with one, Slack's messages have buttons."""
    slack_app_token_file: Path | None = None
    """Read when no app-level token is in the environment; a mounted secret."""
    slack_groups: Annotated[tuple[_Group, ...], BeforeValidator(_listed)] = Field(
        default=(), examples=["sre-oncall", "S0123456789"]
    )
    """User groups of Slack, by handle or id, whose members may press; others are refused."""
    grafana_url: str = Field(
        default="", pattern=r"^(https?://[^\s/@]+(/[^\s?#]*)?)?$", examples=["https://grafana.example.org"]
    )
    """Where Sentinel's dashboards are: messages link to that of the node, or of the run."""
    grafana_token: SecretStr = SecretStr("")
    """From the environment only: a service account's; with one, incidents and evictions are annotations."""
    grafana_token_file: Path | None = None
    """Read when no such token is in the environment; a mounted secret."""
    fallback_after_s: float = Field(default=20.0, gt=0)
    """A page that is not delivered for this long also goes to the fallback: longer than one Retry-After."""
    oncall_file: Path | None = None
    """Who is on call and who is asked next; without one each receiver is told what its routes say."""
    timezone: str = Field(default="UTC", examples=["Europe/Berlin"])
    """In which routes have their hours, days and mornings."""
    morning: str = "09:00"
    """When what a route leaves for the morning is told."""
    workdays: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("mon", "tue", "wed", "thu", "fri")
    """Days that have such a morning, unless they are holidays."""
    digest: str = Field(default="", examples=["07:30"])
    """When, in `timezone`, one message a day says what happened and what waits for people; empty: never."""
    digest_to: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("on-call",)
    """Who gets it, by the names of `[receivers.NAME]`; `on-call` is `[pages]`."""
    weekly: str = Field(default="", examples=["mon 09:00"])
    """When, in `timezone`, the report of the seven whole days before is told, once a week; empty: never."""
    weekly_to: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("on-call",)
    """Who gets that, as `digest_to`."""

    @model_validator(mode="after")
    def _somebody_may_press(self) -> Self:
        has_app = bool(self.slack_app_token.get_secret_value() or self.slack_app_token_file)
        if has_app and not self.slack_groups:
            raise ValueError("slack_groups is empty: name the user groups whose members may press buttons")
        return self

    @model_validator(mode="after")
    def _annotations_go_somewhere(self) -> Self:
        if not self.grafana_url and (self.grafana_token.get_secret_value() or self.grafana_token_file):
            raise ValueError("grafana_url is empty: say where the annotations go")
        return self

    def grafanas_token(self) -> str:
        """Give Grafana's token, empty for none. Raises ConfigError when its file can't be read."""
        if self.grafana_token.get_secret_value() or self.grafana_token_file is None:
            return self.grafana_token.get_secret_value()
        return read_secret("pages.grafana_token_file", self.grafana_token_file)

    def app_token(self) -> str:
        """Give Slack's app-level token, empty for none. Raises ConfigError when its file can't be read."""
        if self.slack_app_token.get_secret_value() or self.slack_app_token_file is None:
            return self.slack_app_token.get_secret_value()
        return read_secret("pages.slack_app_token_file", self.slack_app_token_file)

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
    """`pagerduty`, `alertmanager`, `apprise`, `slack`, `webhook`, or a package's; empty: its name."""
    causes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Whose pages it gets, such as `gpu-*`; empty for all. Sentinel's own troubles are told to everybody."""

    severity: Annotated[tuple[Severity, ...], BeforeValidator(_listed)] = ()
    """Which of `critical`, `warning` and `info` it gets; empty for all."""

    def of(self, name: str, model: type[_T]) -> _T:
        """Give what is its kind's own. Raises ConfigError."""
        return valid("", f"receivers.{name}", model, self.model_extra, strict=False)


class Route(Table):
    """Whom a page is told and when, `[routes.NAME]`: the first that fits. An empty list asks for nothing."""

    receivers: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """For whom it is, by the names of `[receivers.NAME]`; `on-call` is `[pages]`."""
    severity: Annotated[tuple[Severity, ...], BeforeValidator(_listed)] = ()
    """Of `critical`, `warning` and `info`."""
    causes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Such as `gpu-*`."""
    nodes: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """One of those that are suspected, such as `rack7-*`."""
    jobs: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """Such as `run-*`."""
    days: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ()
    """`mon` to `sun`, and `holiday`, which those of `pages.oncall_file` are instead."""
    hours: str = Field(default="", examples=["22:00-07:00"])
    """Of a day in `pages.timezone`; the second is no longer in it."""
    tell: Literal["now", "morning", "never"] = "now"
    """When: at once, at the next `pages.morning` if it is open then, or not at all."""
    repeat_s: float = Field(default=0.0, ge=0, le=86400)
    """Told again this often until somebody acknowledges it or it is over; 0: once."""


def _type_of(field: "dataclasses.Field[Any]") -> Any:
    """Give a policy field's type with its bounds."""
    if (among := field.metadata.get("among")) is not None:
        word: Any = Literal[among] if among else _Word
        return Annotated[tuple.__class_getitem__((word, ...)), BeforeValidator(_listed)]
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


TABLES: Mapping[str, type[Table]] = {
    "cluster": Cluster,
    "ray": Ray,
    "job": Job,
    "checks": Checks,
    "operations": Operations,
    "pages": Pages,
    "policy": _policy_table(),
}


RECEIVERS = "receivers"
"""A section with a table for each of them."""
ROUTES = "routes"
"""The same, in their order."""
NAMED: Mapping[str, type[Table]] = {RECEIVERS: Receiver, ROUTES: Route}
SECTIONS = (*TABLES, *NAMED)


@dataclasses.dataclass(frozen=True, slots=True)
class Settings:
    """All settings of one cluster and its job."""

    cluster: Cluster = dataclasses.field(default_factory=Cluster)
    ray: Ray = dataclasses.field(default_factory=Ray)
    job: Job = dataclasses.field(default_factory=Job)
    checks: Checks = dataclasses.field(default_factory=Checks)
    operations: Operations = dataclasses.field(default_factory=Operations)
    pages: Pages = dataclasses.field(default_factory=Pages)
    receivers: Mapping[str, Receiver] = dataclasses.field(default_factory=dict)
    routes: Mapping[str, Route] = dataclasses.field(default_factory=dict)
    policy: Policy = dataclasses.field(default_factory=Policy)


def validate(where: str, section: str, table: Any, *, strict: bool) -> Table:
    """Read a section's table; `strict`: as a file has types. Raises ConfigError, which says where."""
    model = TABLES.get(section)
    if model is None:
        near = nearest(section, dict.fromkeys(SECTIONS))
        raise ConfigError(f"{where}: unknown section {section!r}{near}")
    for key in ("slack_token", "slack_app_token", "grafana_token"):
        if strict and isinstance(table, dict) and key in table:
            named = f"{PREFIX}PAGES__{key}".upper()
            raise ConfigError(f"{where}: pages.{key}: a secret; give it as {named}")
    return valid(where, section, model, table, strict=strict)


def valid(where: str, section: str, model: type[_T], table: Any, *, strict: bool) -> _T:
    """Read a table as a model has it; `where` may be empty. Raises ConfigError, which begins with it."""
    try:
        return model.model_validate_json(json.dumps(table, default=str), strict=strict)
    except ValidationError as error:
        raise ConfigError(f"{where and f'{where}: '}{_explain(section, model, error)}") from None


def _explain(section: str, model: type[Table], error: ValidationError) -> str:
    first = min(
        error.errors(), key=lambda each: each["type"] != "extra_forbidden"
    )  # a misspelt key is missing, too
    path = ".".join([section, *map(str, first["loc"])])
    if first["type"] == "extra_forbidden":
        return f"{UNKNOWN}{path}{nearest(str(first['loc'][0]), model.model_fields)}"
    if first["type"] == "missing":
        return f"{path}: is missing"
    message = first["msg"][0].lower() + first["msg"][1:]
    if first["type"] == "value_error":
        return f"{path}: {first['ctx']['error']}"
    if first["type"] == "string_pattern_mismatch":
        examples = model.model_fields[str(first["loc"][0])].examples or ()
        message = f"expected something like {' or '.join(map(str, examples))}"
    return f"{path}: {message}, got {first['input']!r:.80}"


def nearest(name: str, known: Mapping[str, Any]) -> str:
    """Say what was meant, or else what is known: of many the nearest."""
    if near := difflib.get_close_matches(name, known, n=1):
        return f"; did you mean {near[0]!r}?"
    if len(known) <= MOST_NAMES:
        return f"; known are {', '.join(known)}"
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.0)
    return f"; the nearest of {len(known)} are {', '.join(near)} (`sentinel config` lists all)"
