"""Pools: bill rows that several use, divided by metered use hour by hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import polars as pl

from finops_lab.allocation.idle import idle_apart, paid_time
from finops_lab.allocation.periods import PERIOD, overlapping, within
from finops_lab.allocation.spelling import spelled
from finops_lab.allocation.splitting import split_amounts
from finops_lab.allocation.totals import totals
from finops_lab.allocation.usage import MEASURES, counting, hourly, measures
from finops_lab.config import Dimensions, Split, holds
from finops_lab.contracts import AMOUNTS
from finops_lab.errors import ConfigError

__all__ = ["UNALLOCATED", "check_match", "pick", "pooled"]

UNALLOCATED = "unallocated"
_USER = "_user_"
# Rows of use that are looked at together, unless one day has more.
_USE_AT_ONCE = 4_000_000


def pick(splits: Sequence[Split]) -> pl.Expr:
    """Return the place of the first split whose `where` holds for a bill row; null where none does."""
    return pl.coalesce(
        *[
            pl.when(holds(split.where)).then(pl.lit(place, dtype=pl.Int32))
            for place, split in enumerate(splits)
        ],
        pl.lit(None, dtype=pl.Int32),
    )


def check_match(split: Split, bills: Mapping[str, pl.DataType], use: pl.LazyFrame | None) -> None:
    """Refuse a `match` of columns that cannot equal each other.

    Raises
    ------
    ConfigError
        Naming the split, the columns and what to do.
    """
    known = {} if use is None or not split.match else use.collect_schema()
    for bill, name in split.match.items():
        one, other = bills[bill], known.get(name, bills[bill])
        if one != other or one.is_nested():
            raise ConfigError(
                f"split {split.name!r} matches {bill!r} of bills ({one}) with {name!r} of the use ({other})",
                hint="match columns of the same type, best of text",
            )


def pooled(
    cases: pl.LazyFrame,
    split: Split,
    requests: pl.LazyFrame | None,
    gpu: pl.LazyFrame | None,
    dimensions: Dimensions | None = None,
) -> pl.LazyFrame:
    """Divide the bill rows of one pool among its users.

    Parameters
    ----------
    cases : polars.LazyFrame
        Bill rows of the pool, added up or not: ``_start`` and ``_end`` of the charge period,
        ``_paid_us``, the bill columns of `match` as ``_is_<column>``, ``x_<dimension>`` as rules gave
        them, the amounts, ``x_Rows``, and whatever else describes them.
    split : Split
        How to divide.
    requests, gpu : polars.LazyFrame or None
        `inference_requests` and `gpu_samples`.
    dimensions : Dimensions, optional
        Rules by which the names of users are spelled.

    Returns
    -------
    polars.LazyFrame
        The parts, periods alike in everything else added up: the columns of `cases` but the
        period, ``_paid_us`` and those of `match`, with the users' dimensions, ``x_AllocationMethod``
        (``telemetry``, ``idle``, ``dark``, ``unallocated`` where the use names no team),
        ``x_AllocationRule``, ``x_PoolId``, and amounts that add up to those of `cases` exactly.
        Of each case one part counts its ``x_Rows``.

    Raises
    ------
    ConfigError
        When `usage`, `match` or `to` names a column that the use does not have.
    """
    users, rules = _users(split, requests, gpu), dimensions or Dimensions()
    # A charge without an end goes by the hour that it starts in, as one without length.
    every = cases.with_row_index("_case").with_columns(pl.col("_end").fill_null(pl.col("_start"))).collect()
    paid = paid_time(every)
    overlap = overlapping(paid) if split.idle_pool is not None else None
    done = [
        _divided(
            part.lazy(),
            split,
            users,
            rules,
            (paid, overlap),
            *[None if t is None else t.filter(days) for t in (requests, gpu)],
        )
        for part, days in _batches(every, requests, gpu)
    ]
    return pl.concat(done).lazy()


def _batches(
    cases: pl.DataFrame, requests: pl.LazyFrame | None, gpu: pl.LazyFrame | None
) -> Iterator[tuple[pl.DataFrame, pl.Expr]]:
    """Cut cases by the day they start on, so that memory follows a few days of use, not a month.

    Yields the cases of some days in a row and an expression that picks the days of use they need.
    """
    if cases.is_empty():
        yield cases, pl.lit(True)
    day = pl.col("_start").dt.date().alias("day")
    used = [t.group_by("day").agg(pl.len().cast(pl.Int64)) for t in (requests, gpu) if t is not None]
    sizes = pl.concat(used).group_by("day").agg(pl.col("len").sum()).collect() if used else None
    days = cases.lazy().select(day).unique().sort("day").collect()
    if sizes is not None:
        days = days.join(sizes, on="day", how="left", maintain_order="left")
    else:
        days = days.with_columns(pl.lit(0, dtype=pl.Int64).alias("len"))
    before = pl.col("len").fill_null(0).cum_sum().shift(fill_value=0)
    for batch in days.with_columns((before // _USE_AT_ONCE).alias("batch")).partition_by(
        "batch", maintain_order=True
    ):
        first, last = batch["day"].min(), batch["day"].max()
        some = cases.filter(day.is_between(first, last))
        # The last hour is the one in which the period's last microsecond lies.
        end = some.select(pl.max_horizontal("_start", pl.col("_end") - pl.duration(microseconds=1)).max())
        yield some, pl.col("day").is_between(first, end.item().date())


def _divided(
    cases: pl.LazyFrame,
    split: Split,
    users: Sequence[str],
    rules: Dimensions,
    paid: tuple[pl.DataFrame, pl.DataFrame | None],
    requests: pl.LazyFrame | None,
    gpu: pl.LazyFrame | None,
) -> pl.DataFrame:
    """Divide some of the cases, and add up what falls to a user in periods of the same day."""
    periods = cases.select(*PERIOD).unique().collect().lazy()
    hours = _use(split, users, rules, requests, gpu)
    with counting(requests):
        use = within(periods, hours, [*users, *_pairs(split).values()]).collect()
    busy, idle, dark = idle_apart(cases, *paid, split, gpu)
    uncounted = pl.lit(0, dtype=pl.Int64).alias("x_Rows")
    idle, dark = idle.with_columns(uncounted), dark.with_columns(uncounted)
    parts = [_used(busy, use, split, users, method="telemetry"), dark.with_columns(**_said("dark", split))]
    if split.idle == "pool":
        parts.append(_used(idle, use, split, users, method="idle"))
    elif split.idle == "owner":
        parts.append(idle.with_columns(**{**_said("idle", split), "x_team": pl.lit(split.idle_owner)}))
    else:
        own = pl.col("x_team").fill_null(UNALLOCATED)
        parts.append(idle.with_columns(**{**_said("idle", split), "x_team": own}))
    columns = [
        n for n in parts[1].collect_schema() if n not in ("_case", "_paid_us", *PERIOD, *_pairs(split))
    ]
    keys = [n for n in columns if n not in (*AMOUNTS, "x_Rows")]
    every = pl.concat([part.select(columns) for part in parts])
    return totals(every, keys, pl.col("x_Rows").sum()).select(columns).collect()


def _users(split: Split, requests: pl.LazyFrame | None, gpu: pl.LazyFrame | None) -> list[str]:
    """Return the dimensions that the use tells of its users."""
    table = gpu if split.by == "gpu_seconds" else requests
    if table is None:
        return ["team"]
    known = table.collect_schema().names()
    for name in (*split.usage, *split.match.values()):
        if name not in known:
            raise ConfigError(
                f"split {split.name!r} looks at column {name!r}, which the use does not have",
                hint=f"columns: {', '.join(known)}",
            )
    if split.by == "even":
        return ["team"]  # a team of many features is one user
    return [name for name in split.to if name in known]


def _pairs(split: Split) -> dict[str, str]:
    """Return the columns of the cases, and those of the use, that must be equal."""
    return {f"_is_{bill}": f"_match_{place}" for place, bill in enumerate(split.match)}


def _use(
    split: Split,
    users: Sequence[str],
    rules: Dimensions,
    requests: pl.LazyFrame | None,
    gpu: pl.LazyFrame | None,
) -> pl.LazyFrame:
    table = gpu if split.by == "gpu_seconds" else requests
    keys = list(dict.fromkeys([*users, *split.match.values()]))
    if table is None:
        texts = dict.fromkeys([*users, *_pairs(split).values()], pl.String())
        return pl.LazyFrame(
            schema={"hour": pl.Datetime("us", "UTC"), **texts, **dict.fromkeys(MEASURES, pl.Int64())}
        )
    used = table.filter(holds(split.usage)) if split.usage else table
    if split.by == "gpu_seconds" and split.idle_pool is not None:
        used = used.filter(pl.col("pool_id") == split.idle_pool)
    used = hourly(used, keys, gpu=split.by == "gpu_seconds")
    # What must match stays as it was told; who used it is spelled as bills spell it.
    used = used.with_columns(
        pl.col(name).alias(f"_match_{place}") for place, name in enumerate(split.match.values())
    )
    told = ["hour", *users, *_pairs(split).values(), *MEASURES]
    return spelled(used, users, rules, pl.col("hour").dt.date()).select(told)


def _used(
    cases: pl.LazyFrame, use: pl.DataFrame, split: Split, users: Sequence[str], *, method: str
) -> pl.LazyFrame:
    """Divide cases among the users of their period; a case that nobody used stays whole."""
    known = cases.collect_schema().names()
    said = {name: f"{_USER}{name}" for name in users}
    pairs = _pairs(split)
    # Users are numbered in the order of their names: parts are many, names are wide.
    numbered = use.select(users).unique().sort(users, nulls_last=True).with_row_index("_user")
    found = use.lazy().join(numbered.lazy(), on=list(users), nulls_equal=True)
    weight = measures(split.by, split.weights, _direction(known))
    parts = (
        cases.join(
            found.select(*PERIOD, "_user", *pairs.values(), *MEASURES),
            left_on=[*PERIOD, *pairs],
            right_on=[*PERIOD, *pairs.values()],
            how="inner",
        )
        .with_columns(weight.alias("_weight"))
        .filter(pl.col("_weight") > 0)
        .select("_case", "_user", "_weight", *AMOUNTS)
        .collect()
        .lazy()
    )
    divided = split_amounts(parts, ["_case"], weight="_weight", order=["_user"])
    team = pl.col(f"{_USER}team")
    # What the use does not tell, the bill row may.
    told = {f"x_{n}": pl.coalesce(column, f"x_{n}") for n, column in said.items() if n != "team"}
    unknown = pl.lit(method if method == "idle" else "unallocated")
    first = pl.col("_user") == pl.col("_user").min().over("_case")
    owned = (
        divided.join(cases.select(pl.exclude(AMOUNTS)), on="_case")
        .join(numbered.rename(said).lazy(), on="_user")
        .with_columns(
            **told,
            # A business unit is the owner's, not the pool's.
            x_business_unit=pl.when(team.is_null()).then("x_business_unit"),
            **{
                **_said(method, split),
                "x_team": team.fill_null(UNALLOCATED),
                "x_AllocationMethod": pl.when(team.is_null()).then(unknown).otherwise(pl.lit(method)),
            },
            # Of each case one part counts its rows.
            x_Rows=pl.when(first).then("x_Rows").otherwise(0),
        )
        .drop(*said.values(), "_weight", "_user")
    )
    nobody = cases.join(parts.select("_case").unique(), on="_case", how="anti")
    return pl.concat(
        [owned, nobody.with_columns(**_said("idle" if method == "idle" else "dark", split))], how="diagonal"
    )


def _direction(known: Sequence[str]) -> pl.Expr | None:
    if "x_TokenDirection" not in known:
        return None
    cached = pl.col("x_TokenCacheAction") == "Read" if "x_TokenCacheAction" in known else pl.lit(False)
    return (
        pl.when(pl.col("x_TokenDirection") == "Output")
        .then(pl.lit("output"))
        .when((pl.col("x_TokenDirection") == "Input") & cached.fill_null(False))
        .then(pl.lit("cached_input"))
        .when(pl.col("x_TokenDirection") == "Input")
        .then(pl.lit("input"))
    )


def _said(method: str, split: Split) -> dict[str, pl.Expr]:
    return {
        "x_team": pl.lit(UNALLOCATED),
        "x_AllocationMethod": pl.lit(method),
        "x_AllocationRule": pl.lit(split.name),
        "x_PoolId": pl.lit(split.name),
    }
