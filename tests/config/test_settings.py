"""Settings come from a file and the environment, and a wrong one is named in one line."""

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sentinel.config import ConfigError, effective, keys, load, source
from sentinel.model.policy import Policy
from sentinel.model.severity import Severity

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def write(directory: Path, text: str) -> Path:
    file = directory / "sentinel.toml"
    file.write_text(text)
    return file


def test_nothing_given_is_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(env={}).policy == Policy()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "[job]\nworld = 4\nname = 'a'\n[policy]\nsilent_s = 3\n")
    settings = load(file, {"SENTINEL_JOB__WORLD": "8", "SENTINEL_POLICY__OBSERVE_ONLY": "true"})
    assert (settings.job.world, settings.job.name) == (8, "a")
    assert (settings.policy.silent_s, settings.policy.observe_only) == (3.0, True)


def test_a_file_is_found_by_the_environment_or_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, "[cluster]\nname = 'here'\n")
    assert load(env={}).cluster.name == "here"
    other = file.rename(tmp_path / "other.toml")
    assert load(env={"SENTINEL_CONFIG": str(other)}).cluster.name == "here"


def _theirs(file: Path) -> None:
    os.chown(file, 65534, 65534)


def _open(file: Path) -> None:
    file.chmod(0o666)


def _a_link_to_theirs(file: Path) -> None:
    _theirs(file)
    file.symlink_to(file.rename(file.with_name("theirs")))


def test_without_a_named_file_the_one_here_counts_and_then_the_system_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there, named = (tmp_path / name for name in ("here", "etc", "named"))
    for folder in (here, there, named):
        folder.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr("sentinel.config.reading.SYSTEM_FILE", there / "sentinel.toml")
    assert load(env={}).cluster.name == "sentinel"
    assert source(env={}).startswith("the defaults: neither ./sentinel.toml nor ")
    of_system = write(there, "[cluster]\nname = 'system'\n")
    assert (load(env={}).cluster.name, source(env={})) == ("system", str(of_system))
    write(here, "[cluster]\nname = 'here'\n")
    assert (load(env={}).cluster.name, source(env={})) == ("here", "sentinel.toml")
    env = {"SENTINEL_CONFIG": str(write(named, "[cluster]\nname = 'env'\n"))}
    assert (load(env=env).cluster.name, source(env=env)) == (
        "env",
        f"{env['SENTINEL_CONFIG']}, as SENTINEL_CONFIG says",
    )
    assert (load(of_system, env).cluster.name, source(of_system, env)) == (
        "system",
        f"{of_system}, as --config says",
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
def test_a_system_file_that_others_can_write_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "etc").mkdir()
    file = write(tmp_path / "etc", "[cluster]\nname = 'theirs'\n")
    monkeypatch.setattr("sentinel.config.reading.SYSTEM_FILE", file)
    _open(file)
    with pytest.raises(ConfigError, match="others can write to"):
        load(env={})


