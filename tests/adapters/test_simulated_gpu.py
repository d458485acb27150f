import json
import re
from pathlib import Path

import pytest

from sentinel.adapters.simulated_gpu import KEYS, DeviceFileError, SimulatedGpus
from sentinel.checks import load
from sentinel.model.check import Machine
from sentinel.model.gpu_sample import Fabric, GpuDetail, GpuDriver, GpuLinks, GpuMemory, NvLink
from sentinel.runtime.probe import probe

GPU = {"uuid": "GPU-0", "pci": "0000:01:00", "present": True, "ecc_uncorrectable": 0, "speed": 1.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gpus.json"
    path.write_text(json.dumps({"gpus": [{"index": 0, **GPU}, {"index": 1, **GPU, "uuid": "GPU-1"}]}))
    return path


def test_an_edit_is_seen_at_the_next_look(file: Path) -> None:
    gpus = SimulatedGpus(file)
    assert [gpu.ecc_uncorrectable for gpu in gpus.sample()] == [0, 0]
    file.write_text(file.read_text().replace('"ecc_uncorrectable": 0', '"ecc_uncorrectable": 3', 1))
    assert [gpu.ecc_uncorrectable for gpu in gpus.sample()] == [3, 0]


def test_values_that_are_left_out_are_unknown_not_zero(file: Path) -> None:
    (gpu, _) = SimulatedGpus(file).sample()
    assert (gpu.temperature_c, gpu.remap_failed) == (None, None)


def test_a_gpu_that_stops_answering_or_disappears_is_lost(file: Path) -> None:
    gpus = SimulatedGpus(file)
    gpus.sample()
    file.write_text(json.dumps({"gpus": [{"index": 0, **GPU, "present": False}]}))
    assert [(gpu.index, gpu.present) for gpu in gpus.sample()] == [(0, False), (1, False)]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"gpus": [{"index": 0, "uu', id="half written"),
        pytest.param("[]", id="another shape"),
        pytest.param(
            '{"gpus": [{"index": 0, "uuid": "GPU-0", "ecc_uncorrectable": "x"}]}', id="a word for a number"
        ),
        pytest.param("", id="empty"),
    ],
)
def test_a_broken_file_keeps_the_gpus_and_makes_them_unknown(file: Path, content: str) -> None:
    gpus = SimulatedGpus(file)
    gpus.sample()
    file.write_text(content)
    samples = gpus.sample()
    assert [(gpu.index, gpu.present, gpu.ecc_uncorrectable) for gpu in samples] == [
        (0, True, None),
        (1, True, None),
    ]
    assert all(str(file) in gpu.error for gpu in samples)


def test_a_file_that_was_never_good_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DeviceFileError, match=r"gpus\.json: No such file"):
        SimulatedGpus(tmp_path / "gpus.json").sample()


def details(file: Path, **keys: object) -> SimulatedGpus:
    file.write_text(json.dumps({"gpus": [{"index": 0, **GPU, **keys}, {"index": 1, **GPU, "uuid": "GPU-1"}]}))
    return SimulatedGpus(file)


def test_details_lie_under_keys_of_their_own_and_what_is_left_out_is_unknown(file: Path) -> None:
    gpus = details(
        file,
        memory={"dram_corrected": 7, "banks": [1, 2, 3, 4, 5]},
        links={"busy": True, "nvlinks": [{"link": 3, "active": False}]},
        driver={"recovery_action": 1, "fabric": {"state": 3, "status": 0, "health": 0}},
    )
    named = {"index": 0, "uuid": "GPU-0", "pci": "0000:01:00"}
    first = [gpus.read(kind)[0] for kind in (GpuMemory, GpuLinks, GpuDriver)]
    assert first == [
        GpuMemory(**named, dram_corrected=7, banks=(1, 2, 3, 4, 5)),
        GpuLinks(**named, busy=True, nvlinks=(NvLink(3, active=False),)),
        GpuDriver(**named, recovery_action=1, fabric=Fabric(3, 0, 0)),
    ]
    assert gpus.read(GpuMemory)[1] == GpuMemory(1, "GPU-1", "0000:01:00")


@pytest.mark.parametrize("kind", KEYS)
def test_a_lost_gpu_has_no_details_but_its_error(file: Path, kind: type[GpuDetail]) -> None:
    gpus = SimulatedGpus(file)
    gpus.sample()
    file.write_text(json.dumps({"gpus": [{"index": 0, **GPU, "present": False}]}))
    assert [bool(each.error) for each in gpus.read(kind)] == [True, True]


@pytest.mark.parametrize("said", [{"dram_corrected": "many"}, {"banks": [1]}, 7, [], "x", None])
def test_details_of_another_shape_are_an_error_of_their_check_alone(file: Path, said: object) -> None:
    machine = Machine("n", details(file, memory=said), None)
    answers = {name: probe(load()[name], machine) for name in ("gpu", "gpu_memory", "gpu_links")}
    assert [name for name, answer in answers.items() if answer.failed] == ["gpu_memory"]
    assert "gpu 0: memory: " in answers["gpu_memory"].findings[0].summary


def test_a_broken_file_is_an_error_that_names_it(file: Path) -> None:
    gpus = SimulatedGpus(file)
    gpus.read(GpuMemory)
    file.write_text("{")
    with pytest.raises(DeviceFileError, match=re.escape(str(file))):
        gpus.read(GpuMemory)
