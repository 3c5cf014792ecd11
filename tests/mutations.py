"""Hypothesis strategies that spoil an example file: its bytes, cells, columns, nodes, dtypes or gzip.

Where a mutation is known to keep something, `Mutated` says what, so that a test can hold the reader
to it: a file that says the same in other bytes, one cell of one row, a row more or less.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from hypothesis import strategies as st

__all__ = ["HOSTILE_TAGS", "HOSTILE_TEXTS", "Mutated", "mutated", "records", "with_tags"]

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Mutated:
    """A spoiled file.

    Parameters
    ----------
    data : bytes
        Its content.
    what : str
        What was done, for the report of a failing example.
    same : bool
        It says what the example says.
    changed, column : int or None, str or None
        It says so except for one value of this record (counted from 1), in this column (CSV).
    dropped, doubled : int or None
        It says so without this record, or with this record twice, one after the other.
    records : int or None
        How many records it has.
    """

    data: bytes
    what: str
    same: bool = False
    changed: int | None = None
    column: str | None = None
    dropped: int | None = None
    doubled: int | None = None
    records: int | None = None

    @property
    def known(self) -> bool:
        """Tell whether it is known what must become of the records."""
        return self.same or (self.changed or self.dropped or self.doubled) is not None

    def __repr__(self) -> str:
        known = {k: v for k, v in vars(self).items() if v and k not in ("data", "what")}
        return f"{self.what} {known or ''} {self.data[:3000]!r}"


HOSTILE_TAGS = (
    "=cmd|' /C calc'!A0",
    '=HYPERLINK("https://example.com/?"&A1,"open")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "+1+cmd|' /C calc'!A0",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</td></tr></table><h1>x",
    "a \"quoted\" 'word', a comma; a bar | and a \\ slash",
    "two\nlines\tand a tab",
    "control \x01\x1b[2J\x7f characters",
    "{{7*7}} ${7*7} $x^2$ `code` [link](javascript:alert(1))",
    "日本語 żółć \u202eright to left\u202c \U0001f4b8",
    "long " + "x" * 20_000,
)
_NUMBERS = (
    "1e400",
    "-1e400",
    "1e999999999999",
    "1E-30",
    "9" * 60,
    "9" * 5000,
    "-0",
    "NaN",
    "inf",
    "Infinity",
    "0x10",
    "1_000",
    "1,234.50",
    "1.234,50",
    "(5.00)",
    "$5",
    "5 EUR",
    "12345678901234567890.123456789012345678",
    "0.1234567890123456789",
    "9223372036854775808",
    "99999999999999999999",
    "-7",
    "1e3",
    "٣",
)
HOSTILE_TEXTS = (
    *HOSTILE_TAGS,
    *_NUMBERS,
    "",
    " ",
    "NULL",
    "null",
    "n/a",
    "true",
    "\x00",
    "a\x00b",
    "\ufeff",
    '"',
    "'",
    "\\",
    "\r",
    "[",
    "{",
    "{}",
    "[]",
    "[1]",
    '{"team":null}',
    '{"team":["a"],"b":{"c":1}}',
    '{"team":"\\ud800"}',
    "[" * 3000,
    "../../../etc/passwd",
    "%00%2F..",
    "2026-13-45",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999999999Z",
    "99999-01-01",
    "2026-10-01T00:00:00+99:00",
    "1790000000000000000000",
    "10/31/26",
    "EURO",
    "usd",
    "Usage",
    "Credit",
)
_NAMES = ("*", "^x$", "^.*$", "_row", "_raw", "_reasons", "_notes", "_given_BilledCost", "", " ", '"', "a\nb")
_NAMES = (
    *_NAMES,
    "<script>",
    "=1+1",
    "x_SourceRow",
    "source_row",
    "day",
    "\x00",
    "\x1b[2J",
    "a,b",
    "é" * 300,
)
# JSON as it stands in a file: what no Python value can say is among it.
_TOKENS = (
    *("null", "true", "false", "0", "-1", "-0", "1e400", "-1e400", "1E-400", "NaN", "Infinity", "[]", "{}"),
    *(
        "9" * 30,
        "9" * 5000,
        "0." + "1" * 40,
        "1e999999999999",
        '"\\ud800"',
        '"\\u0000"',
        "[" * 3000,
        "[[[{}]]]",
    ),
    *(
        '{"":{"":[]}}',
        "[null]",
        '[{"key":"team"}]',
        '{"a":1,"a":2}',
        "12345678901234567890",
        "1.0",
        '"1.0"',
        "{",
    ),
)

hostile_texts = st.one_of(
    st.sampled_from(HOSTILE_TEXTS),
    st.sampled_from(HOSTILE_TEXTS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.datetimes().map(lambda moment: moment.isoformat()),
)
# Texts that a table can hold as they are, in CSV and JSON.
_values = hostile_texts.filter(lambda text: "\x00" not in text and "\r" not in text)


def mutated(name: str, data: bytes) -> st.SearchStrategy[Mutated]:
    """Return a strategy of spoiled files.

    Parameters
    ----------
    name : str
        The example's file name: its ending says what it is.
    data : bytes
        The example.
    """
    structured = (
        _json_files(data) if name.endswith(("json", "jsonl")) else _tables(data, quotes=".csv" in name)
    )
    return st.one_of(
        structured, structured, structured, structured.flatmap(_packed), structured.flatmap(_spoiled)
    )


def records(name: str, data: bytes) -> int:
    """Count the records of an example."""
    if name.endswith(("json", "jsonl")):
        return len(_Records.of(data).items)
    return len(_Sheet.of(data, quotes=".csv" in name).rows)


def with_tags(name: str, data: bytes, value: str, tags: Sequence[str]) -> bytes:
    """Return the first record of an example that has this value, once for each tag, with the tag there."""
    if name.endswith("jsonl"):
        line = next(line for line in data.decode().splitlines() if f'"{value}"' in line)
        return "".join(line.replace(f'"{value}"', json.dumps(tag)) + "\n" for tag in tags).encode()
    sheet = _Sheet.of(data, quotes=True)
    row = next(row for row in sheet.rows if any(c == value or f'"{value}"' in c for c in row))
    sheet.rows = [
        [tag if cell == value else cell.replace(f'"{value}"', json.dumps(tag)) for cell in row]
        for tag in tags
    ]
    return sheet.data()


def _pick(draw: Draw, items: Any) -> Any:
    return draw(st.sampled_from(list(items)))


def _some(draw: Draw, length: int) -> int:
    return int(draw(st.integers(0, max(0, length - 1))))


# Tables ------------------------------------------------------------------------------------------


@dataclass
class _Sheet:
    header: list[str]
    rows: list[list[str]]
    mark: str
    quotes: bool

    @classmethod
    def of(cls, data: bytes, quotes: bool) -> _Sheet:
        text = data.decode("utf-8-sig")
        mark = max(",;\t|", key=text.split("\n", 1)[0].count)
        style: Any = {} if quotes else {"quoting": csv.QUOTE_NONE}
        lines = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=mark, **style) if row]
        return cls(lines[0], lines[1:], mark, quotes)

    def data(self, end: str = "\n", *, all_quoted: bool = False) -> bytes:
        stream = io.StringIO()
        if self.quotes:
            style = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
            writer = csv.writer(stream, delimiter=self.mark, lineterminator=end, quoting=style)
            writer.writerows([self.header, *self.rows])
        else:
            stream.writelines(self.mark.join(line) + end for line in (self.header, *self.rows))
        return stream.getvalue().encode("utf-8", "replace")


@st.composite
def _tables(draw: Draw, data: bytes, quotes: bool) -> Mutated:
    kinds = (_cell, _cell, _cell, _row, _same, _columns, _names, _fill, _lines, _parquet)
    return _pick(draw, kinds)(draw, _Sheet.of(data, quotes))  # type: ignore[no-any-return]


def _cell(draw: Draw, sheet: _Sheet) -> Mutated:
    number, place = _some(draw, len(sheet.rows)), _some(draw, len(sheet.header))
    text = draw(_values)
    if not sheet.quotes:
        text = text.replace("\n", " ").replace(sheet.mark, " ")
    sheet.rows[number][place] = text
    column = sheet.header[place]
    return Mutated(
        sheet.data(), f"cell {text[:60]!r}", changed=number + 1, column=column, records=len(sheet.rows)
    )


def _row(draw: Draw, sheet: _Sheet) -> Mutated:
    number = _some(draw, len(sheet.rows))
    if draw(st.booleans()):
        sheet.rows.insert(number, list(sheet.rows[number]))
        return Mutated(sheet.data(), "row doubled", doubled=number + 1)
    del sheet.rows[number]
    return Mutated(sheet.data(), "row dropped", dropped=number + 1)


def _same(draw: Draw, sheet: _Sheet) -> Mutated:
    how = _pick(draw, ("shuffled", "CRLF", "BOM", "quoted", "column added", "as is", "Parquet of texts"))
    if how == "shuffled":
        width = len(sheet.header)
        if any(len(row) != width for row in sheet.rows):
            return Mutated(sheet.data(), "as is", same=True)
        order = draw(st.permutations(range(width)))
        sheet.header = [sheet.header[i] for i in order]
        sheet.rows = [[row[i] for i in order] for row in sheet.rows]
    elif how == "column added" and sheet.quotes:
        sheet.header.append("x_added")
        sheet.rows = [[*row, text] for row in sheet.rows for text in [draw(_values)]]
    elif how == "Parquet of texts" and sheet.quotes:
        stream = io.BytesIO()
        _frame(sheet).write_parquet(stream)
        return Mutated(stream.getvalue(), how, same=True, records=len(sheet.rows))
    done = sheet.data("\r\n" if how == "CRLF" else "\n", all_quoted=how == "quoted")
    return Mutated(b"\xef\xbb\xbf" * (how == "BOM") + done, how, same=True)


def _columns(draw: Draw, sheet: _Sheet) -> Mutated:
    gone = draw(st.sets(st.integers(0, len(sheet.header) - 1), min_size=1, max_size=6))
    kept = [i for i in range(len(sheet.header)) if i not in gone]
    sheet.rows = [[row[i] for i in kept if i < len(row)] for row in sheet.rows]
    sheet.header = [sheet.header[i] for i in kept]
    return Mutated(sheet.data(), "columns dropped", records=len(sheet.rows))


def _names(draw: Draw, sheet: _Sheet) -> Mutated:
    for _ in range(draw(st.integers(1, 3))):
        place = _some(draw, len(sheet.header))
        old = sheet.header[place]
        near = (old.upper(), old.lower(), f" {old} ", f"{old}_2", f"x_{old}", _pick(draw, sheet.header))
        name = _pick(draw, (*near, *_NAMES))
        if draw(st.booleans()):
            sheet.header[place] = name
        else:
            sheet.header.append(name)
            sheet.rows = [[*row, _pick(draw, HOSTILE_TEXTS)] for row in sheet.rows]
    return Mutated(sheet.data(), "headers", records=len(sheet.rows))


def _fill(draw: Draw, sheet: _Sheet) -> Mutated:
    for _ in range(draw(st.integers(1, 4))):
        place = _some(draw, len(sheet.header))
        for row in sheet.rows:
            row[place] = draw(hostile_texts)
    return Mutated(sheet.data(), "columns filled", records=len(sheet.rows))


def _lines(draw: Draw, sheet: _Sheet) -> Mutated:
    how = _pick(
        draw, ("ragged", "blank lines", "mixed ends", "header only", "header twice", "open quote", "coded")
    )
    if how == "ragged":
        row = sheet.rows[_some(draw, len(sheet.rows))]
        row[:] = row[: _some(draw, len(row))] if draw(st.booleans()) else [*row, "more", "fields"]
    elif how == "header only":
        sheet.rows = []
    elif how == "header twice":
        sheet.rows.insert(_some(draw, len(sheet.rows) + 1), list(sheet.header))
    data = sheet.data()
    lines = data.split(b"\n")
    if how == "blank lines":
        lines.insert(
            _some(draw, len(lines)), _pick(draw, (b"", b" ", sheet.mark.encode() * len(sheet.header)))
        )
    elif how == "open quote":
        place = _some(draw, len(lines))
        lines[place] = lines[place].replace(sheet.mark.encode(), f'{sheet.mark}"'.encode(), 1)
    elif how == "mixed ends":
        ends = [_pick(draw, (b"\n", b"\r\n", b"\r", b"\n\n")) for _ in lines]
        return Mutated(b"".join(a + b for a, b in zip(lines, ends, strict=True)), how)
    data = b"\n".join(lines)
    if how == "coded":
        data = data.decode().encode(
            _pick(draw, ("utf-16", "utf-16-le", "utf-32", "cp1252", "utf-7")), "replace"
        )
    return Mutated(data, how)


def _frame(sheet: _Sheet) -> pl.DataFrame:
    names = list(dict.fromkeys(sheet.header))
    cells = [[row[i] if i < len(row) and row[i] else None for row in sheet.rows] for i in range(len(names))]
    return pl.DataFrame({n: pl.Series(n, c, dtype=pl.String) for n, c in zip(names, cells, strict=True)})


_DTYPES: tuple[Any, ...] = (
    *(pl.Float64, pl.Float32, pl.Int64, pl.Int8, pl.UInt64, pl.Int128, pl.Boolean, pl.Date, pl.Time, pl.Null),
    *(pl.Decimal(38, 2), pl.Decimal(38, 30), pl.Decimal(10, 0), pl.Binary, pl.Categorical, pl.Duration("us")),
    *(pl.Datetime("ns"), pl.Datetime("ms", "Europe/Berlin"), pl.List(pl.String), pl.Array(pl.String, 1)),
    *(
        pl.Struct({"a": pl.String}),
        pl.List(pl.Struct({"key": pl.String, "value": pl.String})),
        pl.List(pl.List(pl.Struct({"a": pl.List(pl.String)}))),
    ),
)


def _parquet(draw: Draw, sheet: _Sheet) -> Mutated:
    frame = _frame(sheet)
    told = []
    for name in draw(st.sets(st.sampled_from(frame.columns), min_size=1, max_size=5)):
        dtype = _pick(draw, _DTYPES)
        frame = frame.with_columns(_as(frame[name], dtype))
        told.append(f"{name}: {dtype}")
    stream = io.BytesIO()
    frame.write_parquet(stream)
    return Mutated(stream.getvalue(), f"Parquet {', '.join(told)}", records=frame.height)


def _as(texts: pl.Series, dtype: Any) -> pl.Series:
    name, rows = texts.name, texts.to_list()
    if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.List):
        return pl.Series(name, [[[{"a": [text]}]] for text in rows], dtype=dtype)
    if isinstance(dtype, pl.List | pl.Array) and dtype.inner == pl.String:
        return pl.Series(name, [[text] for text in rows], dtype=dtype)
    if isinstance(dtype, pl.List):
        return pl.Series(name, [[{"key": "team", "value": text}] for text in rows], dtype=dtype)
    if isinstance(dtype, pl.Struct):
        return pl.Series(name, [{"a": text} for text in rows], dtype=dtype)
    if dtype in (pl.Binary, pl.Null, pl.Categorical):
        return texts.cast(dtype, strict=False)
    numbers = pl.Series(name, range(len(rows)), dtype=pl.Int64)
    read = texts.cast(pl.Float64, strict=False) if dtype in (pl.Float32, pl.Float64) else numbers
    return read.cast(dtype, strict=False)


# JSON --------------------------------------------------------------------------------------------

# Numbers keep their literal: no float may stand between an example and its mutation.
_MARK = "\ue000"
_LITERAL = re.compile(f'"{_MARK}((?:[^"\\\\]|\\\\.)*){_MARK}"')


def _raw(token: str) -> str:
    return f"{_MARK}{token}{_MARK}"


def _decoded(text: str) -> Any:
    return json.loads(text, parse_float=_raw, parse_int=_raw)


def _texts(text: str) -> list[Any]:
    """Read the JSON texts of a file, one after the other."""
    found, place, decoder = [], 0, json.JSONDecoder(parse_float=_raw, parse_int=_raw)
    while place < len(text.rstrip()):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found


def _line(text: str) -> Any:
    try:
        return _decoded(text)
    except ValueError:
        return _raw(text)


def _encoded(value: Any, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _LITERAL.sub(lambda found: json.loads(f'"{found[1]}"'), text)


@dataclass
class _Records:
    """The records of a file: its lines, the elements of its array, or its one object."""

    items: list[Any]
    array: bool = False

    @classmethod
    def of(cls, data: bytes) -> _Records:
        text = data.decode()
        try:
            found = _texts(text)
        except ValueError:  # an example may hold a line that is no JSON
            return cls([_line(line) for line in text.splitlines() if line.strip()])
        array = len(found) == 1 and isinstance(found[0], list)
        return cls(found[0] if array else found, array)

    @property
    def many(self) -> bool:
        return self.array or len(self.items) > 1

    def data(self, end: str = "\n", indent: int | None = None) -> bytes:
        if self.array:
            return _encoded(self.items, indent or 1).replace("\n", end).encode("utf-8", "replace")
        return "".join(_encoded(item, indent) + end for item in self.items).encode("utf-8", "replace")


@st.composite
def _json_files(draw: Draw, data: bytes) -> Mutated:
    kinds = (_node, _node, _node, _node, _record, _same_json, _json_frame)
    return _pick(draw, kinds)(draw, _Records.of(data))  # type: ignore[no-any-return]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _node(draw: Draw, records: _Records) -> Mutated:
    number = _some(draw, len(records.items))
    told = []
    for _ in range(draw(st.integers(1, 3))):
        paths = [path for path in _paths(records.items[number]) if path]
        if not paths:
            break
        path = _pick(draw, paths)
        place = records.items[number]
        for key in path[:-1]:
            place = place[key]
        how = _pick(draw, ("token", "token", "text", "text", "delete", "rename", "wrap", "unwrap", "double"))
        told.append(f"{how} {path}")
        _change(draw, place, path[-1], how)
    return Mutated(records.data(), f"node {told}", changed=number + 1 if records.many else None)


def _change(draw: Draw, place: Any, key: Any, how: str) -> None:
    value = place[key]
    if how == "token":
        place[key] = _raw(_pick(draw, _TOKENS))
    elif how == "text":
        place[key] = draw(hostile_texts)
    elif how == "delete":
        del place[key]
    elif how == "wrap":
        place[key] = [value]
    elif how == "unwrap" and isinstance(value, str):
        place[key] = value.strip(_MARK) if value.startswith(_MARK) else _raw(json.dumps(value))
    elif how == "double" and isinstance(place, list):
        place.insert(key, value)
    elif how == "rename" and isinstance(place, dict):
        place[_pick(draw, (*_NAMES, str(key).upper(), *place))] = place.pop(key)


def _record(draw: Draw, records: _Records) -> Mutated:
    number, many = _some(draw, len(records.items)), records.many
    if len(records.items) == 1 or draw(st.booleans()):
        records.items.insert(number, records.items[number])
        return Mutated(records.data(), "record doubled", doubled=number + 1 if many else None)
    del records.items[number]
    return Mutated(records.data(), "record dropped", dropped=number + 1)


def _same_json(draw: Draw, records: _Records) -> Mutated:
    how = _pick(draw, ("keys shuffled", "key added", "CRLF", "BOM", "blank lines", "indented", "as is"))
    if how == "keys shuffled":
        records.items = [_shuffled(draw, item) for item in records.items]
    elif how == "key added":
        records.items = [{**r, "x_added": draw(_values)} if isinstance(r, dict) else r for r in records.items]
    indent = 2 if how == "indented" and (records.array or len(records.items) == 1) else None
    done = records.data({"CRLF": "\r\n", "blank lines": "\n\n"}.get(how, "\n"), indent)
    return Mutated(b"\xef\xbb\xbf" * (how == "BOM") + done, how, same=True)


def _shuffled(draw: Draw, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    keys = list(value)
    turn = _some(draw, len(keys))
    return {key: _shuffled(draw, value[key]) for key in (*keys[turn:], *keys[:turn])}


def _json_frame(draw: Draw, records: _Records) -> Mutated:
    """Write the records as Parquet: what a warehouse makes of such a file, with columns spoiled."""
    plain = json.loads(_encoded([item for item in records.items if isinstance(item, dict)]))
    if len(plain) == 1:
        plain = next((value for value in plain[0].values() if isinstance(value, list) and value), plain)
    try:
        frame = pl.DataFrame(plain, infer_schema_length=None, strict=False)
        name, dtype = _pick(draw, frame.columns), _pick(draw, _DTYPES)
        if frame[name].dtype == pl.String and draw(st.booleans()):
            frame = frame.with_columns(_as(frame[name], dtype))
        stream = io.BytesIO()
        frame.write_parquet(stream)
    except (pl.exceptions.PolarsError, TypeError, ValueError, AttributeError):
        return Mutated(records.data(), "as is", same=True)
    return Mutated(stream.getvalue(), "Parquet of records", records=frame.height)


# Bytes -------------------------------------------------------------------------------------------


@st.composite
def _packed(draw: Draw, done: Mutated) -> Mutated:
    """Compress, whole or in two members: it says the same."""
    cut = _some(draw, len(done.data))
    parts = [done.data[:cut], done.data[cut:]] if draw(st.booleans()) else [done.data]
    zipped = b"".join(gzip.compress(part, mtime=0) for part in parts)
    if done.data.startswith(b"PAR1"):
        return Mutated(zipped, f"{done.what}, zipped")
    return replace(done, data=zipped, what=f"{done.what}, {len(parts)} gzip members")


@st.composite
def _spoiled(draw: Draw, done: Mutated) -> Mutated:
    """Spoil the bytes, of a compressed file too."""
    data = bytearray(gzip.compress(done.data, mtime=0) if draw(st.booleans()) else done.data)
    told = []
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((_some(draw, len(data)), _some(draw, len(data))))
        how = _pick(draw, ("cut", "cut", "flip", "NUL", "delete", "double", "insert", "front", "empty"))
        told.append(how)
        if how == "cut":
            del data[first:]
        elif how == "flip" and data:
            data[first] ^= draw(st.integers(1, 255))
        elif how == "NUL":
            data[first:first] = b"\x00" * _pick(draw, (1, 9, 4096))
        elif how == "delete":
            del data[first:last]
        elif how == "double":
            data[last:last] = data[first:last]
        elif how == "insert":
            data[first:first] = _pick(
                draw, (draw(st.binary(max_size=8)), b"\r", b'"', b"\xff\xfe", b"[" * 3000)
            )
        elif how == "front":
            data[:0] = _pick(draw, (b"PAR1", b"\x1f\x8b", b"{", b"[", b"\n\n", b"\x00", b"sep=;\n", b"# x\n"))
        elif how == "empty":
            data = bytearray(
                _pick(draw, (b"", b"\n", b"\xef\xbb\xbf", b"PAR1", b"\x1f\x8b", b"{}", b"[]", b'"'))
            )
    return Mutated(bytes(data), f"{done.what[:60]}, bytes {told}")