def _their_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)
    _theirs(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
@pytest.mark.parametrize("left", [_theirs, _open, _a_link_to_theirs, _their_pipe])
@pytest.mark.timeout(30)
def test_a_file_that_somebody_else_left_where_a_command_is_given_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: Callable[[Path], None]
) -> None:
    """It would say who is told the API's token, and whose code runs."""
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path, "[cluster]\nname = 'theirs'\n")
    left(file)
    with pytest.raises(
        ConfigError, match=f"sentinel.toml .*`--config {file}`, if it is to count$"
    ) as refused:
        load(env={})
    assert "\n" not in str(refused.value)
    if left is not _their_pipe:
        assert (
            load(file, {}).cluster.name == load(env={"SENTINEL_CONFIG": str(file)}).cluster.name == "theirs"
        )


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("[job]\nwrold = 3", "unknown key job.wrold; did you mean 'world'?", id="unknown key"),
        pytest.param(
            "[policy]\nsilent = 3", "unknown key policy.silent; did you mean 'silent_s'?", id="policy key"
        ),
        pytest.param("[jbo]\nworld = 3", "unknown section 'jbo'; did you mean 'job'?", id="unknown section"),
        pytest.param(
            "[job]\nworld = '3'", "job.world: input should be a valid integer, got '3'", id="wrong type"
        ),
        pytest.param(
            "[job]\nworld = true", "job.world: input should be a valid integer, got True", id="bool"
        ),
        pytest.param(
            "[job]\nbackend = 'mpi'", "job.backend: input should be 'auto', 'gloo' or 'nccl'", id="choice"
        ),
        pytest.param('[job]\nworld = 2\nrestart_command = "x"', "which has world = 0", id="two who start it"),
        pytest.param(
            "[job]\nworld = 2\nmin_world = 3", "min_world must not be above world, 2", id="contradiction"
        ),
        pytest.param("[policy]\nsilent_s = -1", "policy.silent_s: input should be greater", id="negative"),
        pytest.param(
            "[policy]\nsilent_s = nan", "policy.silent_s: input should be a finite number", id="nan"
        ),
        pytest.param(
            "[ray]\naddress = 'head:gcs'", "ray.address: expected something like auto or 10", id="no port"
        ),
        pytest.param(
            "[cluster]\ndead_man_switch = 'http://[up'",
            "cluster.dead_man_switch: expected something like https:",
            id="no url",
        ),
        pytest.param("[pages]\nslack_token = 'x'", "SENTINEL_PAGES__SLACK_TOKEN", id="secret in the file"),
        pytest.param("[pages]\nslack_app_token = 'x'", "PAGES__SLACK_APP_TOKEN", id="another secret"),
        pytest.param("[pages]\nslack_app_token_file = 'x'", "pages: slack_groups is empty", id="no group"),
        pytest.param("[pages]\nslack_groups = ['a b']", "expected something like sre-oncall", id="a group"),
        pytest.param("[pages]\ngrafana_url = 'grafana'", "pages.grafana_url: expected", id="no address"),
        pytest.param("[cluster]\nbind = '0.0.0.0'", "cluster.bind: agents connect to it", id="any address"),
        pytest.param("[cluster]\nbind = 'fd00::1'", "cluster.bind: expected an IPv4 address", id="IPv6"),
        pytest.param("[cluster]\nreport_port = 7800", "must differ, both are 7800", id="one port for two"),
        pytest.param("[cluster]\nname = 'a/b'", "cluster.name: expected something like blue", id="a path"),
        pytest.param("[job]\nname = ''", "job.name: expected something like run-7", id="no name"),
        pytest.param("[policy]\nevict_share = 34", "policy.evict_share: input should be less", id="percent"),
        pytest.param("job = 3", "job: input should be an object, got 3", id="no table"),
        pytest.param("[job", "is not TOML", id="not toml"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(ConfigError) as error:
        load(file, {})
    assert says in str(error.value)
    assert str(error.value).startswith(str(file))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        pytest.param("SENTINEL_JOB__WORLD", "job.world: input should be a valid integer", id="wrong type"),
        pytest.param("SENTINEL_JOB__WRLD", "unknown key job.wrld; did you mean 'world'?", id="unknown key"),
        pytest.param("SENTINEL_JBO__WORLD", "unknown section 'jbo'", id="unknown section"),
        pytest.param("SENTINEL_JOB__WORLD__X", "unknown key job.world__x", id="a key of a key"),
        pytest.param(
            "SENTINEL_RECEIVERS__WEBHOOK",
            "SENTINEL_RECEIVERS__WEBHOOK: no setting; expected a key of it, SENTINEL_RECEIVERS__WEBHOOK__KEY",
            id="a whole receiver",
        ),
        pytest.param("SENTINEL_JOB_WORLD", "did you mean SENTINEL_JOB__WORLD", id="one underscore"),
    ],
)
def test_a_wrong_environment_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match="environment") as error:
        load(write(tmp_path, ""), {name: "x"})
    assert says in str(error.value)


