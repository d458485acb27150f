"""`sentinel dashboards push` against a server that answers as Grafana does."""

import socket
from collections.abc import Iterator

import pytest
from grafana_server import LOKI, MIMIR, PROMETHEUS, TOKEN, Grafana, serving

from sentinel.cli import app
from sentinel.dashboards import build


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    with serving(Grafana()) as one:
        yield one


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    monkeypatch.setenv("COLUMNS", "200")


def push(*words: str) -> int:
    with pytest.raises(SystemExit) as end:
        app(["dashboards", "push", *words])
    return int(end.value.code or 0)


def test_all_of_them_arrive_in_a_folder_with_the_data_source(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push("--url", grafana.url) == 0
    assert grafana.folders == {"sentinel": "Sentinel"}
    assert set(grafana.boards) == {f"sentinel-{name}" for name in build.NAMES}
    for board in grafana.boards.values():
        [source] = [each for each in board["templating"]["list"] if each["type"] == "datasource"]
        assert source["current"] == {"selected": True, "text": "Prometheus", "value": "prom-1"}
    out = capsys.readouterr().out
    assert out.count("new: ") == len(build.NAMES) + 1
    assert f"{grafana.url}/d/sentinel-run" in out


def test_a_second_push_writes_nothing(grafana: Grafana, capsys: pytest.CaptureFixture[str]) -> None:
    push("--url", grafana.url)
    before = list(grafana.writes)
    capsys.readouterr()
    assert push("--url", f"{grafana.url}/") == 0
    assert grafana.writes == before
    assert capsys.readouterr().out.count("unchanged") == len(build.NAMES)


def test_only_what_somebody_changed_is_written_again(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    push("--url", grafana.url)
    grafana.boards["sentinel-run"]["title"] = "Mine"
    before = len(grafana.writes)
    capsys.readouterr()
    assert push("--url", grafana.url) == 0
    assert len(grafana.writes) == before + 1
    assert grafana.boards["sentinel-run"]["title"] == "Run"
    out = capsys.readouterr().out
    assert (out.count("\nchanged: ") + out.startswith("changed: "), out.count("unchanged: ")) == (
        1,
        len(build.NAMES) - 1,
    )


def test_a_dry_run_writes_nothing_and_says_the_same(
    grafana: Grafana, capsys: pytest.CaptureFixture[str]
) -> None:
    assert push("--url", grafana.url, "--dry-run") == 0
    assert grafana.writes == []
    out = capsys.readouterr().out
    assert out.count("new") == len(build.NAMES) + 1
    assert "nothing was done" in out


@pytest.mark.parametrize("wanted", ["Mimir", "mimir-1"])
def test_the_data_source_is_chosen_by_name_or_uid(wanted: str) -> None:
    with serving(Grafana(sources=[LOKI, PROMETHEUS, MIMIR])) as grafana:
        assert push("--url", grafana.url, "--datasource", wanted) == 0
        [source] = [
            each
            for each in grafana.boards["sentinel-run"]["templating"]["list"]
            if each["type"] == "datasource"
        ]
        assert source["current"]["value"] == "mimir-1"


@pytest.mark.parametrize(
    ("grafana", "words", "says"),
    [
        pytest.param(Grafana(release="9.5.2"), [], "Grafana 9.5.2: these dashboards need 11.0", id="old"),
        pytest.param(Grafana(release="10.4.19+security-01"), [], "need 11.0", id="old, with a suffix"),
        pytest.param(Grafana(sources=[LOKI]), [], "no Prometheus data source: add", id="no data source"),
        pytest.param(
            Grafana(sources=[PROMETHEUS, MIMIR]),
            [],
            "say which by --datasource: Prometheus, Mimir",
            id="several, nobody to ask",
        ),
        pytest.param(
            Grafana(),
            ["--datasource", "X"],
            "no Prometheus data source 'X': there are Prometheus",
            id="wrong",
        ),
        pytest.param(Grafana(may_write=False), [], "it needs an Editor's rights", id="a viewer's token"),
        pytest.param(Grafana(provisioned=True), [], "Cannot save provisioned dashboard", id="provisioned"),
        pytest.param(Grafana(fails=500), [], "fails (500): database is locked", id="broken"),
        pytest.param(Grafana(release=""), [], "it names no release", id="something else with JSON"),
        pytest.param(Grafana(html=True), [], "does not answer as a Grafana", id="something else"),
    ],
)
def test_what_can_not_be_done_is_one_line(
    grafana: Grafana, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(grafana):
        assert push("--url", grafana.url, *words) in (1, 2)
    said = capsys.readouterr()
    assert says in said.err
    assert said.err.startswith("sentinel: ")
    assert said.err.count("\n") == 1
    assert grafana.boards == {}


def test_a_wrong_token_is_named_and_not_shown(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFANA_TOKEN", "glsa_wrong")
    assert push("--url", grafana.url) == 1
    err = capsys.readouterr().err
    assert "does not accept the token of GRAFANA_TOKEN: Invalid API key" in err
    assert "glsa_wrong" not in err


@pytest.mark.parametrize("url", ["grafana", "ftp://grafana", "http://", "http://[::1", "http://h:99999999"])
def test_what_is_no_address_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert push("--url", url) == 1
    assert "is no address of a Grafana" in capsys.readouterr().err


def test_without_a_token_nobody_is_asked(
    grafana: Grafana, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("GRAFANA_TOKEN")
    assert push("--url", grafana.url) == 2
    assert "$GRAFANA_TOKEN" in capsys.readouterr().err
    assert grafana.asked == []


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert push("--url", f"http://127.0.0.1:{port}") == 1
    err = capsys.readouterr().err
    assert "does not answer as a Grafana" in err
    assert err.count("\n") == 1
