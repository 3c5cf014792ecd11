"""Where a measurement comes from: machine, packages, load. No host name, no path, no user."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

__all__ = ["machine", "packages"]

# What decides how fast small numbers are multiplied.
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx_vnni",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "i8mm",
)


def machine() -> dict[str, Any]:
    """Describe this machine.

    Returns
    -------
    dict
        ``cpu`` (its name), ``architecture``, ``features`` (of those that matter to small numbers),
        ``cores``, ``memory_gib``, ``system``; ``load`` (of the last minute: above the cores, wall
        times are waits). Unknown is null.

    Examples
    --------
    >>> sorted(machine())
    ['architecture', 'cores', 'cpu', 'features', 'load', 'memory_gib', 'system']
    """
    told = _cpuinfo()
    flags = (told.get("flags") or told.get("Features") or "").split()
    return {
        "cpu": told.get("model name") or platform.processor() or None,
        "architecture": platform.machine(),
        "features": [flag for flag in _FLAGS if flag in flags],
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def packages(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed.

    Examples
    --------
    >>> sorted(packages(["polars", "not-installed"]))
    ['polars', 'python']
    """
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _cpuinfo() -> dict[str, str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {key.strip(): value.strip() for key, _, value in pairs}


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, OSError, ValueError):
        return None
