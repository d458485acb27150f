"""A training state survives being bytes, bit for bit."""

import math
from typing import Any

import pytest

from sentinel.gang.snapshots import SnapshotError, decode, encode

torch = pytest.importorskip("torch")


def there_and_back(state: dict[str, Any]) -> dict[str, Any]:
    return decode(b"".join(encode(state)))


@pytest.mark.parametrize(
    "dtype",
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int8",
        "uint8",
        "bool",
        "complex64",
        "float8_e4m3fn",
    ],
)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 4)], ids=str)
def test_a_tensor_comes_back_bit_for_bit(dtype: str, shape: tuple[int, ...]) -> None:
    kind = getattr(torch, dtype)
    raw = torch.randint(0, 2, (math.prod(shape) * kind.itemsize,), dtype=torch.uint8)
    tensor = raw.view(kind).reshape(shape)
    back = there_and_back({"w": tensor})["w"]
    assert (back.dtype, back.shape) == (tensor.dtype, tensor.shape)
    assert torch.equal(back.reshape(-1).view(torch.uint8), raw)


def test_a_nan_keeps_its_bits() -> None:
    bits = torch.tensor([0x7FC00001, 0x7F800001, -1], dtype=torch.int32)
    assert torch.equal(there_and_back({"w": bits.view(torch.float32)})["w"].view(torch.int32), bits)


def test_strided_views_and_parameters_come_back_as_values() -> None:
    matrix = torch.arange(12.0).reshape(3, 4)
    parameter = torch.nn.Parameter(matrix.clone())
    back = there_and_back({"t": matrix.T, "column": matrix[:, 1], "p": parameter})
    assert torch.equal(back["t"], matrix.T)
    assert torch.equal(back["column"], matrix[:, 1])
    assert torch.equal(back["p"], matrix)
    assert not back["p"].requires_grad


def test_the_random_generator_goes_on_where_it_was() -> None:
    state = there_and_back({"rng": torch.get_rng_state()})["rng"]
    expected = torch.rand(4)
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(4), expected)


def test_what_comes_back_owns_its_memory() -> None:
    tensor = torch.zeros(4)
    payload = bytearray(b"".join(encode({"w": tensor})))
    back = decode(payload)["w"]
    payload[-16:] = b"\xff" * 16
    assert torch.equal(back, tensor)


def test_plain_values_come_back_equal_and_of_the_same_type() -> None:
    state = {
        "step": 7,
        "lr": 0.1,
        "name": "adam",
        "raw": b"\0\1",
        "none": None,
        "flags": [True, False],
        "betas": (0.9, (0.95, [1, (2,)])),
        "by_id": {0: "a", "b": {"c": (1,)}},
        "inf": float("inf"),
    }
    assert there_and_back(state) == state
    assert type(there_and_back(state)["betas"]) is tuple


def test_a_value_without_a_plain_form_is_named() -> None:
    with pytest.raises(SnapshotError, match=r"'hook' is neither a tensor nor a plain value"):
        encode({"hook": print})


@pytest.mark.parametrize("payload", [b"", b"\xff" * 40, b"\x03" + bytes(7) + b"\xc1\xc1\xc1"], ids=repr)
def test_what_is_no_payload_is_refused(payload: bytes) -> None:
    with pytest.raises(SnapshotError, match="not a snapshot"):
        decode(payload)
