"""What things cost by list or agreement: the dated price book, and the pools of capacity."""

from __future__ import annotations

import dataframely as dy
import polars as pl

from finops_lab.contracts.columns import FILE, ROW, moment, money, number, text, whole
from finops_lab.contracts.telemetry import PURCHASES

ORIGINS = ("user", "billing", "genai_prices", "litellm")


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

    provider = text("who sells it; null holds for any")
    model = text("model, GPU or machine type", nullable=False)
    unit = text("what one is", nullable=False)
    tier_above_tokens = whole("holds for calls with more input than this", nullable=False, min=0)
    context = text("service tier", nullable=False)
    tod_start = text("time of day from which it holds, in UTC", regex=r"^\d\d:\d\d:\d\d$")
    tod_end = text("time of day until which it holds", regex=r"^\d\d:\d\d:\d\d$")
    valid_from = moment("first moment of the price; null is since ever")
    valid_to = moment("end of the price, exclusive; null is open")
    rate_usd_per_unit = money("price of one unit", nullable=False)
    origin = text("where the price is from", nullable=False, allowed=ORIGINS)
    source_file = text(FILE)
    source_row = whole(ROW)

    @dy.rule()
    def valid_to_before_valid_from(cls) -> pl.Expr:
        return pl.col("valid_to") > pl.col("valid_from")


class Pools(dy.Schema):
    """Pools of GPUs that serve models: what ties requests, GPU samples, capacity and bill together."""

    pool_id = text("name of the pool, as telemetry has it", nullable=False)
    model = text("model it serves")
    team = text("owner")
    cluster = text("Kubernetes cluster")
    namespace = text("Kubernetes namespace")
    gpu_model = text("such as NVIDIA H100 80GB HBM3")
    gpu_count = number("GPUs in the pool", min=0)
    purchase = text("how it is paid for", allowed=PURCHASES)
    rate_usd_per_gpu_hour = money("what an hour of one GPU costs")
