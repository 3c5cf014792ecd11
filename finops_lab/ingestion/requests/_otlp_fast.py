"""The fast road of OTLP: lines decoded into structs, then the attributes of many spans as columns.

Every rule here is one of `_otlp_spans`, for values of the usual type. A span that has another
one, or something to tell, is left to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from finops_lab import contracts
from finops_lab.ingestion import _fast_json
from finops_lab.ingestion._fast_json import LINE, Regular
from finops_lab.ingestion._fast_values import amounts, bare, coalesce, first, once
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import _calls
from finops_lab.ingestion.requests import _otlp_names as names
from finops_lab.ingestion.requests._otlp_pieces import COUNTS, NUMBERS, OTHER, TIMES, Pieces

__all__ = ["road"]

_TEXT, _COUNT, _SIZE = pl.String(), pl.Int64(), pl.Float64()
_PIECE = 2_000
_ROUNDED = ["cost_reported_usd: more than 18 decimals, rounded to 18"]


def road(settings: ReadSettings) -> _fast_json.Road | None:
    """Return the fast road, or none when a name of the lab stands for a count."""
    lookups = names.lookups(settings)
    wanted = {name for several in lookups.values() for name in several}
    if _fast_json.library() is None or wanted & {*COUNTS, *NUMBERS}:
        return None
    return _Road(lookups, 1 / settings.sample_rate if settings.sample_rate else 1.0)


class _Road:
    def __init__(self, lookups: Mapping[str, Sequence[str]], weight: float) -> None:
        self._lookups, self._weight = lookups, weight
        looked_up = [name for several in lookups.values() for name in several]
        of_resource = (*looked_up, names.HOSTING, names.POOL, names.SERVER_POOL)
        kinds = (names.OPERATION, names.KIND, names.TASK, names.REQUEST_TYPE)
        others = (
            names.TIER,
            names.PROVIDER,
            names.RESPONSE_ID,
            names.RESPONSE_MODEL,
            names.SESSION,
            names.ERROR,
        )
        own = [name for several in (kinds, *others) for name in several]
        self._pieces = Pieces([*own, *of_resource], of_resource, weight)

    def take(self, lines: Sequence[bytes], sound: bool) -> int:
        """Decode some lines; return the number of spans held."""
        return self._pieces.take(lines, sound)

    def rows(self) -> Regular:
        """Return the rows of the lines taken, and forget them."""
        raw, widths, broken = self._pieces.whole()
        irregular: dict[int, set[int] | None] = dict.fromkeys(broken)
        frame = self._frame(raw)
        calls = frame.filter("call")
        if not calls["good"].all():
            for line, offset in calls.filter(~pl.col("good")).select(LINE, "source_row").iter_rows():
                offsets = irregular.setdefault(line, set())
                if offsets is not None:
                    offsets.add(offset)
            calls = calls.filter("good")
        return Regular(calls.drop("call", "good"), len(widths), widths, irregular)

    def _frame(self, raw: pl.DataFrame) -> pl.DataFrame:
        costs = [name for name in names.COST if name in raw.columns]
        cost = raw.select(pl.coalesce(costs) if costs else pl.lit(None, _TEXT).alias("cost")).to_series()
        cost = cost if costs else cost.new_from_index(0, raw.height)
        amount, rounded, vouched = amounts(cost)
        raw = raw.with_columns(amount.alias("cost"), rounded.alias("rounded"), vouched.alias("vouched"))
        held = raw.columns
        start, end = (pl.col(name).cast(_COUNT, strict=False) for name in TIMES)
        read = {
            "start": pl.when(start != 0).then(start),
            "end": pl.when(end != 0).then(end),
            "timed": (start.is_not_null() | pl.col(TIMES[0]).is_null())
            & (end.is_not_null() | pl.col(TIMES[1]).is_null()),
            "provider": first(names.PROVIDER, held, _TEXT),
            "error": first(names.ERROR, held, _TEXT),
            **{
                column: first(several, held, _COUNT)
                for column, several in (
                    ("input", names.INPUT),
                    ("read", names.CACHE_READ),
                    ("written", names.CACHE_WRITE),
                    ("output", names.OUTPUT),
                    ("reasoning", names.REASONING),
                    ("resent", [names.RETRIES]),
                    ("sent", names.REQUEST_BYTES),
                    ("returned", names.RESPONSE_BYTES),
                )
            },
            "total": pl.any_horizontal(
                [pl.lit(False), *[pl.col(n).is_not_null() for n in names.TOTAL if n in held]]
            ),
        }
        if "weight" not in held:
            read["weight"] = pl.lit(self._weight)
        columns = held + list(read)
        kind = bare(names.KIND).str.to_uppercase() if names.KIND in held else pl.lit(None, _TEXT)
        said = coalesce([first([names.OPERATION, names.REQUEST_TYPE], held, _TEXT), kind], _TEXT)
        host = coalesce(
            [
                first([names.HOSTING, f"resource {names.HOSTING}"], held, _TEXT),
                once("provider", _calls.hosting),
            ],
            _TEXT,
        )
        raw = raw.with_columns(**read).with_columns(said.alias("said"), host.alias("host"))
        return raw.select(self._columns(columns))

    def _columns(self, held: Sequence[str]) -> list[pl.Expr]:
        start, end, error, host = (pl.col(name) for name in ("start", "end", "error", "host"))
        read, written = pl.col("read").fill_null(0), pl.col("written").fill_null(0)
        uncached = pl.col("input") - read - written
        failed = pl.col("failed") | error.is_not_null()
        utc, texts = pl.Datetime("us", "UTC"), pl.List(pl.String)
        taken = {
            column: [pl.col(n).cast(_SIZE, strict=False) for n in several if n in held]
            for column, several in names.SECONDS.items()
        }
        taken = {column: found for column, found in taken.items() if found}
        times = {column: coalesce(found, _SIZE) * 1000 for column, found in taken.items()}
        told = {
            column: pl.any_horizontal(pl.col(n).is_not_null() for n in names.SECONDS[column] if n in held)
            for column in times
        }
        done = {
            column: coalesce(self._lookup(several, held), _TEXT) for column, several in self._lookups.items()
        }
        server_pool = coalesce(self._lookup([names.SERVER_POOL], held), _TEXT)
        tiers = self._lookup(self._lookups["service_tier"], held)
        tiers += [pl.col(name) for name in names.TIER if name in held]
        done |= {
            "ts_start": (start // 1000).cast(utc),
            "ts_end": (end // 1000).cast(utc),
            "day": (start // 1000).cast(utc).dt.date(),
            "request_id": coalesce(
                [first(names.RESPONSE_ID, held, _TEXT), bare("spanId").str.to_lowercase()], _TEXT
            ),
            "trace_id": bare("traceId").str.to_lowercase(),
            "parent_id": bare("parentSpanId").str.to_lowercase(),
            "session_id": first(names.SESSION, held, _TEXT),
            "provider": pl.col("provider"),
            "response_model": first(names.RESPONSE_MODEL, held, _TEXT),
            "operation": pl.col("said").replace_strict(names.OPERATIONS, default="other", return_dtype=_TEXT),
            "hosting": host,
            "n_requests": pl.lit(1, pl.Int64),
            "sample_weight": pl.col("weight"),
            "input_uncached_tokens": uncached,
            "cache_read_tokens": pl.col("read"),
            "cache_write_tokens": pl.col("written"),
            "output_tokens": pl.col("output"),
            "reasoning_tokens": pl.col("reasoning"),
            "service_tier": once(coalesce(tiers, _TEXT), _calls.tier) if tiers else pl.lit(None, _TEXT),
            "latency_ms": (end - start) / 1e6,
            **times,
            "request_bytes": pl.col("sent"),
            "response_bytes": pl.col("returned"),
            "status": pl.when(failed).then(once("error", _calls.failure)).otherwise(pl.lit("ok")),
            "error_type": error,
            "is_retry": pl.col("resent") > 0,
            "pool_id": coalesce(
                [*self._lookup([names.POOL], held), pl.when(host == "self_hosted").then(server_pool)], _TEXT
            ),
            "cost_reported_usd": pl.col("cost"),
            "source_row": pl.col("source_row"),
        }
        counts = ("input", "read", "written", "output", "reasoning", "resent", "sent", "returned")
        good = pl.all_horizontal(
            (start > 0).fill_null(False),
            (end > 0).fill_null(True),
            pl.col("timed"),
            (end >= start).fill_null(True),
            done["model"].is_not_null(),
            host.is_in(["api", "self_hosted"]).fill_null(True),
            pl.col("weight").is_not_null(),
            pl.col("vouched"),
            # A total is looked at where there is no input to go with it.
            ~pl.col("total") | pl.col("input").is_not_null(),
            *[
                ~told[column] | (time.is_finite() & (time >= 0)).fill_null(False)
                for column, time in times.items()
            ],
            (uncached >= 0).fill_null(True),
            (pl.col("reasoning") <= pl.col("output")).fill_null(True),
            *[(pl.col(name) >= 0).fill_null(True) for name in counts],
            *([~pl.col(OTHER).fill_null(False)] if OTHER in held else []),
        )
        kinds = {n: t for n, t in contracts.dtypes(_calls.TABLE).items() if n != "source_file"}
        call = self._is_call(held)
        if OTHER in held:
            call = call | pl.col(OTHER).fill_null(False)
        return [
            *[done.get(name, pl.lit(None, kind)).alias(name) for name, kind in kinds.items()],
            pl.struct(pl.lit(None, pl.String).alias("line")).alias(RAW),
            pl.lit(None, texts).alias(REASONS),
            pl.when("rounded").then(pl.lit(_ROUNDED, texts)).alias(NOTES),
            pl.col(LINE),
            call.alias("call"),
            good.alias("good"),
        ]

    def _is_call(self, held: Sequence[str]) -> pl.Expr:
        def value(name: str) -> pl.Expr:
            return bare(name) if name in held else pl.lit(None, _TEXT)

        operation, kind = value(names.OPERATION), value(names.KIND).str.to_uppercase()
        typed = value(names.REQUEST_TYPE).is_in(list(names.CALL_TYPES)).fill_null(False)
        used = [pl.col(n).is_not_null() for n in (*names.INPUT, *names.OUTPUT, *names.TOTAL) if n in held]
        model = [(pl.col(n) != "").fill_null(False) for n in names.MODEL if n in held]
        counted = pl.any_horizontal(used) & pl.any_horizontal(model) if used and model else pl.lit(False)
        return (
            pl.when(operation.is_in(list(names.CALLS)).fill_null(False))
            .then(True)
            .when(operation.is_in(list(names.AROUND)).fill_null(False))
            .then(False)
            .when(kind.is_not_null())
            .then(kind.is_in(list(names.CALL_KINDS)))
            .when(value(names.TASK).is_not_null())
            .then(False)
            .otherwise(typed | counted)
        )

    def _lookup(self, several: Sequence[str], held: Sequence[str]) -> list[pl.Expr]:
        places = (place for name in several for place in (name, f"resource {name}"))
        return [bare(place) for place in places if place in held]
