"""Environments of peers that are not in the project's lock: built by uv, once per lock of `peers/`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

FOLDER = Path(__file__).parent / "peers"


def environment(name: str) -> Path | None:
    """Return the Python of the environment of `peers/NAME.txt`, or None, saying why."""
    lock = FOLDER / f"{name}.txt"
    digest = sha256(lock.read_bytes()).hexdigest()[:12]
    target = Path(tempfile.gettempdir()) / f"finops-lab-peers-{digest}-{sys.version_info.minor}"
    python = target / "bin" / "python"
    if (target / "complete").exists():
        return python
    beside = Path(sys.executable).parent / "uv"
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv is None:
        print(f"skipped: the peers of {name}, there is no uv to build their environment")
        return None
    for command in (
        [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(target)],
        [uv, "pip", "sync", "--quiet", "--python", str(python), "--require-hashes", str(lock)],
    ):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"skipped: the peers of {name}, no environment: {done.stderr.strip()[-300:]}")
            return None
    (target / "complete").touch()
    return python