def test_a_missing_file_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", {})


def test_the_slack_token_is_never_printed(tmp_path: Path) -> None:
    settings = load(write(tmp_path, ""), {"SENTINEL_PAGES__SLACK_TOKEN": "xoxb-secret"})
    assert settings.pages.token() == "xoxb-secret"
    assert "secret" not in repr(settings)


def test_the_app_level_token_is_never_printed_and_may_lie_in_a_file(tmp_path: Path) -> None:
    token, groups = tmp_path / "token", "[pages]\nslack_groups = ['oncall']\n"
    file = write(tmp_path, groups)
    env = {"SENTINEL_PAGES__SLACK_APP_TOKEN": "xapp-secret"}
    assert load(file, env).pages.app_token() == "xapp-secret"
    shown = {each.name: each.value for each in effective(file, env)}
    assert shown["pages.slack_app_token"] == "[hidden]"
    assert "secret" not in repr(load(file, env))
    token.write_text("xapp-other\n")
    settings = load(write(tmp_path, f"{groups}slack_app_token_file = '{token}'\n"), {})
    assert settings.pages.app_token() == "xapp-other"
    token.unlink()
    with pytest.raises(ConfigError, match=r"pages\.slack_app_token_file: No such file"):
        settings.pages.app_token()


def test_the_slack_token_may_lie_in_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    settings = load(write(tmp_path, f"[pages]\nslack_token_file = '{token}'\n"), {})
    with pytest.raises(ConfigError, match="slack_token_file"):
        settings.pages.token()
    token.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="slack_token_file: is no text"):
        settings.pages.token()
    token.write_text("xoxb-1\n")
    assert settings.pages.token() == "xoxb-1"


def test_every_setting_has_a_reason() -> None:
    assert [key.name for key in keys() if not key.reason] == []


def test_the_manual_lists_every_setting_with_its_default_and_reason() -> None:
    rows = re.findall(
        r"^\| `(\w+(?:\.\w+)+)` \|\s*(?:`(.*?)`)?\s*\| (.*) \|$", OPERATING.read_text(), re.MULTILINE
    )
    assert rows == [(key.name, key.default, key.reason) for key in keys()]


@pytest.mark.parametrize(
    ("name", "given", "value"),
    [
        ("CLUSTER__WEB_HOSTS", "a.example,b.example", ("a.example", "b.example")),
        ("POLICY__ENDING_SIGNALS", "10,15", (10, 15)),
        ("POLICY__ENDING_SIGNALS", "", ()),
        ("POLICY__ENDING_SIGNALS", "[10, 15]", (10, 15)),
        ("CLUSTER__WEB_HOSTS", '["a.example"]', ("a.example",)),
    ],
)
def test_a_list_in_the_environment_has_commas_or_is_json(
    name: str, given: str, value: tuple[object, ...]
) -> None:
    section, key = name.lower().split("__")
    assert getattr(getattr(load(env={f"SENTINEL_{name}": given}), section), key) == value


@pytest.mark.parametrize("given", ["[10,", "[x]", "[[1]]"])
def test_a_wrong_list_in_the_environment_is_refused_in_one_line(given: str) -> None:
    with pytest.raises(ConfigError, match=r"policy\.ending_signals") as error:
        load(env={"SENTINEL_POLICY__ENDING_SIGNALS": given})
    assert "\n" not in str(error.value)


def test_a_list_in_the_file_is_a_list(tmp_path: Path) -> None:
    file = write(tmp_path, "[cluster]\nweb_hosts = ['a.example']\n[policy]\nending_signals = [15]\n")
    settings = load(file, env={})
    assert (settings.cluster.web_hosts, settings.policy.ending_signals) == (("a.example",), (15,))


