"""How a process ended that is not our child."""

import fcntl
import struct
from pathlib import Path

_PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, struct pidfd_info of 64 bytes), since Linux 6.13
_PIDFD_INFO_EXIT = 1 << 3  # since Linux 6.15: tells how a process ended after it was reaped
_PIDFD_INFO = struct.Struct("QQ11Ii")


def how_it_ended(pidfd: int, pid: int) -> str:
    """Say `signal 9`, `exit 1` or `unknown`: the kernel tells a non-parent only while, or long after."""
    status = _status_of_zombie(pid)
    if status is None:
        status = _status_of_reaped(pidfd)
    if status is None:
        return "unknown"
    return f"signal {status & 0x7F}" if status & 0x7F else f"exit {status >> 8 & 0xFF}"


def _status_of_zombie(pid: int) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return int(fields[49]) if fields[0] in "ZX" else None


def _status_of_reaped(pidfd: int) -> int | None:
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, *[0] * 13))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, *_, status = _PIDFD_INFO.unpack(info)
    return status if mask & _PIDFD_INFO_EXIT else None
