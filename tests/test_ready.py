"""What waits for a descriptor waits for any, however many a process has."""

import fcntl
import os
import resource
from pathlib import Path

import sentinel
from sentinel.ready import is_ready


def test_a_high_descriptor_is_waited_for() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    here, there = os.pipe()
    high = fcntl.fcntl(here, fcntl.F_DUPFD, 2000)
    try:
        assert not is_ready(high, 0.0)
        os.write(there, b"x")
        assert is_ready(high, 20.0)
        os.read(high, 1)
        os.close(there)
        assert is_ready(high, 20.0), "its end can be read, too"
    finally:
        os.close(high)
        os.close(here)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_nobody_waits_with_select() -> None:
    """It refuses descriptors above 1023, which a busy controller or a test run has."""
    root = Path(sentinel.__file__).parent
    files = [*root.rglob("*.py"), *(root / "checks").glob("*.py")]  # which is a link
    using = [path.name for path in files if "select.select(" in path.read_text()]
    assert using == []
    assert any(path.name == "volumes.py" for path in files)
