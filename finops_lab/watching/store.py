"""What was found is kept beside the lake, named after what it was made of: unchanged data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version as package_version
from pathlib import Path

import polars as pl

from finops_lab.keeping import digest, put
from finops_lab.lab import Lab

__all__ = ["FOLDER", "Schema", "keep", "kept", "place_of"]

FOLDER = "anomalies"
Schema = Mapping[str, pl.DataType | type[pl.DataType]]


def place_of(lab: Lab, part: str, settings: Sequence[object], inputs: object) -> Path:
    """Return where a part is kept, without the name of a frame.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    part : str
        What was looked at, such as ``spend``.
    settings : sequence
        What was asked for. Of each only the newest is kept.
    inputs : object
        What it is made of; anything that JSON can hold.
    """
    asked = digest([str(one) for one in settings])[:8]
    made_of = digest([package_version("finops-lab"), asked, inputs])[:16]
    return lab.folder / "lake" / FOLDER / f"{part}-{asked}-{made_of}"


def kept(place: Path, schemas: Mapping[str, Schema]) -> dict[str, pl.DataFrame] | None:
    """Return the frames that are kept; None where one is not, is broken, or has another schema."""
    found = {}
    for name, schema in schemas.items():
        try:
            found[name] = pl.read_parquet(place.with_name(f"{place.name}.{name}.parquet"))
        except (OSError, pl.exceptions.PolarsError):
            return None
        if found[name].schema != pl.Schema(schema):
            return None
    return found


def keep(place: Path, frames: Mapping[str, pl.DataFrame]) -> None:
    """Write the frames, and remove what was kept of the same settings before.

    What is kept only saves work: where it cannot be written, the next run works it out again.
    """
    for name, frame in frames.items():
        put(frame, place.with_name(f"{place.name}.{name}.parquet"))
    with suppress(OSError):
        for old in place.parent.glob(f"{place.name[:-16]}*"):
            if not old.name.startswith(place.name):
                old.unlink(missing_ok=True)
