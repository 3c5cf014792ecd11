"""The fast road of LiteLLM's spend logs: records decoded into structs, then columns of many at once.

Every rule here is one of `_litellm_records`, for values of the usual type. A record that has
another one, or a fault to tell, is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import polars as pl

from finops_lab import contracts
from finops_lab.ingestion import _fast_json, _json, _rows
from finops_lab.ingestion._fast_json import LINE, Regular
from finops_lab.ingestion._fast_values import (
    Memo,
    amounts,
    bare,
    coalesce,
    first,
    literals,
    moments,
    once,
)
from finops_lab.ingestion.registry import NOTES, RAW, REASONS, ReadSettings
from finops_lab.ingestion.requests import _calls, _litellm_records

__all__ = ["road"]

_TEXT, _COUNT = pl.String(), pl.Int64()
_PIECE = 2_000
_PLAIN = ("request_id", "session_id", "end_user", "startTime", "endTime", "completionStartTime")
# Of these there are few values: each is looked at once.
_FEW = {
    "api_key": _json.text,
    "custom_llm_provider": _json.text,
    "model_group": _json.text,
    "model": _json.text,
    "team_id": _json.text,
    "status": _json.text,
    "cache_hit": _litellm_records.served_from_cache,
    "call_type": lambda value: _litellm_records.operation(_json.text(value) or ""),
}
_NUMBERS = ("prompt_tokens", "completion_tokens", "request_duration_ms")
_ALWAYS = frozenset((*_PLAIN, *_FEW, *_NUMBERS, "hosting", "request_tags", "spend"))
_SAID = ("status", "error_class", "service_tier")
_ROUNDED = ["cost_reported_usd: more than 18 decimals, rounded to 18"]
_USAGES = ("additional_usage_values", "usage_object")
_TAG, _HOLDERS = "request_tags", ("metadata", *_litellm_records.NESTED)


def road(settings: ReadSettings) -> _fast_json.Road | None:
    """Return the fast road, or none when a name of the lab stands for something else in a record."""
    names = _names(settings)
    wanted = {name for several in names.values() for name in several}
    if _fast_json.library() is None or wanted & {*_HOLDERS, *_USAGES, *_SAID, "error_information"}:
        return None
    return _Road(settings, names, sorted(wanted))


def _names(settings: ReadSettings) -> dict[str, tuple[str, ...]]:
    """Return the names that the lab gives a column, and those of the column itself."""
    own = {column: (column, f"finops.{column}") for column in _litellm_records.CONTEXT}
    first = {
        f"lab {column}": settings.attributes.get(column, ()) for column in (*own, "model", "service_tier")
    }
    return {**own, **first, "pool_id": _litellm_records.POOL}


class _Road:
    def __init__(self, settings: ReadSettings, names: dict[str, tuple[str, ...]], wanted: list[str]) -> None:
        msgspec = _fast_json.library()
        self._names, self._wanted = names, wanted
        self._weight = 1 / settings.sample_rate if settings.sample_rate else 1.0

        def struct(name: str, fields: dict[str, Any], rename: dict[str, str] | None = None) -> Any:
            optional = [(field, kind | None, None) for field, kind in fields.items()]
            return msgspec.defstruct(name, optional, gc=False, rename=rename)

        count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
        context = {f"f{number}": name for number, name in enumerate(wanted)}
        texts = dict.fromkeys(context, str)
        usage = struct(
            "Usage",
            {
                "prompt_tokens_details": struct(
                    "Prompt", {"cached_tokens": count, "cache_creation_tokens": count}
                ),
                "completion_tokens_details": struct("Completion", {"reasoning_tokens": count}),
                "cache_read_input_tokens": count,
                "cache_creation_input_tokens": count,
            },
        )
        held = struct("Held", texts, context)
        metadata = struct(
            "Metadata",
            {
                **dict.fromkeys(_USAGES, usage),
                **dict.fromkeys(_litellm_records.NESTED, held),
                "status": str,
                "error_information": struct("Error", {"error_class": str}),
                "cost_breakdown": struct("Cost", {"service_tier": str}),
                **texts,
            },
            context,
        )
        null = msgspec.Raw(b"null")
        record = msgspec.defstruct(
            "Record",
            [
                *[(name, str | None, None) for name in (*_PLAIN, *_FEW)],
                *[(name, count | None, None) for name in _NUMBERS],
                (_TAG, msgspec.Raw, null),
                ("spend", msgspec.Raw, null),
                ("metadata", metadata | str | None, None),
                # A list here would be a page of records.
                ("data", dict | str | int | float | bool | None, None),
            ],
            gc=False,
        )
        self._tuple = msgspec.structs.astuple
        self._decode = msgspec.json.Decoder(record).decode
        self._decode_metadata = msgspec.json.Decoder(metadata).decode
        self._blank = record()
        self._empty = {"metadata": metadata(), "usage": usage(), "held": held()}
        self._metadata_type = metadata
        self._fields = {
            "metadata": [*_USAGES, *_litellm_records.NESTED, "status", "error", "cost", *wanted],
            "usage": ["prompt", "completion", "cache_read", "cache_creation"],
        }
        self._hosting = Memo(lambda provider: _calls.hosting(_json.text(provider)))
        self._memos = {name: Memo(function) for name, function in _FEW.items()}
        self._tags = Memo(self._read_tags)
        self._tag_rows: list[list[str | None]] = []
        self._parts: list[dict[str, pl.Series]] = []
        self._values: dict[str, tuple[pl.DataType, list[Any]]] = {}
        self._unpacked = 0
        self._held = 0

    def take(self, lines: Sequence[bytes], sound: bool) -> int:
        """Decode some lines; return the number of records held."""
        records = _fast_json.decode_all(self._decode, lines, sound, self._blank)
        if records:
            self._unpack(records)
        if self._unpacked >= _PIECE:
            self._seal()
        return self._held

    def _unpack(self, records: Sequence[Any]) -> None:
        """Take the values out of the records, while these are at hand in the processor's cache."""
        columns = list(zip(*map(self._tuple, records), strict=True))
        if str in set(map(type, columns[-2])):
            columns = list(zip(*map(self._tuple, map(self._unfolded, records)), strict=True))
        found = dict(zip((*_PLAIN, *_FEW, *_NUMBERS, _TAG, "spend", "metadata"), columns, strict=False))
        for name in (*_PLAIN, *_NUMBERS):
            self._add(name, found[name], _TEXT if name in _PLAIN else _COUNT)
        for name, memo in self._memos.items():
            kind = pl.Boolean() if name == "cache_hit" else _TEXT
            self._add(name, list(map(memo.__getitem__, found[name])), kind)
        hosts = list(map(self._hosting.__getitem__, found["custom_llm_provider"]))
        self._add("hosting", hosts, _TEXT)
        self._add(_TAG, list(map(self._tags.__getitem__, map(bytes, found[_TAG]))), _COUNT)
        self._add("spend", list(map(bytes, found["spend"])), _TEXT)
        self._take_metadata(found["metadata"])
        self._unpacked += len(records)
        self._held += len(records)

    def _seal(self) -> None:
        """Turn the values into columns."""
        part: dict[str, pl.Series] = {}
        for name, (dtype, values) in self._values.items():
            values += [None] * (self._unpacked - len(values))
            part[name] = literals(values) if name == "spend" else pl.Series(values, dtype=dtype)
        if part:
            self._parts.append(part)
        self._values, self._unpacked = {}, 0

    def _add(self, name: str, values: Sequence[Any], dtype: pl.DataType) -> None:
        if name not in self._values:
            if name not in _ALWAYS and values.count(None) == len(values):
                return
            self._values[name] = (dtype, [])
        held = self._values[name][1]
        held += [None] * (self._unpacked - len(held))
        held += values

    def _unfolded(self, record: Any) -> Any:
        """Decode metadata that was delivered as text."""
        if type(record.metadata) is not str:
            return record
        try:
            blank = not record.metadata.strip()
            record.metadata = None if blank else self._decode_metadata(record.metadata)
        except (_fast_json.library().MsgspecError, RecursionError):
            return self._blank
        return record

    def _take_metadata(self, column: Sequence[Any]) -> None:
        found = self._opened(column, "metadata")
        for place, name in (("error", "error_class"), ("cost", "service_tier")):
            inside = found.pop(place)
            if inside.count(None) != len(inside):
                texts = [None if held is None else getattr(held, name) for held in inside]
                self._add(name, texts, _TEXT)
        self._add("metadata status", found.pop("status"), _TEXT)
        for usage in _USAGES:
            inside = found.pop(usage)
            if inside.count(None) == len(inside):
                continue
            usages = self._opened(inside, "usage")
            prompts, outputs = usages["prompt"], usages["completion"]
            for name, field, held in (
                ("prompt cached", "cached_tokens", prompts),
                ("prompt written", "cache_creation_tokens", prompts),
                ("reasoning", "reasoning_tokens", outputs),
            ):
                if held.count(None) != len(held):
                    counts = [None if one is None else getattr(one, field) for one in held]
                    self._add(f"{usage} {name}", counts, _COUNT)
            self._add(f"{usage} cached", usages["cache_read"], _COUNT)
            self._add(f"{usage} written", usages["cache_creation"], _COUNT)
        for holder in _litellm_records.NESTED:
            inside = found.pop(holder)
            if inside.count(None) == len(inside):
                continue
            empty = self._empty["held"]
            rows = [self._tuple(empty if one is None else one) for one in inside]
            for name, values in zip(self._wanted, zip(*rows, strict=True), strict=True):
                self._add(f"{holder} {name}", values, _TEXT)
        for name in self._wanted:
            self._add(f"metadata {name}", found[name], _TEXT)

    def _opened(self, column: Sequence[Any], kind: str) -> dict[str, Any]:
        empty = self._empty[kind]
        rows = [self._tuple(empty if one is None else one) for one in column]
        return dict(zip(self._fields[kind], zip(*rows, strict=True), strict=True))

    def _read_tags(self, raw: bytes) -> int | None:
        """Return the number of a set of tags among those seen; null when it has a fault."""
        faults: list[str] = []
        tags = _litellm_records.tags(_json.decode(raw.decode()), faults)
        if faults:
            return None
        self._tag_rows.append([_json.text(tags.get(name)) for name in self._wanted])
        return len(self._tag_rows) - 1

    def rows(self) -> Regular:
        """Return the rows of the lines taken, and forget them."""
        self._seal()
        if not self._parts:
            empty = _rows.batch(_calls.TABLE, []).with_columns(pl.lit(0, pl.Int64).alias(LINE))
            return Regular(empty, 0)
        kinds = {name: series.dtype for part in self._parts for name, series in part.items()}
        nothing = {kind: pl.Series([None], dtype=kind) for kind in set(kinds.values())}

        def whole(name: str, kind: pl.DataType) -> pl.Series:
            sizes = (part["spend"].len() for part in self._parts)
            held = (part.get(name) for part in self._parts)
            return pl.concat(
                [
                    nothing[kind].new_from_index(0, n) if s is None else s
                    for s, n in zip(held, sizes, strict=True)
                ]
            )

        raw = {name: whole(name, kind) for name, kind in kinds.items()}
        self._parts, self._held = [], 0
        raw["start"], raw["end"], raw["token"] = (
            moments(raw[name]) for name in ("startTime", "endTime", "completionStartTime")
        )
        raw["cost"], raw["rounded"], raw["vouched"] = amounts(raw["spend"])
        tags = self._tag_columns(raw[_TAG])
        self._tags.clear()
        self._tag_rows = []
        frame = pl.DataFrame({**raw, **tags})
        frame = frame.with_columns(**self._steps(frame.columns)).select(self._columns(frame.columns))
        good = frame["good"]
        irregular: dict[int, set[int] | None] = {}
        if not good.all():
            irregular = dict.fromkeys((~good).arg_true().to_list())
            frame = frame.filter(good)
        return Regular(frame.drop("good"), good.len(), None, irregular)

    def _steps(self, held: Sequence[str]) -> dict[str, pl.Expr]:
        """Return what several columns need."""
        usages = {
            "read": ([f"{u} prompt cached" for u in _USAGES], [f"{u} cached" for u in _USAGES]),
            "written": ([f"{u} written" for u in _USAGES], [f"{u} prompt written" for u in _USAGES]),
            "reasoning": ([f"{u} reasoning" for u in _USAGES],),
        }
        error = first(["error_class"], held, _TEXT)
        said = pl.coalesce(pl.col("status"), first(["metadata status"], held, _TEXT)).str.to_lowercase()
        unsaid = pl.when(error.is_null()).then(pl.lit("success")).otherwise(pl.lit("failure"))
        return {
            **{
                name: first([n for place in places for n in place], held, _COUNT)
                for name, places in usages.items()
            },
            "error": error,
            "said": said.fill_null(unsaid),
        }

    def _columns(self, held: Sequence[str]) -> list[pl.Expr]:
        start, end, token, read, written = (pl.col(n) for n in ("start", "end", "token", "read", "written"))
        group, deployed, logged = pl.col("model_group"), pl.col("model"), pl.col("request_duration_ms")
        uncached = pl.col("prompt_tokens") - read.fill_null(0) - written.fill_null(0)
        failed = pl.col("said") == "failure"
        utc = pl.Datetime("us", "UTC")
        done: dict[str, pl.Expr] = {}
        for column in _litellm_records.CONTEXT:
            field = _litellm_records.FIELDS.get(column)
            own = [] if field is None else [bare(field) if field in _PLAIN else pl.col(field)]
            done[column] = coalesce(
                [*self._lookup(f"lab {column}", held), *own, *self._lookup(column, held)], _TEXT
            )
        model = coalesce([*self._lookup("lab model", held), group, deployed], _TEXT)
        tiers = self._lookup("lab service_tier", held)
        tiers += [pl.col("service_tier")] if "service_tier" in held else []
        done |= {
            "model": model,
            "response_model": pl.when(group.is_not_null()).then(deployed),
            "pool_id": coalesce(self._lookup("pool_id", held), _TEXT),
            "ts_start": start.cast(utc),
            "ts_end": end.cast(utc),
            "day": start.cast(utc).dt.date(),
            "request_id": bare("request_id"),
            "session_id": bare("session_id"),
            "api_key_id": pl.col("api_key"),
            "provider": pl.col("custom_llm_provider"),
            "operation": pl.col("call_type"),
            "hosting": pl.col("hosting"),
            "n_requests": pl.lit(1, pl.Int64),
            "sample_weight": pl.lit(self._weight),
            "input_uncached_tokens": uncached,
            "cache_read_tokens": read,
            "cache_write_tokens": written,
            "output_tokens": pl.col("completion_tokens"),
            "reasoning_tokens": pl.col("reasoning"),
            "service_tier": once(coalesce(tiers, _TEXT), _calls.tier) if tiers else pl.lit(None, _TEXT),
            "latency_ms": pl.coalesce(logged.cast(pl.Float64), (end - start) / 1000),
            "ttft_ms": pl.when((start <= token) & (token < end)).then((token - start) / 1000),
            "status": pl.when(failed).then(once("error", _calls.failure)).otherwise(pl.lit("ok")),
            "error_type": pl.when(failed).then(pl.col("error")),
            "served_from_cache": pl.col("cache_hit"),
            "cost_reported_usd": pl.col("cost"),
            "source_row": pl.lit(1, pl.Int64),
        }
        texts = pl.List(pl.String)
        kinds = {n: t for n, t in contracts.dtypes(_calls.TABLE).items() if n != "source_file"}
        good = (
            start.is_not_null()
            & (pl.col("endTime").is_null() | end.is_not_null())
            & (pl.col("completionStartTime").is_null() | token.is_not_null())
            & (end >= start).fill_null(True)
            & model.is_not_null()
            & pl.col("vouched")
            & pl.col(_TAG).is_not_null()
            & (uncached >= 0).fill_null(True)
            & (pl.col("reasoning") <= pl.col("completion_tokens")).fill_null(True)
            & pl.col("said").is_in(["success", "failure"])
        )
        return [
            *[done.get(name, pl.lit(None, kind)).alias(name) for name, kind in kinds.items()],
            pl.struct(pl.lit(None, pl.String).alias("line")).alias(RAW),
            pl.lit(None, texts).alias(REASONS),
            pl.when("rounded").then(pl.lit(_ROUNDED, texts)).alias(NOTES),
            pl.int_range(pl.len(), dtype=pl.Int64).alias(LINE),
            good.alias("good"),
        ]

    def _lookup(self, column: str, held: Sequence[str]) -> list[pl.Expr]:
        found: list[pl.Expr] = []
        for name in self._names[column]:
            found.extend([pl.col(f"tag {name}")] if f"tag {name}" in held else [])
            found.extend(bare(f"{holder} {name}") for holder in _HOLDERS if f"{holder} {name}" in held)
        return found

    def _tag_columns(self, numbers: pl.Series) -> dict[str, pl.Series]:
        used = numbers.unique().drop_nulls().to_list()
        if not any(any(self._tag_rows[number]) for number in used):
            return {}
        columns = list(zip(*self._tag_rows, strict=True))
        return {
            f"tag {name}": pl.Series(texts, dtype=_TEXT).gather(numbers)
            for name, texts in zip(self._wanted, columns, strict=True)
            if any(texts)
        }
