"""A virtual environment of their own for the peers, so that Sentinel's stays free of their dependencies."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path

HOME = Path(__file__).resolve().parents[2] / ".cache" / "peers"
PYTHON = HOME / "bin" / "python"
REQUIREMENTS = (
    "torch>=2.11,<2.14",
    "numpy>=1.26,<3",
    "ray[train]>=2.60,<2.61",
    "nvidia-resiliency-ext==0.4.1",
)
_LIST = """
import importlib.metadata as m, json, sys
print(json.dumps([m.version(name) for name in sys.argv[1:]]))
"""


@cache
def install() -> None:
    """Create the environment unless it is complete: its list of requirements is written last."""
    done = HOME / "requirements.json"
    if done.exists() and json.loads(done.read_text()) == list(REQUIREMENTS):
        return
    print(f"installing the peers into {HOME}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", HOME], check=True)
    subprocess.run([PYTHON, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
    done.write_text(json.dumps(list(REQUIREMENTS)))


def versions(*packages: str) -> str:
    """Name the installed versions of these packages, after installing what is missing."""
    install()
    answer = subprocess.run([PYTHON, "-c", _LIST, *packages], check=True, capture_output=True, text=True)
    return ", ".join(
        f"{name} {version}" for name, version in zip(packages, json.loads(answer.stdout), strict=True)
    )
