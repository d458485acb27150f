"""Ray as a back end: all that imports Ray or speaks to it."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sentinel.backends.port import Backend
    from sentinel.backends.ray.raylet import RayletWatch
    from sentinel.config import Settings


def connect(settings: "Settings") -> "Backend":
    """Give Ray's ports: both go through one link."""
    from sentinel.backends.port import Backend
    from sentinel.backends.ray.gang import RayGang
    from sentinel.backends.ray.link import Link
    from sentinel.backends.ray.nodes import RayNodes

    state_dir = settings.cluster.state_dir
    link = Link(settings.ray.address, state_dir)
    return Backend(RayNodes(link, settings.ray.address, state_dir / "gcs.json"), RayGang(link))


def unready(settings: "Settings", *, token: bool = False) -> str:
    """Say why no Ray answers, and what to type; empty if one does. `token`: nor, if it refuses ours."""
    from sentinel.backends.ray import gcs

    address = settings.ray.address
    given = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    known = [given] if ":" in given else gcs.local()
    answers = {each: gcs.alive(each) for each in known}
    if "ok" in answers.values():
        first = next(each for each, answer in answers.items() if answer == "ok")
        return gcs.refuses_token(first) if token else ""
    answered = (
        ", ".join(f"{each}: {answer}" for each, answer in answers.items()) or "no Ray runs on this machine"
    )
    port = given.rpartition(":")[2] or "6379"
    return (
        f"no Ray answers at ray.address {address} ({answered}): "
        f"start it with `ray start --head --port={port}`, or set ray.address"
    )


def daemon(address: str, *, was_seen: bool) -> "RayletWatch":
    """Watch the raylet of the node of this address."""
    from sentinel.backends.ray.raylet import RayletWatch

    return RayletWatch(address, was_seen=was_seen)
