"""Whether the controller answers: one that hangs is as good as gone, and nobody else would notice."""

import threading
import time
from collections.abc import Iterator

import httpx

from sentinel.model.ids import Seconds
from sentinel.runtime.plain_http import NO_TLS

ANSWERS_WITHIN_S = 2.0
MISSES = 3
HUNG_AFTER_S = 8.0
"""So many misses in a row, and so long since the last answer: nothing else keeps its loop for so long."""
STARTS_WITHIN_S = 300.0
"""One that has not answered yet may have a long journal of an older release to rewrite."""


class Health:
    """What one controller's answers say of it."""

    def __init__(self, url: str, age: Seconds) -> None:
        """Ask at this URL a controller that was started so long ago."""
        self._url = url
        self._http = httpx.Client(
            timeout=ANSWERS_WITHIN_S,
            trust_env=False,
            verify=NO_TLS,
            limits=httpx.Limits(max_keepalive_connections=0),  # whether it accepts is asked, too
        )
        self._misses, self._answered, self._has_answered = 0, time.monotonic(), False
        self._patience = HUNG_AFTER_S if age > STARTS_WITHIN_S else STARTS_WITHIN_S
        self._asking = threading.Thread()

    def ask_aside(self) -> None:
        """Ask in a thread, one question at a time."""
        if not self._asking.is_alive():
            self._asking = threading.Thread(target=self.ask, daemon=True)
            self._asking.start()

    def ask(self) -> None:
        """Ask once, and count."""
        try:
            self._http.get(self._url).raise_for_status()
        except (httpx.TimeoutException, httpx.HTTPStatusError, httpx.RemoteProtocolError):
            self._misses += 1
        except Exception as error:
            # What else keeps us from asking, such as a lack of descriptors, is no sign that it hangs.
            self._misses += any(isinstance(each, ConnectionError) for each in _causes(error))
        else:
            self._misses, self._answered, self._patience = 0, time.monotonic(), HUNG_AFTER_S
            self._has_answered = True

    @property
    def answers(self) -> bool:
        """Whether it answered when it was last asked."""
        return self._has_answered and not self._misses

    @property
    def hangs(self) -> bool:
        """Whether it does not answer any more. Misses are counted: who asks may have stood still itself."""
        return self._misses >= MISSES and time.monotonic() - self._answered > self._patience


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
