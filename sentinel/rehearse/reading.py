"""Reading scenario files: what is wrong is said in one line, with its place, before anything happens."""

import math
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import yaml

from sentinel.checks.host import HostSample
from sentinel.core.commands import COMMANDS
from sentinel.model import action
from sentinel.model.check import GpuSample
from sentinel.model.finding import Finding
from sentinel.model.policy import Policy
from sentinel.model.report import RankBeat
from sentinel.rehearse.scenario import SEAT, Cluster, Expect, Scenario, ScenarioError, changed, known
from sentinel.rehearse.steps import KEYS, Beat, Found, Gpu, Host, StandbyBeat, Step, Stutters
from sentinel.topology import Topology

LIMITS = {"nodes": 20_000, "gpus": 64, "world": 200_000}
RAISES = ("user", "collective", "nan", "miscomputed", "restore", "evicted")
ENDS = re.compile(r"(signal|exit) \d{1,3}|unknown")
ANSWERS = ("ok", "refused", "timeout")
ONE_OF: Mapping[str, Mapping[str, Collection[str]]] = {
    "raise": {"kind": RAISES},
    "raise_on_n": {"kind": RAISES},
    "code_raises": {"kind": RAISES},
    "ports": {"agent": ANSWERS, "raylet": ANSWERS},
    "gcs": {"what": ("lost", "back")},
    "journal": {"what": ("failed", "back")},
    "command": {"name": COMMANDS},
    "fails": {"kinds": action.KINDS},
}
"""Arguments that are one of a few words."""
ONLY_OURS = ("standby_dies", "standby_beat")
"""Steps that happen only to what Sentinel itself starts."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    steps: list[dict[str, Any]]
    id: str = ""
    title: str = ""
    source: str = ""
    right: str = ""
    waits_for: str = ""
    cluster: Cluster = Cluster()
    policy: dict[str, Any] = {}
    expect: Expect = Expect()


_RECORDING = '{"recording":'
"""How a recording begins, also one that was cut."""


def read(path: Path) -> Iterator[Scenario]:
    """Read the scenarios of a file, of which YAML may hold several. Raises ScenarioError."""
    try:
        text = path.read_text(encoding="utf-8")
        if text.startswith(_RECORDING):
            raise ScenarioError(f"{path}: a recording of an incident: `sentinel replay {path}` reads it")
        documents = list(yaml.load_all(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ScenarioError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not documents:
        raise ScenarioError(f"{path}: holds no scenario")
    for number, document in enumerate(documents, 1):
        where = f"{path}, document {number}" if len(documents) > 1 else str(path)
        try:
            yield of_plain(document, path.stem if len(documents) == 1 else f"{path.stem}-{number}")
        except (ScenarioError, msgspec.ValidationError, RecursionError, UnicodeError) as error:
            raise ScenarioError(f"{where}: {' '.join(str(error).split())}") from None


def of_plain(document: Any, name: str) -> Scenario:
    """Build a scenario from its plain form. Raises ScenarioError, ValidationError."""
    file = msgspec.convert(document, _File)
    for key, most in LIMITS.items():
        if not 1 <= getattr(file.cluster, key) <= most:
            raise ScenarioError(f"cluster.{key}: expected 1 to {most}, got {getattr(file.cluster, key)}")
    if file.cluster.world > file.cluster.nodes * file.cluster.gpus:
        raise ScenarioError(f"cluster.world: {file.cluster.world} ranks need more GPUs than the cluster has")
    if file.cluster.restart_command and not file.cluster.watched:
        raise ScenarioError("cluster.restart_command: it starts a watched job again; set watched, too")
    if not 0.01 <= file.cluster.step_s <= 3600:
        raise ScenarioError(f"cluster.step_s: expected 0.01 to 3600, got {file.cluster.step_s}")
    try:
        Topology(file.cluster.topology)
    except ValueError as error:
        raise ScenarioError(f"cluster.topology: {error}") from None
    steps = tuple(_step(f"step {number}", plain, file.cluster) for number, plain in enumerate(file.steps, 1))
    changed(Policy(), file.policy)
    return Scenario(**{**msgspec.structs.asdict(file), "id": file.id or name, "steps": steps})


def _step(where: str, plain: Mapping[str, Any], cluster: Cluster) -> Step:
    if len(plain) != 1:
        raise ScenarioError(f"{where}: expected one key, got {', '.join(map(str, plain)) or 'none'}")
    key, given = next(iter(plain.items()))
    if key not in KEYS:
        raise ScenarioError(f"{where}: unknown step {key!r}; known are {', '.join(KEYS)}")
    noun = KEYS[key]
    arguments = list(given) if isinstance(given, list) else [] if given is None else [given]
    if noun.rest is not None:
        arguments = [*arguments[: noun.rest], arguments[noun.rest :]]
    try:
        step: Step = msgspec.convert(arguments, noun)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{where}, {key}: {error}; it takes {_signature(noun)}") from None
    _check(f"{where}, {key}", key, step, cluster)
    return step


def _signature(noun: type[Step]) -> str:
    names = [field.name for field in msgspec.structs.fields(noun)]
    return f"[{', '.join(names)}{' …' if noun.rest is not None else ''}]"


def _check(where: str, key: str, step: Step, cluster: Cluster) -> None:
    """Check what types cannot. Raises ScenarioError."""
    if key in ONLY_OURS and cluster.watched:
        raise ScenarioError(f"{where}: a watched job has no standbys")
    if key == "starts" and not cluster.watched:
        raise ScenarioError(f"{where}: Sentinel starts this job itself; cluster.watched is not set")
    who = getattr(step, "who", None)
    node = getattr(step, "node", who if isinstance(who, str) else None)
    for name in (*getattr(step, "nodes", ()), *([node] if node is not None else [])):
        _check_node(where, name, cluster)
    rank = getattr(step, "rank", who if isinstance(who, int) else None)
    if rank is not None and not 0 <= rank < cluster.world:
        raise ScenarioError(
            f"{where}: no rank {rank}; the job has {cluster.world} (0 to {cluster.world - 1})"
        )
    for name, allowed in ONE_OF.get(key, {}).items():
        given = getattr(step, name)
        for word in given if isinstance(given, tuple) else (given,):
            if word not in allowed:
                raise ScenarioError(f"{where}: {name} {word!r} is none of {', '.join(allowed)}")
    how = getattr(step, "how", None)
    if how is not None and not ENDS.fullmatch(how):
        raise ScenarioError(f"{where}: {how!r} is no end; expected such as 'signal 9' or 'exit 1'")
    _check_numbers(where, key, step, cluster)
    _check_fields(where, key, step)


def _check_node(where: str, name: str, cluster: Cluster) -> None:
    if seat := SEAT.fullmatch(name):
        if int(seat[1]) < cluster.world:
            return
        raise ScenarioError(f"{where}: no rank {seat[1]}; the job has {cluster.world}")
    if not re.fullmatch(r"n[1-9]\d{0,5}", name) or int(name[1:]) > cluster.nodes:
        raise ScenarioError(f"{where}: no node {name!r}; known are n1 to n{cluster.nodes}, and rank0 …")


def _check_numbers(where: str, key: str, step: Step, cluster: Cluster) -> None:
    bounds = {
        "seconds": (0.0, 86_400.0 * 365),
        "factor": (0.01, 1e6),
        "stopped_s": (0.0, 3600.0),
        "every_s": (0.01, 3600.0),
        "count": (1, 1_000_000),
        "steps": (1, 1_000_000),
        "index": (0, cluster.gpus - 1),
        "xid": (0, 9999),
        "for_s": (0.0, 86_400.0 * 30),
    }
    if key == "submit":
        bounds |= {"world": (1, cluster.nodes * cluster.gpus), "standbys": (0, cluster.gpus)}
    if isinstance(step, Stutters) and not step.stopped_s < step.every_s:
        raise ScenarioError(f"{where}: stopped_s is {step.stopped_s}; expected less than every_s")
    for name, (least, most) in bounds.items():
        value = getattr(step, name, None)
        if value is not None and not (math.isfinite(value) and least <= value <= most):
            raise ScenarioError(f"{where}: {name} is {value}; expected {least:g} to {most:g}")


def _check_fields(where: str, key: str, step: Step) -> None:
    """Check the fields that a step sets in somebody else's noun."""
    nouns = {"gpu": GpuSample, "host": HostSample, "beat": RankBeat, "standby_beat": RankBeat}
    try:
        match step:
            case Gpu(fields=fields) | Host(fields=fields) | Beat(fields=fields) | StandbyBeat(fields=fields):
                known(fields, nouns[key], where)
                hints = get_type_hints(nouns[key])
                for name, value in fields.items():
                    msgspec.convert({name: value}, Mapping[str, hints[name]])  # type: ignore[valid-type]
            case Found(finding=finding):
                known(finding, Finding, where)
                msgspec.convert(finding, Finding)
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{where}: {error}") from None