RECEIVERS = """
[receivers.webhook]
url = "http://example.org/s3cret"

[receivers.storage-team]
kind = "slack"
causes = ["disk-*"]
"""


def test_receivers_have_a_table_each_and_the_environment_wins_key_by_key(tmp_path: Path) -> None:
    env = {"SENTINEL_RECEIVERS__WEBHOOK__CAUSES": "gpu-*,nan"}
    found = load(write(tmp_path, RECEIVERS), env).receivers
    assert list(found) == ["webhook", "storage-team"]
    assert (found["storage-team"].kind, found["storage-team"].causes) == ("slack", ("disk-*",))
    assert found["webhook"].causes == ("gpu-*", "nan")
    assert found["webhook"].model_extra == {"url": "http://example.org/s3cret"}


def test_a_receiver_s_severities_are_read_and_shown_as_they_are_written(tmp_path: Path) -> None:
    path = write(tmp_path, "[receivers.webhook]\nseverity = ['critical', 'warning']")
    assert load(path, {}).receivers["webhook"].severity == (Severity.CRITICAL, Severity.WARNING)
    shown = {each.name: each.value for each in effective(path, {})}
    assert shown["receivers.webhook.severity"] == "['critical', 'warning']"
    env = {"SENTINEL_RECEIVERS__WEBHOOK__SEVERITY": "critical"}
    assert load(path, env).receivers["webhook"].severity == (Severity.CRITICAL,)


def test_what_is_a_receiver_s_own_is_not_shown(tmp_path: Path) -> None:
    env = {"SENTINEL_RECEIVERS__WEBHOOK__CAUSES": "nan"}
    path = write(tmp_path, RECEIVERS)
    shown = {each.name: (each.value, each.origin) for each in effective(path, env)}
    assert shown["receivers.webhook.url"] == ("[hidden]", f"{path}:3")
    assert shown["receivers.webhook.causes"] == ("['nan']", "SENTINEL_RECEIVERS__WEBHOOK__CAUSES")
    assert shown["receivers.storage-team.kind"] == ("slack", f"{path}:6")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("receivers = 3", "receivers: expected a table for each"),
        ("[receivers]\nwebhook = 3", "receivers.webhook: "),
        ("[receivers.'../x']", "receivers.../x: expected a name in small letters"),
        ("[receivers.webhook]\ncauses = 3", "receivers.webhook.causes: "),
        (
            "[receivers.webhook]\nseverity = ['high']",
            "receivers.webhook.severity.0: input should be 'critical', 'warning' or 'info', got 'high'",
        ),
        ("[receivers.webhook]\nseverity = 1", "receivers.webhook.severity: "),
    ],
)
def test_a_wrong_receiver_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)) as error:
        load(write(tmp_path, text), {})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ("xid_fatal = [31, 13]\nxid_ignored = [43, 13]", "checks: xid_fatal and xid_ignored both name 13"),
        (
            "xid_ignored = [154]",
            "checks: 154 stands in no list: its line says itself what the driver asks for",
        ),
        ("xid_fatal = [0]", "checks.xid_fatal.0: input should be greater than or equal to 1, got 0"),
        ("xid_fatal = ['X31']", "checks.xid_fatal.0: input should be a valid integer, got 'X31'"),
    ],
)
def test_lists_of_xids_that_contradict_each_other_are_refused(tmp_path: Path, lists: str, said: str) -> None:
    file = write(tmp_path, f"[checks]\n{lists}\n")
    with pytest.raises(ConfigError) as error:
        load(file, {})
    assert str(error.value) == f"{file}: {said}"


def test_lists_of_xids_come_from_file_and_environment(tmp_path: Path) -> None:
    file = write(tmp_path, "[checks]\nxid_fatal = [31, 13]\n")
    checks = load(file, {"SENTINEL_CHECKS__XID_IGNORED": "43,45"}).checks
    assert (checks.xid_fatal, checks.xid_ignored) == ((31, 13), (43, 45))
