"""The controller's end of the ray link says why Ray can't be asked."""

import asyncio
from pathlib import Path

import pytest

from sentinel.backends.port import NOT_YET
from sentinel.backends.ray.hands import _trains
from sentinel.backends.ray.link import Link, LinkError
from sentinel.backends.ray.requests import Nodes

HEAD = "node:__internal_head__"


def test_a_link_that_cannot_join_ray_says_why(tmp_path: Path) -> None:
    async def trouble() -> str:
        link = Link("nonsense", tmp_path)
        assert link.trouble == "nonsense has not answered yet"
        running = asyncio.create_task(link.run())
        try:
            async with asyncio.timeout(60.0):
                while "ValueError" not in link.trouble:
                    await asyncio.sleep(0.05)
            with pytest.raises(LinkError, match="nodes: no answer within 0 s: ValueError: Invalid address"):
                await link.ask(Nodes(), timeout=0.1)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        return link.trouble

    assert "\n" not in asyncio.run(trouble())


@pytest.mark.parametrize(
    ("resources", "trains"),
    [({"CPU": 8.0}, True), ({HEAD: 1.0, "CPU": 8.0}, False), ({HEAD: 1.0, "GPU": 1.0}, True)],
)
def test_rays_head_trains_if_it_has_gpus(resources: dict[str, float], trains: bool) -> None:
    assert _trains(resources) is trains


def test_a_token_that_ray_refuses_is_told_while_the_link_still_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray's client tells its log alone, and tries on."""
    log = tmp_path / "ray-link.log"
    log.write_text("an earlier link: InvalidAuthToken: of yesterday\n")
    link = Link("10.0.0.1:6379", tmp_path)

    async def scenario() -> None:
        hearing = asyncio.create_task(link._hear_refusal(log.stat().st_size))
        await asyncio.sleep(0)
        assert link.trouble.endswith(NOT_YET)
        with log.open("a") as out:
            out.write("E gcs_client.cc: InvalidAuthToken: Authentication token is missing\nit tries again\n")
        async with asyncio.timeout(30.0):
            while link.trouble.endswith(NOT_YET):
                await asyncio.sleep(0.01)
        link.up.set()
        await hearing

    monkeypatch.setattr("sentinel.backends.ray.link.LOG_EVERY_S", 0.01)
    asyncio.run(scenario())
    assert link.trouble.startswith("10.0.0.1:6379 refuses the token")
    assert link.trouble.endswith("InvalidAuthToken: Authentication token is missing")
