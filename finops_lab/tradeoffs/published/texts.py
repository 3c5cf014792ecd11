"""Tables as people publish them: CSV of texts, tables of Markdown and HTML, numbers with commas."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.tradeoffs.published.results import Findings

__all__ = [
    "Table",
    "first_line",
    "html_tables",
    "number",
    "numbers",
    "pipe_tables",
    "read_csv",
    "read_json",
    "read_text",
]

_BLANKS = ("", "-", "na", "n/a", "nan", "null", "none")
_NUMBER = re.compile(r"([+-]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][+-]?\d+)?) ?[%x]?")
_GROUPED = r"\d,\d"
_DIGITS = re.compile(r"[0-9]{1,9}")
_SPAN = 1000  # as browsers do
_MARKS = re.compile(r"\*\*|\[([^]]*)\]\([^)]*\)")


@dataclass(frozen=True)
class Table:
    """A table of a text: the heading above it, its rows of texts and the line of each row."""

    heading: str
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    headers: int = 1

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns: header rows above each other, said once where they span rows."""
        stacked = zip(*self.rows[: self.headers], strict=True)
        return tuple(" ".join(dict.fromkeys(part for part in parts if part)) for parts in stacked)

    @property
    def body(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The line and the texts of each row below the header."""
        return zip(self.lines[self.headers :], self.rows[self.headers :], strict=True)


def read_text(path: Path) -> str:
    """Return the text of a file, or say that it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", file=path, hint="the file must be UTF-8 text") from error


def first_line(path: Path) -> str:
    """Return the first line of a text file; nothing where there is none."""
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return file.readline(1 << 16).strip()


def read_json(path: Path) -> Any:
    """Return what a JSON file holds."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"is no JSON: {error}", file=path, hint="was the download cut short?") from error


def read_csv(path: Path, needs: Sequence[str], *, filled: Sequence[str] = ()) -> pl.DataFrame:
    """Read a CSV as texts and demand its columns.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    needs : sequence of str
        Columns that must be there.
    filled : sequence of str
        Columns in which no cell may be empty: the names of things.

    Returns
    -------
    polars.DataFrame
        All columns as String, the rows in order.

    Raises
    ------
    InputError
        No such table, a column is missing, or a name is.
    """
    try:
        frame = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"is no table: {error}", file=path, hint="was the download cut short?") from error
    for name in needs:
        if name not in frame.columns:
            known = ", ".join(frame.columns)
            raise InputError("no such column", file=path, column=name, hint=f"the file has {known}")
    for name in filled:
        empty = (frame[name].fill_null("").str.strip_chars() == "").arg_true()
        if empty.len():
            raise InputError("is empty", file=path, row=empty.item(0) + 1, column=name, hint="a blank line?")
    return frame


def number(text: str, *, file: Path, row: int, column: str) -> float | None:
    """Return the number that a cell says; blank is null.

    Parameters
    ----------
    text : str
        Digits, thousands grouped by commas, a percent sign or an ``x`` behind; or blank, also ``-``.
    file, row, column
        Where it stands, for errors.

    Raises
    ------
    InputError
        The text is no number.

    Examples
    --------
    >>> [number(t, file=Path("a.csv"), row=1, column="c") for t in ("1,013.01", "1.41x", "-0.3%", "-")]
    [1013.01, 1.41, -0.3, None]
    """
    text = text.strip().replace("\N{MINUS SIGN}", "-")
    if text.lower() in _BLANKS:
        return None
    found = _NUMBER.fullmatch(text)
    if found is None or not found[1]:
        grouped = re.search(_GROUPED, text)
        hint = "thousands are grouped by three digits: 1,013.01" if grouped else "expected a number"
        raise InputError(f"{text!r} is no number", file=file, row=row, column=column, hint=hint)
    value = float(found[1].replace(",", ""))
    if not math.isfinite(value):
        raise InputError("too many digits for a number", file=file, row=row, column=column)
    return value


def numbers(frame: pl.DataFrame, column: str, *, file: Path, findings: Findings) -> list[float | None]:
    """Return the numbers of a column; those with commas are read and noted.

    Parameters
    ----------
    frame : polars.DataFrame
        The column `column` (String).
    column : str
        Its name.
    file : pathlib.Path
        For errors.
    findings : Findings
        Gets a finding ``commas`` when there are some.

    Raises
    ------
    InputError
        A text that is no number: file, row and column are named.
    """
    texts = frame[column].fill_null("")
    commas = (texts.str.contains(_GROUPED).arg_true() + 1).to_list()
    if commas:
        said = f"{column}: commas that group thousands are no decimal points"
        findings.add("commas", said, rows=commas, file=file.name)
    return [number(text, file=file, row=i, column=column) for i, text in enumerate(texts, 1)]


def plain(text: str) -> str:
    """Return a cell without bold type and links.

    Examples
    --------
    >>> plain(" **[Phi](https://x.test)** ")
    'Phi'
    """
    return " ".join(_MARKS.sub(lambda found: found[1] or "", text).split())


def pipe_tables(path: Path) -> list[Table]:
    """Return the pipe tables of a Markdown file; cells are plain texts.

    Parameters
    ----------
    path : pathlib.Path
        The file.

    Returns
    -------
    list of Table
        In order. The row of dashes is left out. An empty first row is no header: where bold names stand
        below it, they are. Short rows are filled with empty cells.
    """
    found: list[Table] = []
    heading, fenced = "", False
    rows: list[tuple[str, ...]] = []
    lines: list[int] = []
    for line, text in enumerate([*read_text(path).splitlines(), ""], 1):
        fenced ^= text.startswith(("```", "~~~"))
        if text.lstrip().startswith("|"):
            cells = tuple(plain(cell) for cell in text.strip().strip("|").split("|"))
            if any(set(cell) - set(":- ") for cell in cells) or not any(cells):
                rows.append(cells)
                lines.append(line)
            continue
        if rows:
            if not any(rows[0]):
                rows, lines = rows[1:], lines[1:]
            width = max(map(len, rows), default=0)
            filled = tuple((*row, *[""] * (width - len(row))) for row in rows)
            if filled:
                found.append(Table(heading, filled, tuple(lines)))
            rows, lines = [], []
        if text.startswith("#") and not fenced:
            heading = plain(text.lstrip("# "))
    return found


def html_tables(path: Path) -> list[Table]:
    """Return the HTML tables of a text; cells that span rows or columns are repeated.

    Parameters
    ----------
    path : pathlib.Path
        A Markdown or HTML file. Tags need not be closed.

    Returns
    -------
    list of Table
        In order, each with the Markdown heading above it. Rows of nothing but ``<th>`` are its header;
        where there is none, the first row is.
    """
    parser = _Tables()
    parser.feed(read_text(path))
    parser.close()
    return parser.found


class _Tables(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Table] = []
        self._heading = ""
        self._rows: list[tuple[int, list[str], bool]] | None = None
        self._cells: list[tuple[str, int, int, bool]] = []  # text, colspan, rowspan, header
        self._open = False
        self._spans: dict[int, tuple[int, str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "table":
            self._rows, self._cells, self._spans = [], [], {}
        elif tag == "tr":
            self._flush()
        elif tag in ("td", "th") and self._rows is not None:
            given = dict(attrs)
            texts = [given.get(name) or "" for name in ("colspan", "rowspan")]
            wide, down = (min(max(int(text), 1), _SPAN) if _DIGITS.fullmatch(text) else 1 for text in texts)
            self._cells.append(("", wide, down, tag == "th"))
            self._open = True
        elif tag == "br":
            self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._open = False
        elif tag == "tr":
            self._flush()
        elif tag == "br":
            self.handle_data(" ")
        elif tag == "table" and self._rows is not None:
            self._flush()
            self._close()

    def handle_data(self, data: str) -> None:
        if self._rows is None:
            titles = [line for line in data.splitlines() if line.startswith("#")]
            self._heading = plain(titles[-1].lstrip("# ")) if titles else self._heading
        elif self._open and self._cells:
            text, *rest = self._cells[-1]
            self._cells[-1] = (text + data, *rest)  # type: ignore[assignment]

    def _flush(self) -> None:
        """End a row: put its cells where cells that span rows leave room."""
        self._open = False
        if self._rows is None or not self._cells:
            return
        row: list[str] = []
        waiting = [(plain(text), down, head) for text, wide, down, head in self._cells for _ in range(wide)]
        while waiting or len(row) in self._spans:
            left, text = self._spans.pop(len(row), (0, ""))
            down = left
            if not left:
                text, down, _ = waiting.pop(0)
            if down > 1:
                self._spans[len(row)] = (down - 1, text)
            row.append(text)
        self._rows.append((self.getpos()[0], row, all(cell[3] for cell in self._cells)))
        self._cells = []

    def _close(self) -> None:
        rows, self._rows = self._rows or [], None
        if not rows:
            return
        width = max(len(row) for _, row, _ in rows)
        heads = next((i for i, (_, _, head) in enumerate(rows) if not head), len(rows))
        filled = tuple((*row, *[""] * (width - len(row))) for _, row, _ in rows)
        self.found.append(Table(self._heading, filled, tuple(line for line, _, _ in rows), max(heads, 1)))
