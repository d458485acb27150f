"""GPUs are reset through the real command line, by a program that stands in for `nvidia-smi`."""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from agent_node import GPU, Node

from sentinel.model.finding import Health
from sentinel.model.report import FindingSeen, OrderDone, ResetGpus
from sentinel.runtime.agent.resets import ResetError, Resets, reset

SMI = """#!/bin/sh
echo "$*" >> {folder}/asked
case "$1" in
  --query-compute-apps=*) cat {folder}/apps ;;
  --query-gpu=*) printf '0, Enabled\\n1, Disabled\\n' ;;
  --gpu-reset)
    [ -e {folder}/broken ] && {{ echo "GPU 0: In use by another client"; exit 255; }}
    [ -e {folder}/well.json ] && mv {folder}/well.json {folder}/gpus.json
    echo "GPU was successfully reset." ;;
esac
"""


class Smi:
    """What is asked of the program, and what it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "smi"
        (folder / "apps").touch()
        self.path.write_text(SMI.format(folder=folder))
        self.path.chmod(0o755)

    @property
    def asked(self) -> list[str]:
        file = self.folder / "asked"
        return file.read_text().splitlines()[2:] if file.exists() else []

    def reset(self, *gpus: int) -> str:
        return reset(str(self.path), gpus)


@pytest.fixture
def smi(tmp_path: Path) -> Smi:
    return Smi(tmp_path)


def test_persistence_is_off_meanwhile(smi: Smi) -> None:
    assert smi.reset(0, 1) == "nvidia-smi --gpu-reset -i 0,1: done"
    assert smi.asked == ["-pm 0 -i 0", "--gpu-reset -i 0,1", "-pm 1 -i 0"]


def test_a_reset_that_fails_is_said_and_leaves_persistence_as_it_was(smi: Smi) -> None:
    (smi.folder / "broken").touch()
    with pytest.raises(ResetError, match="exit 255: GPU 0: In use by another client"):
        smi.reset(0)
    assert smi.asked == ["-pm 0 -i 0", "--gpu-reset -i 0", "-pm 1 -i 0"]


def test_nothing_is_reset_while_a_process_uses_any_gpu(smi: Smi) -> None:
    (smi.folder / "apps").write_text("GPU-7, 4711, python\n")
    with pytest.raises(ResetError, match="processes use GPUs here: GPU-7, 4711, python"):
        smi.reset(0)
    assert smi.asked == []


@pytest.mark.parametrize("program", ["", "/nowhere/nvidia-smi"])
def test_without_the_program_nothing_is_reset(program: str) -> None:
    with pytest.raises(ResetError, match="not to be had here"):
        reset(program, (0,))


@pytest.mark.parametrize(("gpus", "command"), [("simulated:x", ""), ("nvml", "nvidia-smi")])
def test_simulated_gpus_never_reset_real_ones(tmp_path: Path, gpus: str, command: str) -> None:
    assert Resets(tmp_path / "nudge", gpus, "").command == command


def _done(node: Node, smi: Smi, gpus: Sequence[int], monkeypatch: pytest.MonkeyPatch) -> OrderDone:
    async def told() -> OrderDone:
        async with node.watched() as controller:
            broken = [FindingSeen, Health.CRITICAL]
            await controller.event(lambda e: isinstance(e, FindingSeen) and e.finding.health is broken[1])
            await controller.order(ResetGpus("I-0001/repair/node-7/1", tuple(gpus)))
            done = await controller.event(lambda e: isinstance(e, OrderDone))
            assert isinstance(done, OrderDone)
            if done.ok:
                await controller.event(lambda e: isinstance(e, FindingSeen) and e.finding.health is Health.OK)
            return done

    monkeypatch.setenv("SENTINEL_NVIDIA_SMI", str(smi.path))
    node.describe(GPU | {"ecc_uncorrectable": 2})
    (node.root / "well.json").write_text(node.devices.read_text().replace(": 2", ": 0"))
    return asyncio.run(told())


def test_an_agent_resets_a_gpu_and_sees_that_it_is_well(
    node: Node, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _done(node, smi, [0], monkeypatch)
    assert (done.ok, done.detail) == (True, "nvidia-smi --gpu-reset -i 0: done")
    assert os.access(smi.path, os.X_OK)


def test_an_agent_resets_nothing_where_ranks_live(
    node: Node, smi: Smi, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.rank()
    done = _done(node, smi, [0], monkeypatch)
    assert (done.ok, done.detail) == (False, "not reset: ranks live here")
    assert not (smi.folder / "asked").exists()
