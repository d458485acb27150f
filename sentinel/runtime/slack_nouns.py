"""What the controller and its ears in Slack tell each other; neither needs the other's libraries for it."""

import msgspec

RESULTS = ("done", "refused", "not-allowed", "failed")
"""What became of a press: a command, refused by the controller, not its presser's, or nobody answered."""


class Task(msgspec.Struct, frozen=True):
    """What the child needs to know; on standard input, for two of it are secrets."""

    parent: int
    app_token: str
    bot_token: str
    base_url: str
    groups: tuple[str, ...]
    host: str
    port: int
    api_token: str
    cluster: str
    journal: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the child tells, a line each: how the connection is, or what became of a press."""

    state: str = ""
    why: str = ""
    press: str = ""
    incident: str = ""
