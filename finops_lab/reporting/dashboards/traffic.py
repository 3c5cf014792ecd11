"""What moving, keeping and scanning data costs, whose bytes it was, and what edge devices serve."""

from __future__ import annotations

import polars as pl

from finops_lab.reporting.dashboards.board import Board
from finops_lab.reporting.section import Section, money
from finops_lab.tables import Table, money_table
from finops_lab.unit_economics.capacity import pool_money
from finops_lab.unit_economics.edge import edge_pools
from finops_lab.unit_economics.traffic import egress_by_bytes, traffic_bytes, traffic_costs

__all__ = ["traffic"]

_ROWS = 15
_GIGA, _KILO = 10**9, 10**3
_BY = ("model", "feature")


def traffic(board: Board) -> Section:
    """Build the section.

    Parameters
    ----------
    board : Board
        The dashboard that it is a section of.
    """
    currency = board.review.currency
    found = traffic_costs(board.here.table("costs", "ChargePeriodStart"), metric=board.review.metric)
    mine = found.filter(pl.col("BillingCurrency") == currency)
    moved = traffic_bytes(board.here.table("inference_requests", "day"), by=_BY)
    sized = moved.filter(pl.col("request_bytes").is_not_null() | pl.col("response_bytes").is_not_null())
    fleets = _fleets(board)
    if mine.is_empty() and fleets.is_empty() and sized.is_empty():
        return board.nothing("traffic", "**Nothing was charged for moving or keeping data.**")
    sums = (
        mine.group_by("kind", "ServiceName", "matched")
        .agg(pl.col("money").sum(), pl.col("rows").sum().cast(pl.Int64))
        .sort(
            "money", "kind", "ServiceName", "matched", descending=[True, False, False, False], nulls_last=True
        )
    )
    said = "**Nothing was charged for moving or keeping data.**"
    parts = []
    if mine.height:
        said = f"**{money(sums['money'].sum(), currency)} for moving, keeping and scanning data.**"
        parts.append(
            money_table(
                sums.head(_ROWS),
                title=f"Moving, keeping and scanning data, {board.review.month_name}",
                id="traffic",
                currency=currency,
                money_columns={"money": board.review.decimals},
                number_columns=["rows"],
                labels={"ServiceName": "Service", "matched": "Told by", "money": "Charges"},
                unknown="nothing told it apart",
            )
        )
    egress = egress_by_bytes(mine, moved)
    parts += [*_bytes(board, sized, egress), *_edge(board, fleets)]
    values = {
        "kinds": sums.to_dicts(),
        "bytes": moved.to_dicts(),
        "egress": egress.to_dicts(),
        "edge": fleets.to_dicts(),
    }
    return Section("traffic", said, tuple(parts), values)


def _fleets(board: Board) -> pl.DataFrame:
    here = board.here
    money_of = None
    if board.review.currency == "USD":
        money_of = pool_money(here.entries.with_columns(here.pool), metric=board.review.metric)
    found = edge_pools(here.lab.pools(), here.requests, money=money_of, up_to=here.up_to)
    return found.filter(month=board.month)


def _edge(board: Board, fleets: pl.DataFrame) -> list[Table]:
    if fleets.is_empty():
        return []
    amounts = {"money": 0, "money_per_device": 2, "money_per_call": 5}
    return [
        money_table(
            fleets.select(
                "pool_id", "model", "devices", "calls", *amounts, "calls_per_device", "money_from"
            ).head(_ROWS),
            title=f"Edge devices, {board.review.month_name}",
            subtitle="Pools whose name or cluster starts with edge; money of the ledger, else devices x hours x rate",
            id="edge",
            currency="USD",
            money_columns=amounts,
            number_columns={"devices": 0, "calls": 0, "calls_per_device": 0},
            labels={
                "pool_id": "Fleet",
                "money_per_device": "Per device",
                "money_per_call": "Per call",
                "calls_per_device": "Calls per device",
                "money_from": "Money from",
            },
            unknown="neither the ledger nor a rate tells it",
        )
    ]


def _bytes(board: Board, known: pl.DataFrame, egress: pl.DataFrame) -> list[Table]:
    if known.is_empty():
        return []
    sizes = [
        (pl.col(name).cast(pl.Float64) / unit).alias(name)
        for name, unit in (
            ("request_bytes", _GIGA),
            ("response_bytes", _GIGA),
            ("response_bytes_per_call", _KILO),
        )
    ]
    # Bills do not say whose bytes left: their money is split by the bytes of responses.
    paid = egress.filter(pl.col("reason").is_null()).select(*_BY, pl.col("money").alias("egress"))
    known = known.join(paid, on=list(_BY), how="left", nulls_equal=True)
    # Of a small lab, tenths of a gigabyte would be nothing.
    largest = max(known.select(pl.col("request_bytes", "response_bytes").max()).row(0), key=lambda n: n or 0)
    digits = 1 if (largest or 0) >= _GIGA else 4
    shown = known.sort("response_bytes", *_BY, descending=[True, False, False], nulls_last=True)
    return [
        money_table(
            shown.select(
                *(pl.col(name).fill_null("unknown") for name in _BY),
                "calls",
                *sizes,
                "coverage",
                *(["egress"] if paid.height else []),
            ).head(_ROWS),
            title=f"Bytes that calls moved, {board.review.month_name}",
            subtitle="Of the calls whose size is known; egress is split by the bytes of responses, an estimate"
            if paid.height
            else "Of the calls whose size is known",
            id="bytes",
            currency=board.review.currency,
            money_columns={"egress": 2} if paid.height else (),
            number_columns={
                "calls": 0,
                "request_bytes": digits,
                "response_bytes": digits,
                "response_bytes_per_call": 1,
            },
            percent_columns=["coverage"],
            labels={
                "request_bytes": "Requests, GB",
                "response_bytes": "Responses, GB",
                "response_bytes_per_call": "KB per response",
                "coverage": "Calls whose size is known",
            }
            # A bill without egress has no such column.
            | ({"egress": "Egress, estimated"} if paid.height else {}),
            unknown="not measured",
        )
    ]
