"""What `finops.toml` says of the data that comes in: context, column maps, sources, coverage."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from finops_lab.config._base import Model, Names
from finops_lab.config.dimensions import check_patterns

__all__ = ["Columns", "Coverage", "Sampling", "Source", "Telemetry"]


class Sampling(Model):
    """`[[telemetry.sampling]]`: files whose requests were sampled before export."""

    path: str
    rate: float = Field(ge=1e-6, le=1)  # a row stands for a million calls at most


class Telemetry(Model):
    """`[telemetry]`: where requests carry their context, and how they were sampled.

    `attributes` adds names of span attributes or metadata keys per context column, tried before
    the built-in ``finops.*`` names. ``service_tier`` is for gateways that keep the tier under a
    name of their own.
    """

    attributes: dict[
        Literal["team", "feature", "customer", "environment", "variant", "region", "model", "service_tier"],
        Names,
    ] = Field(default_factory=dict)
    sampling: tuple[Sampling, ...] = ()


class Columns(Model):
    """`[[columns]]`: files in columns of their own, and what their columns mean.

    Every file of `exports/` whose path matches `path` is read as rows of `table`: `map` gives the
    file's column for a column of the contract, `values` gives a constant.
    """

    path: str
    table: str
    map: dict[str, str] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _each_once(self) -> Columns:
        if not self.map:
            raise ValueError("map at least one column")
        if twice := sorted(self.map.keys() & self.values.keys()):
            raise ValueError(f"{twice[0]!r} stands in both map and values")
        return self


class Source(Model):
    """`[[sources]]`: data that lies elsewhere and is copied into the lab before it is read.

    `kind` tells what `url` is: ``files`` (a folder or object prefix: ``s3://``, ``gs://``,
    ``az://``, ``file://``), ``delta`` and ``iceberg`` (a table), ``postgres`` (a database; needs
    `query`), ``prometheus`` (a server; asked for the last `days` at a step of `step_s`). Options
    are the store's own settings; ``${NAME}`` in `url` and in an option is an environment variable,
    so that no secret stands in the file.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    kind: Literal["files", "delta", "iceberg", "postgres", "prometheus"]
    url: str
    include: Names = ("*",)
    query: str | None = None
    queries: dict[str, str] = Field(default_factory=dict)
    days: int = Field(default=31, ge=1)
    step_s: int = Field(default=60, ge=1)
    options: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _complete(self) -> Source:
        if (self.kind == "postgres") != (self.query is not None):
            raise ValueError("a source of kind postgres, and no other, needs a query")
        return self


class Coverage(Model):
    """`[[coverage]]`: two sources that speak of the same spend or the same calls.

    Rows that fulfil `where` and come from a file that matches `overlap` are reported, never
    added, since the files that match `authoritative` say the same. ``estimate = true`` needs no
    `authoritative`: the overlapping files hold modelled amounts, not a bill.
    """

    name: str
    table: Literal["costs", "inference_requests"] = "costs"
    authoritative: Names = ()
    overlap: Names
    where: dict[str, Names] = Field(default_factory=dict)
    estimate: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Coverage:
        check_patterns(self.where)
        if not self.overlap:
            raise ValueError("name the files that overlap")
        if not self.estimate and not self.authoritative:
            raise ValueError("name the files that are authoritative, or say estimate = true")
        return self
