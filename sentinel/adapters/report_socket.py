"""The port that agents report to: who may come in, and who is sent away."""

import asyncio
import threading
from typing import Any

import structlog
import zmq
import zmq.asyncio
from zmq.utils.monitor import parse_monitor_message

from sentinel.adapters.enrolment import Enrolment
from sentinel.adapters.gate import Gate, shuffle_numbers
from sentinel.adapters.keys import KeyFileError
from sentinel.adapters.strangers import GREET_S, Strangers, most_strangers
from sentinel.model.codec import MESSAGE_BYTES

LOOK_EVERY_S = 1.0
_DOMAIN = b"sentinel"
_MONITOR = "inproc://sentinel-report-socket"
_MESSAGES_WAITING = 32
"""Of one agent, each of up to `MESSAGE_BYTES`; the rest waits on its node."""

log = structlog.get_logger(logger_name="reports")


class ReportSocket:
    """A ROUTER that lets in who has an enrolled key or a join token, and keeps no stranger for long."""

    def __init__(self, endpoint: str, enrolment: Enrolment) -> None:
        self.strangers = Strangers()
        self._endpoint = endpoint
        self._enrolment = enrolment
        self._context = zmq.asyncio.Context(io_threads=1)
        plain: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(self._context.underlying)
        self._gate = Gate(plain, self._lets_in)
        shuffle_numbers()
        self.socket: zmq.asyncio.Socket = self._context.socket(zmq.ROUTER)
        self._monitor: zmq.Socket[bytes] = plain.socket(zmq.PAIR)
        self._watching = threading.Thread(target=self._watch, name="report-socket", daemon=True)
        self._looking: asyncio.Task[None] | None = None
        self._trouble = ""

    def open(self) -> None:
        """Listen. Raises OSError."""
        self._gate.open()
        socket = self.socket
        socket.curve_server = True
        socket.curve_secretkey = self._enrolment.keys.controller_secret
        socket.zap_domain = _DOMAIN  # whoever is not asked about is not let in
        socket.linger = 0
        socket.maxmsgsize = MESSAGE_BYTES
        socket.rcvhwm = _MESSAGES_WAITING
        socket.backlog = 1024
        socket.handshake_ivl = int(GREET_S * 1000)
        socket.router_mandatory = True  # an order for a node that is gone is an error, not silence
        # The kernel finds who is gone: ZeroMQ's own beats abort on a reset connection whose messages wait.
        socket.tcp_keepalive, socket.tcp_keepalive_idle = 1, 1
        socket.tcp_keepalive_intvl, socket.tcp_keepalive_cnt, socket.tcp_maxrt = 1, 3, 4000
        self._monitor.rcvhwm = 0  # a full monitor would stop the socket
        socket.monitor(_MONITOR, zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_MONITOR_STOPPED)
        self._monitor.connect(_MONITOR)
        self._watching.start()
        try:
            socket.bind(self._endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise OSError(f"{self._endpoint}: {error.strerror}") from None
        self._looking = asyncio.create_task(self._look())

    @property
    def endpoint(self) -> str:
        """The address bound to, with the port that the kernel chose for `:0` or `:*`."""
        bound = self.socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(bound, bytes)
        return bound.decode().rstrip("\0")

    def _lets_in(self, public: str) -> bool:
        return self._enrolment.owner(public) is not None

    def _watch(self) -> None:
        """Follow the connections that come and go, on a thread: a burst leaves no time for a busy loop."""
        going = True
        while going:
            if self._monitor.poll(int(LOOK_EVERY_S * 1000)):
                going = self._note(parse_monitor_message(self._monitor.recv_multipart()))
            self.strangers.send_away(most_strangers(len(self._enrolment.nodes)))
        self._monitor.close(linger=0)

    def _note(self, event: Any) -> bool:
        """Take note of what happened; false when it was the last."""
        match event["event"]:
            case zmq.EVENT_ACCEPTED:
                self.strangers.came(int(event["value"]))
            case zmq.EVENT_DISCONNECTED:
                self.strangers.left(int(event["value"]))
            case _:
                return False
        return True

    async def _look(self) -> None:
        """Follow the list of keys."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._follow_keys()

    def _follow_keys(self) -> None:
        """Read the list again if it has changed; one that can't be read leaves all as it was."""
        try:
            self._enrolment.refresh()
        except (KeyFileError, OSError) as error:
            if str(error) != self._trouble:
                log.error("keys-not-read", error=str(error))
            self._trouble = str(error)
        else:
            self._trouble = ""

    def close(self) -> None:
        """Stop listening; agents notice and reconnect to whoever listens next."""
        if self._looking is not None:
            self._looking.cancel()
        self._gate.close()
        self.socket.disable_monitor()  # which ends the thread
        self._watching.join()
        self.strangers.close()
        self.socket.close(linger=0)
        self._context.destroy(linger=0)
