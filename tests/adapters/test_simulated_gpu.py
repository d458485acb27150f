import json
from pathlib import Path

import pytest

from sentinel.adapters.simulated_gpu import DeviceFileError, SimulatedGpus

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
