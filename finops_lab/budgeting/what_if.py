"""A lab's month at other prices: other models, batch, caching, machines of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab import measuring, pricing
from finops_lab.allocation.dimensions import assign
from finops_lab.calendar import first_of
from finops_lab.config.dimensions import with_accounts
from finops_lab.errors import InputError, NoDataError, each_name
from finops_lab.lab import Lab
from finops_lab.money import MONEY
from finops_lab.planning.repricing import BUCKETS, Scenario, against_bill, reprice
from finops_lab.planning.self_hosting import moved, self_hosted
from finops_lab.unit_economics._grouping import as_written
from finops_lab.unit_economics.activity import activity, currency_of
from finops_lab.unit_economics.comparison import money_and_use
from finops_lab.unit_economics.utilization import gpu_utilization, paid_gpu_hours, pool_models
from finops_lab.valuing.frames import Frames

__all__ = ["WhatIf", "what_if"]

_SELF = "self_hosted"
_UTIL = "gpu_util"


@dataclass(frozen=True)
class WhatIf:
    """A month's calls as they were made, and in scenarios.

    Attributes
    ----------
    month : datetime.date
        The month.
    scenarios : polars.DataFrame
        `finops_lab.planning.repricing.REPRICED`, by the columns asked for: list prices of the logged
        calls times what each stands for.
    bill : polars.DataFrame
        From `finops_lab.planning.repricing.against_bill`, per scenario and model that a vendor bills:
        brought to the volume of the bill.
    hosted : polars.DataFrame
        `finops_lab.planning.self_hosting.HOSTED`: what a million tokens cost on the lab's machines.
    moved : polars.DataFrame
        The same tokens on a model of the lab's own, where one was asked for; else empty.
    notes : tuple of str
        How to read it.
    """

    month: date
    scenarios: pl.DataFrame
    bill: pl.DataFrame
    hosted: pl.DataFrame
    moved: pl.DataFrame
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        names = self.scenarios["scenario"].unique(maintain_order=True).to_list()
        return f"WhatIf({self.month:%Y-%m}: {', '.join(names)}; .scenarios .bill .hosted .moved .notes)"


def what_if(
    lab: Lab,
    month: str | date,
    *,
    models: Sequence[str] = (),
    batch: bool = False,
    batch_factor: Decimal | None = None,
    cached_share: Decimal | None = None,
    prices_on: date | None = None,
    self_host: str | None = None,
    utilization: Decimal | None = None,
    where: Mapping[str, Sequence[str]] | None = None,
    by: str | Sequence[str] = ("model",),
) -> WhatIf:
    """Price a month's real calls as if they had been made otherwise.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    month : str or datetime.date
        Month of use, such as ``2026-10``.
    models : sequence of str
        Models to move all calls to, each a scenario, written ``provider/model``, such as
        ``openai/gpt-4o-mini``. Without one the calls keep their models.
    batch : bool
        At the batch price of the list. `batch_factor` is what it costs of the standard price where
        the list has none, such as ``Decimal("0.5")``: an assumption.
    cached_share : Decimal, optional
        Share of input tokens read from a cache; as observed without it.
    prices_on : datetime.date, optional
        The day whose prices hold; that of each call without it.
    self_host : str, optional
        A model of the lab's own to move the calls of vendors to, at what a million of its tokens
        cost.
    utilization : Decimal, optional
        What if the lab's machines were in use so much, 0 to 1.
    where : mapping, optional
        Values of columns of the requests that count, such as ``{"feature": ["chat"]}``.
    by : str or sequence of str
        Columns to tell the scenarios by: ``model``, ``feature``, ``team`` and the like.

    Returns
    -------
    WhatIf

    Raises
    ------
    NoDataError
        The month has no such requests.
    InputError
        A model is not written ``provider/model``, or a column or value is none.
    """
    by = each_name(by)
    first = first_of(month)
    frames = Frames(lab, first, first)
    calls = _calls(lab, frames, where or {})
    scenarios = _scenarios(models, batch, batch_factor, cached_share, prices_on)
    keys = list(dict.fromkeys([*by, "model", "hosting"]))
    book = pricing.price_book(lab.table("prices"))
    whole = reprice(calls, book, scenarios, by=keys)
    told = reprice(calls, book, scenarios, by=by) if set(by) != set(keys) else whole
    vendor = whole.filter(pl.col("hosting") != _SELF)
    partly = bool(where)
    bill = against_bill(vendor, _billed(frames, vendor["model"].unique()))
    hosted = _hosted(lab, frames, utilization)
    mix = vendor.filter(pl.col("scenario") == scenarios[0].name).select(
        "model", pl.sum_horizontal(BUCKETS).cast(MONEY).alias("tokens")
    )
    there = moved(mix, hosted, self_host) if self_host is not None else mix.clear()
    notes = (
        "Amounts of scenarios are list prices in USD of logged calls, each times what it stands for.",
        "The bill's volume: list price of the scenario x list price on the bill / list price of the logs."
        if not partly
        else "Only a part of the calls is asked for: the bill does not tell it, so nothing is scaled to it.",
        "Whether another model answers as well or as fast, or a batch in time, is not judged.",
        "A million tokens of one's own machines cost the same whether read or written.",
    )
    return WhatIf(first, told, bill.clear() if partly else bill, hosted, there, notes)


def _calls(lab: Lab, frames: Frames, where: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    rows = measuring.requests_of(lab).filter(frames.within("day"))
    known = rows.collect_schema()
    for name in where:
        if name not in known:
            raise InputError(
                f"requests have no column {name!r}", hint="such as model, feature, team, provider"
            )
    picked = [pl.col(name).is_in(list(values)) for name, values in where.items()]
    found = (rows.filter(*picked) if picked else rows).collect()
    if found.is_empty():
        said = ", ".join(f"{name} {' or '.join(values)}" for name, values in where.items())
        raise NoDataError(
            f"no requests of {frames.first:%Y-%m}" + (f" with {said}" if said else ""),
            hint="what-if needs request logs among the exports",
        )
    return found


def _scenarios(
    models: Sequence[str], batch: bool, factor: Decimal | None, share: Decimal | None, on: date | None
) -> list[Scenario]:
    more = [f"{share:.0%} of input from the cache"] if share is not None else []
    more += (["batch"] if batch else []) + ([f"prices of {on}"] if on is not None else [])
    found = []
    for text in models or [""]:
        provider, _, model = text.partition("/")
        if text and not (provider and model):
            raise InputError(f"write provider/model, not {text!r}", hint="such as openai/gpt-4o-mini")
        name = ", ".join([*([text] if text else []), *more]) or "as called"
        found.append(Scenario(name, model or None, provider or None, batch, factor, share, on))
    return found


def _billed(frames: Frames, models: pl.Series) -> pl.DataFrame:
    """Return what the bill says of the models that vendors serve: at list price, and billed."""
    names = {"list_usd": "ListCost", "billed_usd": "BilledCost"}
    entries = activity(frames.entries, frames.rules).filter(
        pl.col("x_Activity") == "inference",
        pl.col("x_model").is_in(models.drop_nulls().to_list()),
        # A correction is of another month, or of no call.
        pl.col("ChargeCategory") == "Usage",
        pl.col("ChargeClass").is_null(),
    )
    usd = currency_of(frames.entries) == "USD"
    found = entries.group_by(pl.col("x_model").cast(pl.String).alias("model")).agg(
        pl.when(pl.col(column).null_count() == 0).then(pl.col(column).sum()).cast(MONEY).alias(name)
        for name, column in names.items()
    )
    return found.sort("model").collect() if usd else found.collect().clear()


def _hosted(lab: Lab, frames: Frames, at: Decimal | None) -> pl.DataFrame:
    own = frames.requests.filter(pl.col("hosting") == _SELF) if "hosting" in frames.requests.columns else None
    models = (frames.requests if own is None else own)["model"].drop_nulls().unique().to_list()
    entries = activity(frames.entries, frames.rules).filter(pl.col("x_Activity") == "inference").collect()
    rows = money_and_use(entries, frames.requests, by=("model",)).filter(pl.col("model").is_in(models))
    served = pool_models(lab.pools(), frames.requests)
    used = gpu_utilization(frames.gpu_days, pools=served, by=("model",)).filter(
        pl.col("measure") == _UTIL, pl.col("dimension") == "model"
    )
    busy = used.select(pl.col("key").alias("model"), pl.col("value").alias("utilization"))
    for more in (busy, _hours(lab, frames)):
        rows = rows.join(more, on="model", how="left", maintain_order="left")
    return self_hosted(rows, at=at)


def _hours(lab: Lab, frames: Frames) -> pl.DataFrame:
    """Return the GPU-hours that the bill paid for to serve each model, where its rows say so."""
    rules = with_accounts(lab.config.dimensions, lab.config.accounts)
    machines = lab.costs().filter(frames.within("ChargePeriodStart"), pl.col("x_GpuCount") > 0)
    owned = assign(machines, rules).with_columns(pl.lit(None, pl.String).alias("x_PoolId"))
    serving = activity(owned, frames.rules).filter(pl.col("x_Activity") == "inference")
    hours = paid_gpu_hours(serving.with_columns(pl.col("x_model").alias("model")), ["model"])
    return hours.select("model", as_written(hours["gpu_hours"]))
