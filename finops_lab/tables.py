"""Tables of reports: exact amounts written once, the same HTML for the same frame.

The figures are formatted here, in decimals, and handed to Great Tables as text, so that no amount
passes through a float on its way to the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import TYPE_CHECKING, Any

import polars as pl

from finops_lab.errors import InputError
from finops_lab.money import format_money

if TYPE_CHECKING:
    from great_tables import GT

__all__ = ["Table", "money_table", "readable"]

_DASH = "—"
_MAX_ROWS = 500
_SHORT = 24
_FONTS = ["-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Liberation Sans", "Arial", "sans-serif"]
_ID = re.compile(r"[a-z][a-z0-9-]*")
Decimals = Sequence[str] | Mapping[str, int | None] | Mapping[str, int]


@dataclass(frozen=True)
class Table:
    """A table that is done: notebooks and pages show its HTML, everything else its title.

    Attributes
    ----------
    title : str
        What the table shows.
    html : str
        A self-contained fragment with styles of its own, scoped by the table's id.
    """

    title: str
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def money_table(
    frame: pl.DataFrame | pl.LazyFrame,
    *,
    title: str,
    id: str,
    currency: str,
    money_columns: Decimals,
    percent_columns: Decimals = (),
    number_columns: Decimals = (),
    subtitle: str | None = None,
    labels: Mapping[str, str] | None = None,
    total_row: Mapping[str, object] | None = None,
    unknown: str = "unknown: the data does not say",
    note: str | None = None,
) -> Table:
    """Write a frame as a table of a report.

    Parameters
    ----------
    frame : polars.DataFrame or polars.LazyFrame
        At most 500 rows, in the order to show. The first column names the rows.
    title, subtitle : str
        Heading of the table.
    id : str
        The table's id in the page: lower-case letters, digits and dashes, different for each table.
    currency : str
        ISO 4217 code of all `money_columns`.
    money_columns : sequence of str, or mapping of str to int
        Columns of Decimal amounts; a mapping also says how many decimals are shown. By default the
        currency's own number, for unit costs more are wanted.
    percent_columns : sequence of str, or mapping of str to int
        Columns of shares of one (0.25 reads 25.0%); one decimal by default.
    number_columns : sequence of str, or mapping of str to int
        Columns of counts and measures with thousands separators; by default integers have no
        decimals and other numbers two.
    labels : mapping of str to str, optional
        Headings of columns whose name does not read well; see `readable` for the others.
    total_row : mapping of str to object, optional
        A last row set apart, by column; columns left out stay empty, the first reads ``Total``. The
        caller adds up: a table does no arithmetic.
    unknown : str
        Footnote shown when the table has nulls, which are written as a dash.
    note : str, optional
        A line below the table.

    Returns
    -------
    Table

    Raises
    ------
    InputError
        A named column is missing, money is not Decimal, the id is not of the form above, or there
        are no rows or more than 500.

    Examples
    --------
    >>> frame = pl.DataFrame({"x_Team": ["search", None], "EffectiveCost": [Decimal("1234.565"), None]})
    >>> options = {"currency": "USD", "money_columns": ["EffectiveCost"]}
    >>> table = money_table(frame, title="By team", id="teams", **options)
    >>> table
    Table(title='By team')
    >>> "$1,234.56" in table.html, "Effective cost" in table.html
    (True, True)
    """
    shown = frame.lazy().head(_MAX_ROWS + 1).collect()
    money, shares, numbers = map(_decimals, (money_columns, percent_columns, number_columns))
    _check(shown, id, money, [*money, *shares, *numbers, *(labels or {}), *(total_row or {})])

    def write(name: str, value: Any) -> str:
        if value is None:
            return _DASH
        if name in money:
            return format_money(value, currency, decimals=money[name])
        if name in shares:
            return _fixed(Decimal(str(value)) * 100, shares[name], 1) + "%"
        if name in numbers:
            return _fixed(value, numbers[name], 0 if isinstance(value, int) else 2)
        return _plain(value)

    rows = [{name: write(name, value) for name, value in row.items()} for row in shown.iter_rows(named=True)]
    dashes = any(value == _DASH for row in rows for value in row.values())
    if total_row is not None:
        first = shown.columns[0]
        last = {name: write(name, total_row[name]) if name in total_row else "" for name in shown.columns}
        rows.append(last | {first: last[first] or "Total"})
    texts = pl.DataFrame(rows, schema=dict.fromkeys(shown.columns, pl.String))
    headings = {name: (labels or {}).get(name, readable(name)) for name in shown.columns}
    right = [name for name in shown.columns if name in money or name in shares or name in numbers]
    dates = [name for name, dtype in shown.schema.items() if dtype.is_temporal()]
    table = _styled(texts, id, title, subtitle, headings, right, dates, has_total=total_row is not None)
    for line in ([f"{_DASH} {unknown}"] if dashes else []) + ([note] if note else []):
        table = table.tab_source_note(line)
    return Table(title=title, html=_accessible(table.as_raw_html(), id))


def readable(name: str) -> str:
    """Turn a column's name into a heading.

    Examples
    --------
    >>> [readable(name) for name in ("x_Team", "EffectiveCost", "p95_latency_ms", "SKU", "BilledCostUSD")]
    ['Team', 'Effective cost', 'P95 latency ms', 'SKU', 'Billed cost USD']
    """
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_+", " ", name.removeprefix("x_"))
    words = [word if word.isupper() and len(word) > 1 else word.lower() for word in spaced.split()]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def _decimals(names: Decimals) -> dict[str, int | None]:
    return dict(names) if isinstance(names, Mapping) else dict.fromkeys(names)


def _check(shown: pl.DataFrame, id: str, money: Iterable[str], named: list[str]) -> None:
    if not _ID.fullmatch(id):
        raise InputError(f"table id {id!r} must be lower-case letters, digits and dashes")
    missing = [name for name in dict.fromkeys(named) if name not in shown.columns]
    if missing:
        raise InputError(
            f"the table names columns that the frame lacks: {', '.join(missing)}",
            hint=f"the frame has {', '.join(shown.columns)}",
        )
    if shown.is_empty():
        raise InputError("the table has no rows")
    if shown.height > _MAX_ROWS:
        raise InputError(f"a table takes at most {_MAX_ROWS} rows", hint="aggregate, or show the head")
    for name in money:
        if not (shown.schema[name].is_decimal() or shown.schema[name] == pl.Null):
            raise InputError(f"is {shown.schema[name]}, but money is Decimal", column=name)


def _fixed(value: Any, decimals: int | None, default: int) -> str:
    places = default if decimals is None else decimals
    exact = value if isinstance(value, (int, Decimal)) else Decimal(str(value))
    if isinstance(exact, Decimal):
        if not exact.is_finite():
            raise InputError(f"{value} cannot be shown in a table")
        exact = exact.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_EVEN)
        # "-0" is what is left of a small negative number: say zero.
        exact = abs(exact) if exact == 0 else exact
    return f"{exact:,.{places}f}" if isinstance(exact, Decimal) or places else f"{exact:,}"


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.isoformat(sep=" ", timespec="minutes")
    return value.isoformat() if isinstance(value, date) else str(value)


def _styled(
    texts: pl.DataFrame,
    id: str,
    title: str,
    subtitle: str | None,
    headings: dict[str, str],
    right: list[str],
    dates: list[str],
    *,
    has_total: bool,
) -> GT:
    from great_tables import GT, loc, style

    first = texts.columns[0]
    short = texts[first].str.len_chars().max()
    # Short row names, such as those of models, are not broken at their hyphens.
    short_names = (
        [f"#{id} .gt_stub {{ white-space: nowrap; }}"] if short is None or int(str(short)) <= _SHORT else []
    )
    whole = [
        n for n, name in enumerate(texts.columns, 1) if name not in right and _whole(texts[name], headings)
    ]
    places = ", ".join(f"#{id} tr > :nth-child({n})" for n in whole)
    # Pages break words anywhere, for the sake of long names: not where all words are short.
    short_words = [f"{places} {{ overflow-wrap: normal; }}"] if whole else []
    moments = ", ".join(
        f"#{id} tbody td:nth-child({texts.columns.index(n) + 1})" for n in dates if n != first
    )
    short_words += [f"{moments} {{ white-space: nowrap; }}"] if moments else []
    table = (
        GT(texts, rowname_col=first, id=id)
        .tab_header(title, subtitle)
        .tab_stubhead(headings[first])
        .cols_label({name: text for name, text in headings.items() if name != first})
        .cols_align("left")
        .opt_align_table_header("left")
        .opt_row_striping()
        .tab_options(
            table_width="100%",
            table_font_names=_FONTS,
            table_font_size="14px",
            table_font_color="#1f2933",
            table_border_top_style="none",
            table_border_bottom_color="#9aa5b1",
            table_border_bottom_width="1px",
            heading_title_font_size="15px",
            heading_subtitle_font_size="12px",
            heading_padding_horizontal="0px",
            heading_border_bottom_style="none",
            column_labels_font_weight="bold",
            column_labels_font_size="12px",
            column_labels_border_top_style="none",
            column_labels_border_bottom_color="#52606d",
            column_labels_border_bottom_width="1px",
            column_labels_padding_horizontal="10px",
            table_body_hlines_color="#e4e7eb",
            table_body_border_top_style="none",
            table_body_border_bottom_style="none",
            stub_border_style="none",
            row_striping_background_color="#f5f7fa",
            row_striping_include_stub=True,
            data_row_padding="6px",
            data_row_padding_horizontal="10px",
            source_notes_font_size="12px",
            source_notes_padding_horizontal="10px",
            container_padding_x="0px",
            # Its class gt_font_normal undoes heading_title_font_weight.
            # JupyterLab gives all columns one width, which clips names.
            table_additional_css=[
                f"#{id} table {{ table-layout: auto; }}",
                f"#{id} .gt_title {{ font-weight: bold; }}",
                *short_names,
                *short_words,
            ],
        )
    )
    if right:
        table = table.cols_align("right", right)
    if has_total:
        last = [texts.height - 1]
        cells = [loc.body(rows=last), loc.stub(rows=last)]
        look = [style.text(weight="bold"), style.borders(sides="top", color="#52606d", weight="2px")]
        table = table.tab_style(look, cells)
    return table


def _whole(cells: pl.Series, headings: dict[str, str]) -> bool:
    """Tell whether no word of a column is long; browsers break lines after hyphens too."""
    words = (word for text in [*cells, headings[cells.name]] for word in re.split(r"[\s-]+", text or ""))
    return max(map(len, words)) <= _SHORT


def _accessible(html: str, id: str) -> str:
    """Let the keyboard scroll a table wider than the page, and name the rows' headers as such."""
    box = f'<div id="{id}" '
    if not html.startswith(box):
        raise AssertionError("Great Tables changed the start of a table")
    # MathJax, in JupyterLab, would read a cell with two dollar signs as a formula.
    attributes = f'class="mathjax_ignore" role="group" tabindex="0" aria-labelledby="{id}-title" '
    named = html.replace(box, box + attributes, 1)
    # Great Tables also styles every row of the page; only this table's are meant.
    return named.replace("\n tr { background", f"\n#{id} tr {{ background", 1)
