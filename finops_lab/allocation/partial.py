"""One part of a bill, such as a month of it, from rows to owners; parts are put together at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.codes import CODE, codes
from finops_lab.allocation.compact import ATTRIBUTES, DAY, OWNER, Compact
from finops_lab.allocation.dimensions import assign, derive, inputs, outcomes, rule_column, rule_report
from finops_lab.allocation.idle import paid_gpu_us
from finops_lab.allocation.overrides import override
from finops_lab.allocation.periods import PERIOD
from finops_lab.allocation.pooling import UNALLOCATED, check_match, pick, pooled
from finops_lab.allocation.receipt import receipt
from finops_lab.allocation.sharing import business_units, cluster_idle, share
from finops_lab.allocation.spelling import spelled
from finops_lab.allocation.steps import Step, stepped
from finops_lab.allocation.totals import totals
from finops_lab.allocation.usage import MEASURES, MONTHLY, counting, hourly
from finops_lab.config import Dimensions, Override, Shared, Split
from finops_lab.contracts import AMOUNTS, BILL_KEYS, DIMENSIONS
from finops_lab.errors import ConfigError

__all__ = ["Partial", "Policy", "finish", "partial"]

_DIMENSIONS = [f"x_{name}" for name in DIMENSIONS]
_LEDGER_KEYS = [n for n in contracts.dtypes("ledger") if n not in (*AMOUNTS, "x_Rows")]
_TOKENS = ("x_TokenDirection", "x_TokenCacheAction")


@dataclass(frozen=True)
class Policy:
    """Who pays for what: rules, splits, shared costs and overrides, in this order."""

    dimensions: Dimensions
    splits: tuple[Split, ...] = ()
    shared: tuple[Shared, ...] = ()
    overrides: tuple[Override, ...] = ()


@dataclass(frozen=True)
class Partial:
    """What allocation makes of some billing months.

    `entries`, `receipt` and `steps` are the ledger's; `caught` is what the rules looked at, added
    up, from which their report is made.
    """

    entries: pl.DataFrame
    receipt: pl.DataFrame
    caught: pl.DataFrame
    steps: pl.DataFrame


def partial(
    costs: pl.LazyFrame,
    policy: Policy,
    requests: pl.LazyFrame | None = None,
    gpu_samples: pl.LazyFrame | None = None,
    delivered: pl.LazyFrame | None = None,
) -> Partial:
    """Allocate whole billing months; `finish` puts several parts together.

    Parameters are those of `finops_lab.allocation.allocate`. Shared costs move within a billing
    month, so that no month depends on another.
    """
    dated = costs.with_columns(pl.col("ChargePeriodStart").dt.date().alias("x_ChargeDate"))
    assign(dated, policy.dimensions)  # refuses rules that name unknown columns, before the work
    known = dated.collect_schema().names()
    seen = [name for name in inputs(policy.dimensions) if name in known] or ["BillingCurrency"]
    extra = _split_keys(policy, known)
    for one in policy.splits:
        check_match(one, dated.collect_schema(), gpu_samples if one.by == "gpu_seconds" else requests)
    if policy.splits:
        dated = dated.with_columns(pick(policy.splits).alias("_split")).with_columns(extra.values())
    bill, looked_at, *pool = codes(dated, [ATTRIBUTES, seen, *([[*extra, "_split"]] if extra else [])])
    bills = bill.values.with_row_index("_bill")
    cases, owners = _cases(looked_at.values, policy.dimensions)
    coded = dated.with_columns(
        bill.code.alias("_attributes"),
        looked_at.code.alias("_seen"),
        *[each.code.alias("_pool") for each in pool],
    )
    keys, paid = [DAY, "_attributes", "_case"], []
    if pool:
        keys += ["_pool", "_apart"]
        # Rows of a pool that rules tell apart are divided apart: what is rounded stays what it was.
        coded = coded.with_columns(pl.when(pl.col("_split").is_not_null()).then("_seen").alias("_apart"))
        paid = [_paid(known)]
    coded = coded.drop("_case", "_owner", strict=False)  # as bills may call columns of their own
    grouped = totals(coded.join(cases.lazy().select("_seen", "_case"), on="_seen"), keys, pl.len(), paid)
    numbers = bills.lazy().select("_bill", pl.col(CODE).alias("_attributes"), "BillingCurrency")
    added = grouped.collect(engine="streaming").lazy().join(numbers, on="_attributes")
    added = added.join(cases.lazy().select("_case", "_owner").unique(), on="_case")
    if pool:
        added = added.join(pool[0].values.lazy().rename({CODE: "_pool"}), on="_pool").collect().lazy()
    plain = added.filter(pl.col("_split").is_null()) if pool else added
    first = totals(plain, [DAY, "_bill", "_owner"], pl.col("x_Rows").sum()).collect()
    parts = []
    for place, rule in enumerate(policy.splits):
        own = added.filter(pl.col("_split") == place).join(
            bills.lazy().select("_bill", *ATTRIBUTES), on="_bill"
        )
        own = own.join(owners.lazy().select("_owner", *_DIMENSIONS), on="_owner")
        parts.append(_divided(own, rule, policy.dimensions, requests, gpu_samples))
    booked, steps = _moved(Compact(first, bills, owners), parts, policy, requests)
    caught = totals(added, ["_case", "BillingCurrency"], pl.col("x_Rows").sum())
    met = cases.lazy().unique("_case", keep="first", maintain_order=True)
    met = met.drop("BillingCurrency", strict=False).join(caught, on="_case")
    caught = met.select(*dict.fromkeys([*seen, "BillingCurrency"]), *AMOUNTS, "x_Rows")
    return Partial(booked, receipt(costs, booked, delivered), caught.collect(), stepped(steps))


def _cases(looked_at: pl.DataFrame, dimensions: Dimensions) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run the rules on all that they look at.

    Returns what they look at with its code (``_seen``), its case (``_case``: of one, every rule says
    the same) and its owner (``_owner``), and the owners.
    """
    # The report of the rules is by currency: where rules look at it, cases are of one.
    currency = [name for name in looked_at.columns if name == "BillingCurrency"]
    ruled = (
        outcomes(looked_at.lazy(), dimensions, [CODE, *currency])
        .with_columns(
            pl.col("x_team").fill_null(UNALLOCATED),
            _method(dimensions).alias("x_AllocationMethod"),
            pl.col(rule_column("team")).alias("x_AllocationRule"),
            pl.lit(None, dtype=pl.String).alias("x_PoolId"),
        )
        .rename({CODE: "_seen"})
        .collect()
    )
    case = codes(ruled.lazy(), [[name for name in ruled.columns if name != "_seen"]])[0]
    owners = case.values.select(OWNER).unique().sort(OWNER, nulls_last=True).with_row_index("_owner")
    known = case.values.join(owners, on=OWNER, nulls_equal=True).select(pl.col(CODE).alias("_case"), "_owner")
    told = ruled.lazy().select("_seen", case.code.alias("_case")).join(known.lazy(), on="_case").collect()
    found = looked_at.rename({CODE: "_seen"}).join(told, on="_seen", maintain_order="left")
    return found, owners


