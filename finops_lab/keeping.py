"""What is kept in a lake beside its tables: named after what it was made of, written by one at a time."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from pathlib import Path

__all__ = ["alive", "digest", "partition_values"]


def partition_values(name: str) -> dict[str, str]:
    """Return what the folders of a data file say of its rows.

    Examples
    --------
    >>> partition_values("day=2026-10-01/part-0.parquet")
    {'day': '2026-10-01'}
    """
    parts = (part.partition("=") for part in Path(name).parts[:-1])
    return {key: value for key, _, value in parts}


def digest(value: object) -> str:
    """Return the SHA-256 of a value that JSON can hold."""
    return sha256(json.dumps(value).encode()).hexdigest()


def alive(process: str) -> bool:
    """Tell whether a process of this number runs: it may be writing."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True
