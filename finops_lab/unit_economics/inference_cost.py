"""M1, cost per inference: money of inference over the calls that succeeded, of the same traffic."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from decimal import Decimal

import polars as pl

from finops_lab.config import Activity, TokenWeights
from finops_lab.contracts import DIMENSIONS
from finops_lab.errors import InputError, each_name
from finops_lab.money import MONEY, SCALE, exact_sum, one_currency, split
from finops_lab.unit_economics._by_dimension import PLACE, added_up, per_dimension
from finops_lab.unit_economics._grouping import share_of
from finops_lab.unit_economics._idle_pools import idle_of_pools
from finops_lab.unit_economics._inference_figures import inference_figures
from finops_lab.unit_economics._inference_measures import DEFINITIONS
from finops_lab.unit_economics._same_traffic import SameTraffic
from finops_lab.unit_economics._telling import first_reason
from finops_lab.unit_economics.activity import currency_of, spent
from finops_lab.unit_economics.figures import together, whole_and_by
from finops_lab.unit_economics.schemas import BY, COUNTED, REQUEST_KEYS

__all__ = ["DEFINITIONS", "inference_cost"]

# What both the ledger and requests say.
_TOLD_BY = tuple(name for name in DIMENSIONS if name in REQUEST_KEYS)
_Place = tuple[str | None, date, str | None]
_ZERO = Decimal(0)
# Of a weight; with the three of counted tokens they make the decimals of money.
_DIGITS = SCALE - 3
_INPUTS = ("input_uncached_tokens", "cache_write_tokens")
_OFF = ("variance_ok", "variance_input_tokens", "variance_output_tokens")
_COUNTS = ("inferences", "outcomes", "input", "cached", "output", "rows", "rows_without_tokens", *_OFF)
_AMOUNTS = ("amount", "used", "charged", "idle", "entries", "unknown")


def inference_cost(
    entries: pl.LazyFrame | pl.DataFrame,
    requests: pl.LazyFrame | pl.DataFrame,
    *,
    schedule: pl.LazyFrame | pl.DataFrame | None = None,
    gpu_days: pl.LazyFrame | pl.DataFrame | None = None,
    outcomes: pl.LazyFrame | pl.DataFrame | None = None,
    rules: Sequence[Activity] = (),
    metric: str = "EffectiveCost",
    weights: TokenWeights | None = None,
    by: str | Sequence[str] = BY,
) -> pl.DataFrame:
    """Tell what an inference cost in each month: for everything and by dimension.

    An inference is a call that succeeded and that a model answered. What failed calls and retries
    cost is in the money, but they are no inferences; calls that a gateway answered from its own
    cache are outcomes, no inferences.

    Numerator and denominator are of the same traffic. Money counts where requests of the month name
    its model; money without a model where they name its feature; money with neither where it is
    part of a pool (``x_PoolId``) of which other money counts. Calls count where some money of their
    model or feature does. By a dimension the same holds within each of its values. The rest is
    told: ``coverage`` is the share of inference money (of the positive entries, so that credits
    cannot lift it above 1) that counts, the measure ``calls_with_cost`` the share of calls. Where no
    positive entry counts though there are some, or credits are above the charges, there is no value.

    Parameters
    ----------
    entries : polars.LazyFrame or polars.DataFrame
        Rows of the `ledger` contract, in one currency.
    requests : polars.LazyFrame or polars.DataFrame
        `finops_lab.unit_economics.schemas.REQUEST_MONTHS`. Without the columns of `VARIANCES` every
        call counts as logged.
    schedule : polars.LazyFrame or polars.DataFrame, optional
        The ``schedule`` of a `finops_lab.allocation.amortization.Amortization`. A month's training
        is shared among a model's inferences, so that each carries the same.
    gpu_days : polars.LazyFrame or polars.DataFrame, optional
        `GPU_DAYS`, for ``marginal_per_call_by_samples``: idle time that the ledger does not tell.
    outcomes : polars.LazyFrame or polars.DataFrame, optional
        ``month`` (Date), ``outcomes`` (number), and dimensions: what came of calls, such as traces
        that succeeded. Successful calls by default.
    rules : sequence of Activity
        ``[[activities]]`` of `finops.toml`.
    metric : str
        The cost column.
    weights : TokenWeights, optional
        What tokens weigh in ``per_1m_weighted_tokens``.
    by : str or sequence of str
        Dimensions beside the whole.

    Returns
    -------
    polars.DataFrame
        `FIGURES` of the measures in `DEFINITIONS`, for every month that the ledger has inference
        money in or requests tell of. ``rows`` counts ledger entries and rows of requests. Money
        and calls that name no value of a dimension are shown (key null), but never divided: they
        have nothing to do with each other. Of a sampled log, calls and tokens are estimates, and
        the figures have bounds that hold for 95 of 100 samples.

    Raises
    ------
    CurrencyError
        When the ledger, or ledger and schedule, are in several currencies.
    InputError
        When the metric is no cost column, a column is missing, or `by` names what the ledger and
        requests do not both say.

    Examples
    --------
    >>> usual = dict.fromkeys(["CommitmentDiscountStatus", "x_team", "x_model", "x_variant", "x_feature",
    ...     "x_customer", "x_environment", "x_PoolId"])
    >>> usual |= {"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "ServiceCategory": "Compute",
    ...     "ServiceName": "Machines", "ChargeCategory": "Usage", "x_AllocationMethod": "tag"}
    >>> entries = pl.DataFrame([{**usual, "x_model": "m", "EffectiveCost": Decimal(6)}])
    >>> from finops_lab.unit_economics.schemas import REQUEST_MONTHS
    >>> calls = {"month": date(2026, 10, 1), "model": "m", "rows": 1, "rows_without_tokens": 1,
    ...     "calls_ok": 5, "calls_cached": 2}
    >>> found = inference_cost(entries, pl.DataFrame([calls], schema=REQUEST_MONTHS), by=())
    >>> found.select("measure", "value").row(0)
    ('allocated_per_call', Decimal('2.000000000000000000'))
    """
    by = each_name(by)
    if unknown := [name for name in by if name not in _TOLD_BY]:
        raise InputError(
            f"cost per inference is not told by {unknown[0]!r}", hint=f"dimensions: {', '.join(_TOLD_BY)}"
        )
    currency = currency_of(entries)
    dimensions = list(dict.fromkeys([*by, "model", "feature"]))
    money = spent(entries, "inference", dimensions, rules=rules, metric=metric).collect()
    calls = _counted(requests, dimensions)
    told = whole_and_by(by)
    traffic = SameTraffic(money, calls, by)
    marks = {dimension: traffic.matched(dimension) for dimension in told}
    money = money.with_columns(of_money.alias(_mark(dimension)) for dimension, (of_money, _) in marks.items())
    calls = calls.with_columns(of_calls.alias(_mark(dimension)) for dimension, (_, of_calls) in marks.items())
    training = _training(schedule, currency)
    table = _ready(
        _side_by_side(money, calls, told, metric),
        _loaded(training, calls.filter(marks[None][1]), told),
        set(training["month"]),
        # The rates of GPU samples are in USD.
        {} if gpu_days is None or currency != "USD" else idle_of_pools(gpu_days, _served(calls, told)),
        outcomes,
        weights or TokenWeights(),
        currency,
    )
    return together(inference_figures(table, currency), told)


def _counted(requests: pl.LazyFrame | pl.DataFrame, dimensions: Sequence[str]) -> pl.DataFrame:
    ok, cached = pl.col("calls_ok"), pl.col("calls_cached")
    # A group whose cached calls failed in part would count below nothing.
    inferences = pl.when(ok > cached).then(ok - cached).otherwise(0).cast(COUNTED)
    known = {
        "inferences": inferences,
        "outcomes": ok,
        "input": pl.col(_INPUTS[0]).fill_null(0) + pl.col(_INPUTS[1]).fill_null(0),
        "cached": pl.col("cache_read_tokens").fill_null(0),
        "output": pl.col("output_tokens").fill_null(0),
        "rows": pl.col("rows"),
        "rows_without_tokens": pl.col("rows_without_tokens"),
        **{name: pl.col(name).fill_null(0) for name in _OFF},
    }
    keys = ["month", *dimensions, "pool_id"]
    frame = requests.lazy()
    told = frame.collect_schema()
    frame = frame.with_columns(pl.lit(0, COUNTED).alias(name) for name in _OFF if name not in told)
    return frame.group_by(keys).agg(what.sum().alias(name) for name, what in known.items()).collect()


def _mark(dimension: str | None) -> str:
    return f"matched within {dimension}"


def _served(calls: pl.DataFrame, dimensions: Sequence[str | None]) -> pl.DataFrame:
    """Return the pools that served what counts, by month and value of each dimension."""
    pooled = calls.filter(pl.col("pool_id").is_not_null())
    served = per_dimension(pooled, dimensions, lambda one: ["pool_id", pl.col(_mark(one)).alias("matched")])
    return served.filter("matched").select(*PLACE, "pool_id").unique().collect(engine="in-memory")


def _side_by_side(
    money: pl.DataFrame, calls: pl.DataFrame, dimensions: Sequence[str | None], metric: str
) -> pl.DataFrame:
    matched = pl.col("matched")

    def marked(rows: pl.DataFrame, names: Sequence[str]) -> pl.LazyFrame:
        return per_dimension(rows, dimensions, lambda one: [*names, pl.col(_mark(one)).alias("matched")])

    there = (
        marked(money, _AMOUNTS)
        .group_by(PLACE)
        .agg(
            *[pl.col(name).filter(matched).sum() for name in _AMOUNTS],
            pl.col("charged").sum().alias("all_charged"),
            pl.col("entries").sum().alias("all_entries"),
        )
    )
    counts = (
        marked(calls, _COUNTS)
        .group_by(PLACE)
        .agg(
            *[pl.col(name).filter(matched).sum() for name in _COUNTS],
            pl.col("inferences").sum().alias("all_inferences"),
            pl.col("rows").sum().alias("all_rows"),
            pl.col("variance_ok").filter(~matched).sum().alias("variance_unmatched"),
        )
    )
    table = there.join(counts, on=PLACE, how="full", coalesce=True, nulls_equal=True).with_columns(
        pl.col(
            "entries", "all_entries", "unknown", "idle", "rows", "rows_without_tokens", "all_rows"
        ).fill_null(0)
    )
    nobody = pl.col("dimension").is_not_null() & pl.col("key").is_null()
    no_such = pl.format("names no {}: its money and its calls need not be of the same traffic", "dimension")
    unseen = (
        (nobody, no_such),
        (~pl.col("month").is_in(calls["month"].unique().to_list()), "no requests are known of the month"),
    )
    # What was charged is of calls that nothing tells apart: nothing is no price of those that are told.
    free = ((pl.col("charged") == 0) & (pl.col("all_charged") > 0)).fill_null(False)
    reason = first_reason(
        *unseen,
        (pl.col("all_entries") == 0, "the ledger has no inference money of it"),
        (pl.col("entries") == 0, "requests name none of the models and features that its money is for"),
        (pl.col("unknown") > 0, f"{metric} is not known of all its charges"),
        (pl.col("rows") == 0, "its requests are of models and features that the ledger has no money of"),
        (free, "of its money only what was free or credited is of models and features that requests name"),
        (pl.col("amount") < 0, "its credits are above its charges"),
    )
    counted = (pl.col("entries") > 0) & (pl.col("unknown") == 0) & ~free
    return table.with_columns(
        reason,
        pl.coalesce(
            reason, first_reason((pl.col("used") < 0, "credits of what was used are above its charges"))
        ).alias("reason_of_use"),
        first_reason(*unseen).alias("reason_of_calls"),
        *[pl.when(counted).then(name).alias(name) for name in ("amount", "used")],
        (pl.col("entries") + pl.col("rows")).alias("all"),
        share_of(pl.col("charged"), pl.col("all_charged")).alias("coverage"),
        share_of(pl.col("rows_without_tokens"), pl.col("rows")).alias("untold"),
    ).collect()


def _ready(
    table: pl.DataFrame,
    training: Mapping[_Place, Decimal],
    trained: Collection[date],
    idle: Mapping[_Place, tuple[Decimal, float]],
    outcomes: pl.LazyFrame | pl.DataFrame | None,
    weights: TokenWeights,
    currency: str,
) -> pl.DataFrame:
    """Add what the measures divide, where it is not a plain sum."""
    # Training jobs tell what they cost in USD.
    untrained = "no training amortized to the month is known"
    untrained += (
        ": it takes training jobs and deploys of what they made" if currency == "USD" else f" in {currency}"
    )
    places: list[_Place] = table.select(PLACE).rows()
    # Where the schedule tells of a month, a model without a line in it was not trained here.
    made = [training.get(place, _ZERO if place[1] in trained else None) for place in places]
    spare = [idle.get(place, (None, None)) for place in places]
    table = table.with_columns(
        pl.Series("training", made, MONEY),
        pl.Series("spare", [amount for amount, _ in spare], MONEY),
        pl.Series("coverage_of_samples", [share for _, share in spare], pl.Float64),
        _weighted(weights),
        _outcomes(table, outcomes),
        *_variances(weights, counted=outcomes is not None),
    )
    return table.with_columns(
        (pl.col("amount") + pl.col("training")).cast(MONEY).alias("loaded"),
        (pl.col("input") + pl.col("cached")).alias("inputs"),
        (pl.col("input") + pl.col("cached") + pl.col("output")).alias("tokens"),
        (pl.col("used") - pl.col("spare")).cast(MONEY).alias("busy"),
        pl.min_horizontal("coverage", 1 - pl.col("untold")).alias("coverage_of_tokens"),
        pl.coalesce(
            "reason_of_use",
            first_reason(
                (pl.col("idle") > 0, "the ledger sets idle cost apart: see marginal_per_call"),
                (pl.col("spare").is_null(), "its pools have no GPU samples with a rate, or serve others too"),
                # The bill then is not of these pools, or their rates are not what was paid.
                (
                    pl.col("spare") > pl.col("used"),
                    "its pools idled for more than all money of it: rates and bill differ",
                ),
            ),
        ).alias("reason_of_samples"),
        _or("training", untrained).alias("reason_of_training"),
        _or("outcome", "outcomes are not told of it").alias("reason_of_outcomes"),
    )


def _weighted(weights: TokenWeights) -> pl.Expr:
    """Return tokens times what they weigh: thousandths times parts of 10^15, which are whole numbers."""
    parts = [
        pl.col(name).fill_null(0).to_physical().cast(pl.Int128) * int(weight.scaleb(_DIGITS))
        for name, weight in (
            ("input", weights.input),
            ("cached", weights.cached_input),
            ("output", weights.output),
        )
    ]
    return (parts[0] + parts[1] + parts[2]).reinterpret(dtype=MONEY).alias("weighted")


def _variances(weights: TokenWeights, *, counted: bool) -> list[pl.Expr]:
    """Return how far the denominators may be off because calls were sampled; `counted` outcomes are not."""
    calls, read, written = (pl.col(name).cast(pl.Float64) for name in _OFF)
    # Input and output of a call go together, so at worst their errors do: standard errors add up.
    heaviest = float(max(weights.input, weights.cached_input))
    weighted = heaviest * read.sqrt() + float(weights.output) * written.sqrt()
    found = {
        # Calls that a gateway answered are taken out of a count that no row of it can be missing from.
        "inferences": pl.min_horizontal(calls, pl.col("inferences").cast(pl.Float64) ** 2),
        "outcome": pl.lit(0.0) if counted else calls,
        "inputs": read,
        "output": written,
        "tokens": (read.sqrt() + written.sqrt()) ** 2,
        "weighted": weighted**2,
    }
    return [what.alias(f"variance_of_{name}") for name, what in found.items()]


def _or(column: str, reason: str) -> pl.Expr:
    return pl.coalesce("reason", pl.when(pl.col(column).is_null()).then(pl.lit(reason)))


def _outcomes(table: pl.DataFrame, outcomes: pl.LazyFrame | pl.DataFrame | None) -> pl.Series:
    if outcomes is None:
        return table["outcomes"].cast(MONEY).alias("outcome")
    frame = outcomes.lazy().collect()
    known = [one for one in table["dimension"].unique() if one is None or one in frame.columns]
    found = added_up(frame, known, pl.col("outcomes").sum().cast(MONEY).alias("outcome"))
    places = table.select(PLACE)
    return places.join(found, on=PLACE, how="left", nulls_equal=True, maintain_order="left")["outcome"]


def _training(schedule: pl.LazyFrame | pl.DataFrame | None, currency: str) -> pl.DataFrame:
    kinds: dict[str, pl.DataType | type[pl.DataType]] = {
        "month": pl.Date,
        "model": pl.String,
        "amount": MONEY,
    }
    if schedule is None:
        return pl.DataFrame(schema=kinds)
    lines = (
        schedule.lazy().select("month", "model", "BillingCurrency", pl.col("amount").cast(MONEY)).collect()
    )
    one_currency([currency, *lines["BillingCurrency"]])
    return lines.group_by("month", "model").agg(pl.col("amount").sum()).sort("month", "model")


def _loaded(
    training: pl.DataFrame, calls: pl.DataFrame, dimensions: Sequence[str | None]
) -> dict[_Place, Decimal]:
    """Share each model's training of a month among its inferences; what counts here is added up."""
    if training.is_empty():
        return {}
    users = calls.filter(pl.col("model").is_in(training["model"].to_list()), pl.col("inferences") > 0)
    keys = ["dimension", "month", "model", "key", "matched"]
    columns = ["model", "inferences"]
    shares = per_dimension(users, dimensions, lambda one: [*columns, pl.col(_mark(one)).alias("matched")])
    counted = shares.group_by(keys).agg(pl.col("inferences").sum()).sort(keys, nulls_last=True)
    shared: dict[tuple[date, str], dict[str | None, list[tuple[str | None, bool, Decimal]]]]
    shared = defaultdict(lambda: defaultdict(list))
    for dimension, month, model, value, counts, n in counted.collect(engine="in-memory").iter_rows():
        shared[month, model][dimension].append((value, counts, n))
    found: dict[_Place, list[Decimal]] = defaultdict(list)
    for month, model, amount in training.iter_rows():
        for dimension, among in shared.get((month, model), {}).items():
            for (value, counts, _), part in zip(among, split(amount, [n for *_, n in among]), strict=True):
                found[dimension, month, value] += [part] if counts else []
    return {place: exact_sum(parts) for place, parts in found.items()}