def finish(parts: Sequence[Partial], policy: Policy) -> Partial:
    """Put parts of different billing months together, sorted; `caught` becomes the report of the rules."""
    caught = pl.concat([part.caught for part in parts], how="diagonal_relaxed").lazy()
    seen = [name for name in caught.collect_schema() if name not in (*AMOUNTS, "x_Rows")]
    caught = totals(caught, seen, pl.col("x_Rows").sum())
    rules = rule_report(caught, policy.dimensions)
    steps = pl.concat([part.steps for part in parts])
    step = ["step", "kind", "name", "policy"]
    order = [*step, "BillingCurrency"]
    amounts = pl.col("entries", "BilledCost", "EffectiveCost").sum()
    # A month in which a step did nothing is told only where it did nothing in the others too.
    told = (pl.col("entries") > 0) | (pl.col("entries").sum().over(step) == 0)
    return Partial(
        _in_order([part.entries for part in parts if part.entries.height] or [parts[0].entries]),
        pl.concat([part.receipt for part in parts]).sort(
            "metric", "BillingCurrency", "x_BillingMonth", "x_ChargeMonth", "ChargeCategory"
        ),
        rules,
        steps.group_by(order).agg(amounts).filter(told).sort(order),
    )


def _in_order(entries: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Put sorted entries together; months in a row need no sorting again."""
    ends = [frame["x_BillingMonth"].item(place) for frame in entries if frame.height for place in (0, -1)]
    apart = all(one < other for one, other in zip(ends[1::2], ends[2::2], strict=False))
    every = pl.concat(entries)
    return every if apart else every.sort(_LEDGER_KEYS, nulls_last=True)


def _split_keys(policy: Policy, known: Sequence[str]) -> dict[str, pl.Expr]:
    """Return what rows of a pool are told apart by, beside what all rows are: null on other rows."""
    splits, virtual = policy.splits, inputs(policy.dimensions, virtual=True)
    if not splits:
        return {}
    for split in splits:
        for name in (*split.where, *split.match):
            if name not in known:
                raise ConfigError(
                    f"split {split.name!r} looks at column {name!r}, which bills do not have",
                    hint="use a FOCUS column name",
                )
    named = [*(n for split in splits for n in split.match), *(n for n in (*_TOKENS, *virtual) if n in known)]
    columns = {
        "_start": pl.col("ChargePeriodStart"),
        "_end": pl.col("ChargePeriodEnd"),
        **{f"_is_{name}": pl.col(name) for name in named},
    }
    return {n: pl.when(pl.col("_split").is_not_null()).then(column).alias(n) for n, column in columns.items()}


def _paid(known: list[str]) -> pl.Expr:
    paid = paid_gpu_us(known)
    return pl.when(paid.count() > 0).then(paid.sum()).alias("_paid_us")


def _divided(
    pool: pl.LazyFrame,
    split: Split,
    dimensions: Dimensions,
    requests: pl.LazyFrame | None,
    gpu: pl.LazyFrame | None,
) -> pl.DataFrame:
    """Divide the cases of one pool; only use of the days they charge for is read."""
    # Columns to match keep a name of their own: a bill may have some that are called like dimensions.
    same = [f"_is_{name}" for name in split.match]
    needed = [*_TOKENS, *inputs(dimensions, virtual=True)]
    kept = {f"_is_{name}": name for name in needed if f"_is_{name}" in pool.collect_schema()}
    more = [n for n in kept.values() if n not in BILL_KEYS]
    cases = (
        pool.with_columns(pl.col(own).alias(name) for own, name in kept.items())
        .select(*BILL_KEYS, *PERIOD, "_paid_us", *same, *more, *_DIMENSIONS, *AMOUNTS, "x_Rows")
        .collect()
    )
    if cases.is_empty():
        return pl.DataFrame(schema=contracts.dtypes("ledger"))
    starts, ends = cases["_start"], cases["_end"].fill_null(cases["_start"])
    first, last = starts.min(), pl.concat([starts, ends]).max()
    assert isinstance(first, datetime) and isinstance(last, datetime)
    days = pl.col("day").is_between(first.date(), (last + timedelta(hours=1)).date())
    use = [None if table is None else table.filter(days) for table in (requests, gpu)]
    done = pooled(cases.lazy(), split, use[0], use[1], dimensions)
    # A virtual tag may know the team of a feature that the use names without one.
    nobody = pl.col("x_AllocationMethod") == "unallocated"
    done = done.with_columns(pl.when(~nobody).then("x_team").alias("x_team"))
    done = derive(done, dimensions).with_columns(
        pl.when(nobody & pl.col("x_team").is_not_null())
        .then(pl.lit("telemetry"))
        .otherwise("x_AllocationMethod")
        .alias("x_AllocationMethod"),
        pl.col("x_team").fill_null(UNALLOCATED),
        _month_of_use(),
    )
    return totals(done, _LEDGER_KEYS, pl.col("x_Rows").sum()).select(*contracts.dtypes("ledger")).collect()


def _moved(
    first: Compact, parts: Sequence[pl.DataFrame], policy: Policy, requests: pl.LazyFrame | None
) -> tuple[pl.DataFrame, list[Step]]:
    """Carry out what comes after rules; `parts` is what the splits made."""
    looks = {"x_BillingMonth", "BillingCurrency", "ChargeCategory", "x_PoolId"}
    changed = {"x_team", "x_business_unit", "x_AllocationMethod", "x_AllocationRule"}
    looks |= {name for tier in policy.shared for name in (*tier.where, *tier.within)}
    if policy.overrides:
        looks |= {"x_ChargeMonth", *(name for decision in policy.overrides for name in decision.where)}
        changed |= {f"x_{name}" for decision in policy.overrides for name in decision.set}
    opened = first.opened(changed, looks, parts)
    steps = [Step("rules", "dimension rules", "tags, accounts and rules in order", opened.plain)]
    for rule, done in zip(policy.splits, opened.parts, strict=True):
        steps.append(Step("split", rule.name, f"by {rule.by.replace('_', ' ')}, idle: {rule.idle}", done))
    if not (policy.splits or policy.shared or policy.overrides):
        return first.spelled(), steps  # every entry is one of its kind already
    entries = pl.concat([opened.plain, *opened.parts])
    units = entries.select("x_team", "x_business_unit").unique()
    if any(split.idle == "cluster" for split in policy.splits):
        moved = cluster_idle(entries, policy.splits)
        entries = moved.entries
        steps.append(Step("idle", "cluster idle", "by what the clusters' users cost", moved.moved))
    metered = {"requests", "tokens", "weighted_tokens", "engine_seconds", "response_bytes"}
    usage = None
    if requests is not None and any(tier.by in metered for tier in policy.shared):
        # Bytes are read where a tier asks for them only.
        counted = MONTHLY if any(tier.by == "response_bytes" for tier in policy.shared) else MEASURES
        months = entries["x_BillingMonth"].unique().to_list()
        usage = _monthly_use(requests, months, policy.dimensions, counted)
    for tier in policy.shared:
        moved = share(entries, tier, usage)
        entries = moved.entries
        steps.append(Step("shared", tier.name, f"by {tier.by.replace('_', ' ')}", moved.moved))
    for decision in policy.overrides:
        moved = override(entries, decision)
        entries = moved.entries
        told = f"{decision.author}, {decision.date:%Y-%m-%d}: {decision.reason}"
        steps.append(Step("override", f"to {decision.set.get('team', 'the same team')}", told, moved.moved))
    return opened.closed(business_units(entries, units)), steps


def _monthly_use(
    requests: pl.LazyFrame, months: Sequence[str], dimensions: Dimensions, counted: Sequence[str]
) -> pl.DataFrame:
    month = pl.col("hour").dt.strftime("%Y-%m").alias("x_BillingMonth")
    days = requests.filter(
        pl.col("day").dt.strftime("%Y-%m").is_in(list(months)), pl.col("team").is_not_null()
    )
    named = spelled(hourly(days, ["team"], counted=counted), ["team"], dimensions, pl.col("hour").dt.date())
    use = named.drop_nulls("team").group_by(month, pl.col("team").alias("x_team"))
    # In 128 bits, so that what leaves 64 is an error and no negative number.
    sums = use.agg(pl.col(counted).cast(pl.Int128).sum()).with_columns(pl.col(counted).cast(pl.Int64))
    with counting(requests):
        return sums.collect()


def _month_of_use() -> pl.Expr:
    return pl.col("x_ChargeDate").dt.strftime("%Y-%m").alias("x_ChargeMonth")


def _method(dimensions: Dimensions) -> pl.Expr:
    tagged = [rule.name for rule in dimensions.team if rule.tag]
    rule = pl.col(rule_column("team"))
    return (
        pl.when(rule.is_null())
        .then(pl.lit("unallocated"))
        .when(rule.is_in(tagged))
        .then(pl.lit("tag"))
        .otherwise(pl.lit("rule"))
    )
