"""What things cost by list or agreement: the dated price book, and the pools of capacity."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from finops_lab.contracts.costs import moment, money
from finops_lab.contracts.telemetry import PURCHASES

ORIGINS = ("user", "billing", "genai_prices", "litellm")


def _text(*, nullable: bool = True, allowed: tuple[str, ...] | None = None) -> dy.String:
    check = (lambda c: c.is_in(allowed)) if allowed else None
    return dy.String(nullable=nullable, check=check)


class Prices(dy.Schema):
    """The dated price book: what one unit costs from ``valid_from`` until before ``valid_to``.

    ``unit`` names what is counted: ``input_mtok``, ``output_mtok``, ``cache_read_mtok``,
    ``cache_write_mtok``, ``cache_write_1h_mtok`` (millions of tokens), ``requests_kcount``
    (thousands of calls), ``gpu_hour`` and further units of the origin. A tier holds for a request
    whose whole input is above ``tier_above_tokens``, and for all of its tokens. ``context`` is the
    service tier, such as ``standard``, ``batch``, ``flex``, ``priority``. ``tod_start`` and
    ``tod_end`` limit a price to a time of day in UTC (``HH:MM:SS``; the end is exclusive and may
    lie past midnight). A null ``valid_from`` or ``valid_to`` is open. ``model`` is a GPU or
    instance type where ``unit`` is ``gpu_hour``.
    """

    provider = _text()
    model = _text(nullable=False)
    unit = _text(nullable=False)
    tier_above_tokens = dy.Int64(nullable=False, min=0)
    context = _text(nullable=False)
    tod_start = dy.String(nullable=True, regex=r"^\d\d:\d\d:\d\d$")
    tod_end = dy.String(nullable=True, regex=r"^\d\d:\d\d:\d\d$")
    valid_from = moment()
    valid_to = moment()
    rate_usd_per_unit = money(nullable=False)
    origin = _text(nullable=False, allowed=ORIGINS)
    source_file = _text()
    source_row = dy.Int64(nullable=True)

    @dy.rule()
    def valid_to_before_valid_from(cls) -> pl.Expr:
        return pl.col("valid_to") > pl.col("valid_from")


class Pools(dy.Schema):
    """Pools of GPUs that serve models: what ties requests, GPU samples, capacity and bill together."""

    pool_id = _text(nullable=False)
    model = _text()
    team = _text()
    cluster = _text()
    namespace = _text()
    gpu_model = _text()
    gpu_count = dy.Float64(nullable=True, min=0, allow_inf=False, allow_nan=False)
    purchase = _text(allowed=PURCHASES)
    rate_usd_per_gpu_hour = money()
