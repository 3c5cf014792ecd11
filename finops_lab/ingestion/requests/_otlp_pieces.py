"""Lines of OTLP as columns: one of each attribute that is read, of many spans at a time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import GenericAlias
from typing import Any

import polars as pl

from finops_lab.ingestion import _fast_json
from finops_lab.ingestion._fast_json import LINE
from finops_lab.ingestion._fast_values import Memo, literals
from finops_lab.ingestion.requests import _otlp_names as names
from finops_lab.ingestion.requests import _otlp_spans

__all__ = ["COUNTS", "IDS", "NUMBERS", "OTHER", "TIMES", "Pieces"]

_TEXT, _COUNT, _SIZE = pl.String(), pl.Int64(), pl.Float64()
_PIECE = 2_000
_FEW = 128
COUNTS = (
    *names.INPUT,
    *names.OUTPUT,
    *names.TOTAL,
    *names.CACHE_READ,
    *names.CACHE_WRITE,
    *names.REASONING,
    names.RETRIES,
    *names.REQUEST_BYTES,
    *names.RESPONSE_BYTES,
)
NUMBERS = (*[name for several in names.SECONDS.values() for name in several], *names.COST)
IDS = ("traceId", "spanId", "parentSpanId")
TIMES = ("startTimeUnixNano", "endTimeUnixNano")
OTHER = "other"  # marks a span with a value of another type
_NESTED = ("bytesValue", "arrayValue", "kvlistValue")


def _types() -> tuple[Any, Any]:
    """Return the struct of a line and the one of a value."""
    msgspec = _fast_json.library()

    def struct(name: str, **fields: Any) -> Any:
        return msgspec.defstruct(name, [(field, kind, None) for field, kind in fields.items()], gc=False)

    number = msgspec.Raw(b"null")
    value = msgspec.defstruct(
        "Value",
        [
            ("stringValue", str | None, None),
            ("intValue", str | int | None, None),
            ("boolValue", bool | None, None),
            ("doubleValue", msgspec.Raw, number),
            *[(kind, msgspec.Raw, number) for kind in _NESTED],
        ],
        gc=False,
    )
    attribute = msgspec.defstruct("Attribute", [("key", str), ("value", value | None, None)], gc=False)
    span = struct(
        "Span",
        **dict.fromkeys(IDS, str | None),
        **dict.fromkeys(TIMES, str | int | None),
        traceState=str | None,
        status=struct("Status", code=int | str | None) | None,
        attributes=_list(attribute),
    )
    scope = struct("Scope", spans=_list(span))
    resource = struct("Resource", attributes=_list(attribute))
    group = struct("Group", resource=resource | None, scopeSpans=_list(scope))
    return msgspec.defstruct("Line", [("resourceSpans", _list(group))], gc=False), value


def _list(of: Any) -> Any:
    return GenericAlias(list, (of,)) | None


def _spelled(values: Sequence[Any]) -> pl.Series:
    """Return texts and whole numbers as text."""
    if int in set(map(type, values)):
        values = [str(value) if type(value) is int else value for value in values]
    return pl.Series(values, dtype=_TEXT)


class Pieces:
    """Spans of decoded lines, a piece of which at a time is turned into columns.

    Parameters
    ----------
    texts, resource_texts : iterable of str
        Attributes of spans and of resources that are read as text.
    weight : float
        Weight of a span without a sampling threshold.
    """

    def __init__(self, texts: Iterable[str], resource_texts: Iterable[str], weight: float) -> None:
        line, value = _types()
        msgspec = _fast_json.library()
        self._decode = msgspec.json.Decoder(line).decode
        self._tuple = msgspec.structs.astuple
        self._no_number = value().doubleValue
        self._weights = Memo(lambda state: _otlp_spans.weight(state, weight))
        self._texts = frozenset((*texts, *COUNTS, *NUMBERS))
        self._resource_texts = frozenset(resource_texts)
        self._forget()

    def _forget(self) -> None:
        self._parts: list[dict[str, pl.Series]] = []
        self._widths: list[int] = []
        self._broken: list[int] = []
        self._held = 0
        self._open()

    def _open(self) -> None:
        """Begin a piece: a list of values for every attribute that is met."""
        self._spans: list[Any] = []
        self._own: dict[str, list[Any]] = {}
        self._of_resource: dict[str, list[Any]] = {}
        self._loose: list[dict[str, Any]] = []
        self._loose_resources: list[dict[str, Any]] = []
        self._gathered = self._gathered_resources = 0
        self._odd: set[int] = set()
        self._odd_resources: set[int] = set()
        self._resource_of: list[int] = []
        self._line_of: list[int] = []
        self._offset_of: list[int] = []

    def take(self, lines: Sequence[bytes], sound: bool) -> int:
        """Decode some lines; return the number of spans held."""
        for document in _fast_json.decode_all(self._decode, lines, sound, None):
            number = len(self._widths)
            if document is None:
                self._broken.append(number)
                self._widths.append(0)
                continue
            width = 0
            for group in document.resourceSpans or ():
                held = (group.resource and group.resource.attributes) or ()
                self._loose_resources.append({a.key: a.value for a in held if a.value is not None})
                for scope in group.scopeSpans or ():
                    spans = scope.spans or ()
                    self._loose += [
                        {a.key: a.value for a in span.attributes or () if a.value is not None}
                        for span in spans
                    ]
                    self._spans += spans
                    width += len(spans)
                    place = self._gathered_resources + len(self._loose_resources) - 1
                    self._resource_of += [place] * len(spans)
            self._widths.append(width)
            self._line_of += [number] * width
            self._offset_of += range(1, width + 1)
            self._held += width
            if len(self._loose) >= _FEW:
                self._gather()
                if len(self._spans) >= _PIECE:
                    self._seal()
        return self._held

    def _gather(self) -> None:
        """Take the values of the attributes that are read out of the spans, while these are at hand."""
        self._fold(self._loose, self._texts, self._own, self._gathered, self._odd)
        self._fold(
            self._loose_resources,
            self._resource_texts,
            self._of_resource,
            self._gathered_resources,
            self._odd_resources,
        )
        for span in self._spans[self._gathered :]:
            span.attributes = None
        self._gathered += len(self._loose)
        self._gathered_resources += len(self._loose_resources)
        self._loose, self._loose_resources = [], []

    def _fold(
        self,
        loose: list[dict[str, Any]],
        wanted: frozenset[str],
        columns: dict[str, list[Any]],
        base: int,
        odd: set[int],
    ) -> None:
        for name in wanted.intersection(set().union(*loose)):
            column = columns.setdefault(name, [])
            column += [self._absent(name)] * (base - len(column))
            column += self._values(name, [held.get(name) for held in loose], base, odd)

    def _absent(self, name: str) -> Any:
        return self._no_number if name in NUMBERS else None

    def _values(self, name: str, found: list[Any], base: int, odd: set[int]) -> Sequence[Any]:
        """Return the values of one attribute; places with another type of value go to `odd`."""
        there = [value for value in found if value is not None]
        strings, ints, booleans, numbers, *nested = zip(*map(self._tuple, there), strict=True)
        count, no = len(there), self._no_number
        # JSON has one kind of value; where there are several kinds they are looked at one by one.
        has = (strings.count(None) < count, ints.count(None) < count, numbers.count(no) < count)
        alone = sum(has) == 1 and booleans.count(None) == count
        alone = alone and all(kind.count(no) == count for kind in nested)
        values: Sequence[Any] = strings if has[0] else ints if has[1] else numbers
        usual = has[2] if name in NUMBERS else has[1] if name in COUNTS else not has[2]
        mixed = name not in COUNTS and has[1] and int in set(map(type, ints))
        if not (alone and usual) or mixed or values.count(self._absent(name)):
            return self._sorted_out(name, found, base, odd)
        if count == len(found):
            return values
        remaining, absent = iter(values), self._absent(name)
        return [absent if value is None else next(remaining) for value in found]

    def _sorted_out(self, name: str, found: list[Any], base: int, odd: set[int]) -> list[Any]:
        values: list[Any] = []
        for place, value in enumerate(found, base):
            kept = None
            if value is not None:
                string, integer, boolean, number, *nested = self._tuple(value)
                has_number = number is not self._no_number
                kinds = [string is not None, integer is not None, boolean is not None, has_number]
                kinds += [kind is not self._no_number for kind in nested]
                if name in NUMBERS:
                    kept = number if has_number else None
                elif name in COUNTS:
                    kept = integer
                elif not has_number:
                    kept = string if kinds[0] else integer if type(integer) is str else None
                if sum(kinds) != 1 or kept is None:
                    odd.add(place)
                    kept = None
            values.append(self._absent(name) if kept is None else kept)
        return values

    def _seal(self) -> None:
        """Turn the values into columns; more at a time would leave the processor's cache."""
        self._gather()
        spans, height = self._spans, len(self._spans)
        if not spans:
            self._open()
            return
        ids = zip(*[(s.traceId, s.spanId, s.parentSpanId, s.traceState) for s in spans], strict=True)
        part = {n: pl.Series(v, dtype=_TEXT) for n, v in zip((*IDS, "traceState"), ids, strict=True)}
        for name in TIMES:
            part[name] = _spelled([getattr(span, name) for span in spans])
        states = part["traceState"]
        if states.null_count() < height:
            told = [self._weights[state] for state in states.to_list()]
            part["weight"] = pl.Series([weight for weight, _ in told], dtype=_SIZE)
        codes = [None if span.status is None else span.status.code for span in spans]
        part["failed"] = pl.Series([code in (2, "STATUS_CODE_ERROR") for code in codes])
        part[LINE] = pl.Series(self._line_of, dtype=_COUNT)
        part["source_row"] = pl.Series(self._offset_of, dtype=_COUNT)
        for name, values in self._own.items():
            part[name] = self._column(name, values, height, self._odd)
        place = pl.Series(self._resource_of, dtype=_COUNT)
        for name, values in self._of_resource.items():
            column = self._column(name, values, self._gathered_resources, self._odd_resources)
            part[f"resource {name}"] = column.gather(place)
        if self._odd_resources:
            self._odd.update(n for n, held in enumerate(self._resource_of) if held in self._odd_resources)
        if self._odd:
            part[OTHER] = pl.Series([n in self._odd for n in range(height)])
        self._parts.append(part)
        self._open()

    def _column(self, name: str, values: list[Any], height: int, odd: set[int]) -> pl.Series:
        values += [self._absent(name)] * (height - len(values))
        if name in NUMBERS:
            return literals(values)
        texts = _spelled(values)
        if name not in COUNTS:
            return texts
        column = texts.cast(_COUNT, strict=False)
        odd.update((column.is_null() & texts.is_not_null()).arg_true().to_list())
        return column

    def whole(self) -> tuple[pl.DataFrame, list[int], list[int]]:
        """Return all columns, the number of spans in each line and the lines not decoded; forget them."""
        self._seal()
        parts, widths, broken = self._parts, self._widths, self._broken
        self._forget()
        kinds: dict[str, pl.DataType] = {
            **dict.fromkeys((*IDS, *TIMES), _TEXT),
            **{"failed": pl.Boolean(), LINE: _COUNT, "source_row": _COUNT},
            **{name: series.dtype for part in parts for name, series in part.items()},
        }
        nothing = {kind: pl.Series([None], dtype=kind) for kind in set(kinds.values())}

        def column(name: str, kind: pl.DataType) -> pl.Series:
            held = [(part.get(name), part[LINE].len()) for part in parts]
            several = [nothing[kind].new_from_index(0, n) if s is None else s for s, n in held]
            return pl.concat(several) if several else pl.Series(dtype=kind)

        return pl.DataFrame({name: column(name, kind) for name, kind in kinds.items()}), widths, broken
