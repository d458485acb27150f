"""The manifest of Slack's app asks for what the code calls, and for nothing else."""

import re
from pathlib import Path

import yaml

import sentinel

ROOT = Path(sentinel.__file__).parent
MANIFEST = ROOT.parent / "docs" / "slack-app.yaml"
NEEDS = {
    "chat.postMessage": {"chat:write"},
    "chat.update": {"chat:write"},
    "chat.postEphemeral": {"chat:write"},
    "conversations.history": {"channels:history", "groups:history"},
    "conversations.replies": {"channels:history", "groups:history"},
    "conversations.list": {"channels:read", "groups:read"},
    "usergroups.list": {"usergroups:read"},
    "usergroups.users.list": {"usergroups:read"},
    "views.open": set[str](),
    "apps.connections.open": set[str](),
}
"""Scopes of the bot's token, as https://docs.slack.dev/reference/methods has them."""


def test_it_has_the_scopes_of_what_is_called_and_the_command() -> None:
    files = [*(ROOT / "adapters").rglob("slack*.py"), *(ROOT / "runtime").glob("*.py")]
    called = re.compile(r'"((?:chat|conversations|usergroups|views|apps)\.[\w.]+)"')
    methods = {name for file in files for name in called.findall(file.read_text())}
    assert methods == set(NEEDS), "say which scope it needs, here and in the manifest"
    manifest = yaml.safe_load(MANIFEST.read_text())
    scopes = set(manifest["oauth_config"]["scopes"]["bot"])
    assert scopes == set[str]().union(*NEEDS.values()) | {"commands"}
    assert [each["command"] for each in manifest["features"]["slash_commands"]] == ["/sentinel"]
    assert manifest["settings"]["socket_mode_enabled"]
    assert manifest["settings"]["interactivity"]["is_enabled"]
    assert not manifest["settings"]["token_rotation_enabled"], "a token that ends needs somebody to renew it"
