"""Asking NVML about one GPU: a value that it lacks is None, and what its refusals say of the GPU is kept."""

from collections.abc import Callable
from typing import Any, TypeVar

import pynvml

T = TypeVar("T")

SAYS_NOTHING = {pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_UNINITIALIZED}
"""Errors that are no answer to what was asked: a value that could not be had is not one that is missing."""
TELLING = {pynvml.NVML_ERROR_RESET_REQUIRED, pynvml.NVML_ERROR_UNKNOWN, pynvml.NVML_ERROR_TIMEOUT}
"""Errors that say something about the GPU, whatever it was asked for; its other answers still count."""

_VALUE = ("dVal", "uiVal", "ulVal", "ullVal", "sllVal", "siVal", "usVal")
"""Where a field's value lies, by its `nvmlValueType_t`."""


class Asking:
    """Asks a GPU for one value after the other; what the refusals say about the GPU is kept."""

    def __init__(self, kept: dict[str, Any] | None = None) -> None:
        """`kept`: what was read of this GPU since it was opened, and need not be read again."""
        self.kept = {} if kept is None else kept
        self._words: dict[str, None] = {}

    @property
    def error(self) -> str:
        """The driver's words, each once; empty when it answered, or merely lacks a value."""
        return "; ".join(self._words)

    def __call__(self, ask: Callable[[], T]) -> T | None:
        """Give None for a value that could not be had. Raises NVMLError when the GPU is lost."""
        try:
            return ask()
        except pynvml.NVMLError as error:
            if error.value in SAYS_NOTHING:
                raise
            if error.value in TELLING:
                self._words[str(error)] = None
            return None

    def once(self, name: str, ask: Callable[[], T]) -> T | None:
        """Give a value that stays while the GPU is open; one that could not be had is asked again."""
        if self.kept.get(name) is None:
            self.kept[name] = self(ask)
        kept: T | None = self.kept[name]
        return kept

    def fields(self, handle: Any, *ids: int | tuple[int, int]) -> list[int | None]:
        """Give field values, each an id or (id, link), in one call."""
        values = self(lambda: pynvml.nvmlDeviceGetFieldValues(handle, ids))
        if values is None:
            return [None] * len(ids)
        return [self(lambda each=each: _value(each)) for each in values]  # type: ignore[misc]


def _value(field: Any) -> int:
    if field.nvmlReturn:
        raise pynvml.NVMLError(field.nvmlReturn)
    return int(getattr(field.value, _VALUE[field.valueType]))


def text(value: str | bytes) -> str:
    """Give a name as text, whichever release of the binding gave it."""
    return value.decode() if isinstance(value, bytes) else value
