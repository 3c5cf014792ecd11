"""Statements as a workbook: a sheet per team, sums that are alive, text that never runs."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.calendar import month_name, parse_month
from finops_lab.chargeback._files import written_beside
from finops_lab.chargeback._sheets import cell_text, quoted, sheet_names
from finops_lab.chargeback.statements import Statements
from finops_lab.chargeback.wording import KINDS, WORDING
from finops_lab.errors import InputError
from finops_lab.money import exact_sum

__all__ = ["write_xlsx"]

_UNKNOWN = "unknown"
# Heading and width of a team's columns, without the two amounts.
_COLUMNS = (
    ("ProviderName", "Provider", 24),
    ("ServiceName", "Service", 26),
    ("ChargeCategory", "Charge", 14),
    ("x_product", "Product", 18),
    ("x_feature", "Feature", 18),
    ("x_model", "Model", 22),
    ("x_environment", "Environment", 14),
    ("x_AllocationMethod", "How it got here", 16),
    ("kind", "Kind", 14),
    ("x_AllocationRule", "Rule", 32),
)
_AMOUNT, _EXACT = len(_COLUMNS), len(_COLUMNS) + 1
_KIND = [name for name, _, _ in _COLUMNS].index("kind")
_TOTAL = 1 + len(KINDS)  # column of the totals, after the label and the kinds
# Rows from 0: title, subtitle, kinds, their amounts, the same in full, a note, heading, lines.
_KINDS_ROW, _AMOUNTS_ROW, _HEADING = 2, 3, 6
_LAST_ROW = 1_048_576
_ROOM_BELOW = 40  # rows for the total and the explanations


def write_xlsx(statements: Statements, path: str | Path) -> Path:
    """Write statements as a workbook: a summary and one sheet per team.

    Sums are formulas: a team's total is ``SUM`` over its lines, its kinds are ``SUMIFS`` over them,
    the summary refers to the teams' sheets and adds them up. Each carries the exact result as its
    cached value, so that viewers which do not calculate show it too. An amount is one number per cell,
    the nearest a spreadsheet can hold (about 15 digits), *shown* in the currency's decimals; beside
    it stands the same amount as text with all its decimals. Numbers are not rounded to cents before
    they are added, for a sum of rounded lines is another sum. An unknown amount reads ``unknown`` and
    is in no sum. Text is always written as text, never as a formula or a link.

    Parameters
    ----------
    statements : Statements
        Result of `statements`.
    path : str or pathlib.Path
        File to write, ending in ``.xlsx``; an existing one is replaced when the new one is complete.

    Returns
    -------
    pathlib.Path
        The file. The same statements give the same bytes: its creation date is the statement's month.

    Raises
    ------
    InputError
        When the file cannot be written, its name ends otherwise, or a team has more lines than a
        sheet has rows.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from finops_lab.chargeback import statements
    >>> from finops_lab.contracts import dtypes
    >>> ledger = dtypes("ledger")
    >>> entries = pl.DataFrame({"x_ChargeMonth": "2026-10", "BillingCurrency": "USD", "x_team": "search",
    ...     "x_AllocationMethod": "tag", "EffectiveCost": "10.01"}).cast({"EffectiveCost": ledger["EffectiveCost"]})
    >>> blank = [pl.lit(None, t).alias(n) for n, t in ledger.items() if n not in entries.columns]
    >>> with TemporaryDirectory() as folder:
    ...     write_xlsx(statements(entries.with_columns(blank), "2026-10"), folder + "/chargeback.xlsx").name
    'chargeback.xlsx'
    """
    import xlsxwriter

    target = Path(path)
    if target.suffix.lower() != ".xlsx":
        raise InputError("a workbook's name ends in .xlsx", file=target)
    most = statements.lines.group_by("x_team").len().sort("len", "x_team").tail(1)
    if most.height and most["len"][0] > _LAST_ROW - _ROOM_BELOW:
        raise InputError(
            f"{most['x_team'][0]!r} has {most['len'][0]:,} lines, more than a sheet has rows",
            file=target,
            hint="write CSV instead",
        )
    content = io.BytesIO()
    options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    book = xlsxwriter.Workbook(content, {**options, "strings_to_numbers": False})
    first = parse_month(statements.month)
    book.set_properties(
        {"title": f"Chargeback {statements.month}", "created": datetime(first.year, first.month, 1)}
    )
    names = sheet_names(statements.teams)
    page = _Page(statements, book, names)
    sheets = [book.add_worksheet("Summary"), *[book.add_worksheet(names[team]) for team in names]]
    page.summary(sheets[0])
    parts = statements.lines.partition_by("x_team", as_dict=True)
    for sheet, row in zip(sheets[1:], statements.summary.iter_rows(named=True), strict=True):
        page.team(sheet, row, parts[(row["x_team"],)])
    book.close()
    with written_beside(target) as partial:
        partial.write_bytes(content.getvalue())
    return target


def _ref(row: int, column: int, *, fixed: bool = False) -> str:
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[column]
    return f"${letter}${row + 1}" if fixed else f"{letter}{row + 1}"


def _range(first: int, last: int, column: int) -> str:
    return f"{_ref(first, column)}:{_ref(last, column)}"


def _full(amount: Decimal | None) -> str:
    if amount is None:
        return _UNKNOWN
    text = format(amount, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


class _Page:
    """Writes sheets of one workbook, in its formats."""

    def __init__(self, statements: Statements, book: Any, names: dict[str, str]) -> None:
        from babel.numbers import get_currency_precision

        self.of, self.names = statements, names
        digits = get_currency_precision(statements.currency)
        shown = "#,##0" + ("." + "0" * digits if digits else "")
        line = {"bottom": 1, "bottom_color": "#9AA5B1"}
        self.title = book.add_format({"bold": True, "font_size": 14})
        self.quiet = book.add_format({"font_color": "#52606D"})
        self.head = book.add_format({"bold": True, "bg_color": "#E4E7EB", "text_wrap": True, **line})
        self.head_right = book.add_format(
            {"bold": True, "bg_color": "#E4E7EB", "text_wrap": True, "align": "right", **line}
        )
        self.text = book.add_format({"valign": "top"})
        self.bold = book.add_format({"bold": True})
        self.number = book.add_format({"num_format": shown, "align": "right"})
        self.sum = book.add_format({"num_format": shown, "align": "right", "bold": True, "top": 1})
        self.exact = book.add_format({"align": "right", "font_color": "#52606D", "shrink": True})

    @property
    def amount_heading(self) -> str:
        return f"{self.of.metric} ({self.of.currency})"

    def begin(self, sheet: Any, title: str) -> None:
        """Write title, month and currency, which every sheet shows by itself."""
        basis = "month of the use" if self.of.basis == "accrual" else "month of the invoice"
        sheet.write_string(0, 0, cell_text(title), self.title)
        when = f"{month_name(parse_month(self.of.month))} ({self.of.month}), {basis}"
        sheet.write_string(1, 0, f"{when} · {self.of.metric} in {self.of.currency}", self.quiet)
        sheet.hide_gridlines(2)
        sheet.set_landscape()
        sheet.set_paper(9)
        sheet.fit_to_pages(1, 0)

    def kinds(self, sheet: Any, row: int, label: str) -> None:
        sheet.write_string(row, 0, label, self.head)
        for column, kind in enumerate(KINDS.values(), 1):
            sheet.write_string(row, column, kind.title, self.head_right)
        sheet.write_string(row, _TOTAL, "Total", self.head_right)

    def formula(self, sheet: Any, row: int, column: int, text: str, value: Decimal | None) -> None:
        """Write a living sum with its result; where all of it is unknown there is none."""
        form = self.sum if column == _TOTAL or text.startswith("=SUM(") else self.number
        if value is None and not text.startswith("='"):
            sheet.write_string(row, column, _UNKNOWN, form)
        else:
            sheet.write_formula(row, column, text, form, _UNKNOWN if value is None else float(value))

    def explain(self, sheet: Any, row: int) -> None:
        """Write what the words mean."""
        sheet.write_string(row, 0, "What the words mean", self.bold)
        words = [(kind.title, kind.meaning) for kind in KINDS.values()]
        words += [(f"How: {word.label}", word.meaning) for word in WORDING.values()]
        words.append(
            (
                "Amounts",
                "Shown in the currency's decimals, added up in full; the exact amount stands beside as text.",
            )
        )
        if self.of.summary["unknown_entries"].sum():
            words.append((_UNKNOWN, f"The bill does not say the {self.of.metric}; such lines are in no sum."))
        for n, (word, meaning) in enumerate(words, row + 1):
            sheet.write_string(n, 0, word, self.text)
            sheet.write_string(n, 1, meaning, self.text)

    def summary(self, sheet: Any) -> None:
        """Write a row per team that refers to the team's sheet, and their sum."""
        self.begin(sheet, "Chargeback summary")
        heading = 3
        self.kinds(sheet, heading, "Team")
        sheet.write_string(heading, _TOTAL + 1, "Total, exact", self.head_right)
        sheet.write_string(heading, _TOTAL + 2, "Sheet", self.head)
        first = heading + 1
        fields = [*KINDS, "total"]
        rows = list(self.of.summary.iter_rows(named=True))
        for n, row in enumerate(rows, first):
            sheet.write_string(n, 0, cell_text(row["x_team"]), self.text)
            name = self.names[row["x_team"]]
            for column, field in enumerate(fields, 1):
                cell = f"={quoted(name)}!{_ref(_AMOUNTS_ROW, column, fixed=True)}"
                self.formula(sheet, n, column, cell, row[field])
            sheet.write_string(n, _TOTAL + 1, _full(row["total"]), self.exact)
            sheet.write_string(n, _TOTAL + 2, name, self.text)
        last, end = first + len(rows) - 1, first + len(rows)
        sheet.write_string(end, 0, "All teams", self.bold)
        for column, field in enumerate(fields, 1):
            known = self.of.summary[field].drop_nulls()
            total = exact_sum(known) if known.len() else None
            self.formula(sheet, end, column, f"=SUM({_range(first, last, column)})", total)
        sheet.write_string(end, _TOTAL + 1, _full(self.of.total), self.exact)
        sheet.freeze_panes(first, 1)
        sheet.repeat_rows(heading)
        sheet.set_column(0, 0, 30)
        sheet.set_column(1, _TOTAL, 16)
        sheet.set_column(_TOTAL + 1, _TOTAL + 2, 30)
        sheet.ignore_errors({"number_stored_as_text": _range(first, end, _TOTAL + 1)})
        self.explain(sheet, end + 2)

    def team(self, sheet: Any, row: dict[str, Any], lines: pl.DataFrame) -> None:
        """Write a team's lines, its sums above them and the words below."""
        self.begin(sheet, f"Chargeback statement: {row['x_team']}")
        first = _HEADING + 1
        last = _HEADING + lines.height
        amounts, kinds = _range(first, last, _AMOUNT), _range(first, last, _KIND)
        self.kinds(sheet, _KINDS_ROW, "Sum of the lines below")
        sheet.write_string(_AMOUNTS_ROW, 0, self.amount_heading, self.text)
        sheet.write_string(_AMOUNTS_ROW + 1, 0, "exact", self.text)
        for column, (name, kind) in enumerate(KINDS.items(), 1):
            cell = f'=SUMIFS({amounts},{kinds},"{kind.title}")'
            self.formula(sheet, _AMOUNTS_ROW, column, cell, row[name])
            sheet.write_string(_AMOUNTS_ROW + 1, column, _full(row[name]), self.exact)
        self.formula(sheet, _AMOUNTS_ROW, _TOTAL, f"=SUM({amounts})", row["total"])
        sheet.write_string(_AMOUNTS_ROW + 1, _TOTAL, _full(row["total"]), self.exact)
        note = f"What the words mean: from row {last + 3} on."
        if row["unknown_entries"]:
            note += (
                f" {row['unknown_entries']:,} ledger entries have no {self.of.metric}: they are in no sum."
            )
        sheet.write_string(_HEADING - 1, 0, note, self.quiet)
        for column, (_, heading, width) in enumerate(_COLUMNS):
            sheet.write_string(_HEADING, column, heading, self.head)
            sheet.set_column(column, column, width)
        sheet.write_string(_HEADING, _AMOUNT, self.amount_heading, self.head_right)
        sheet.write_string(_HEADING, _EXACT, "The same, exact", self.head_right)
        sheet.set_column(_AMOUNT, _AMOUNT, 20)
        sheet.set_column(_EXACT, _EXACT, 28)
        wanted = [*[name for name, _, _ in _COLUMNS], self.of.metric]
        for n, line in enumerate(lines.select(wanted).iter_rows(), first):
            self.line(sheet, n, line)
        sheet.autofilter(_HEADING, 0, last, _EXACT)
        sheet.freeze_panes(first, 0)
        sheet.repeat_rows(_HEADING)
        stored = f"{_range(first, last, _EXACT)} {_ref(_AMOUNTS_ROW + 1, 1)}:{_ref(_AMOUNTS_ROW + 1, _TOTAL)}"
        sheet.ignore_errors({"number_stored_as_text": stored})
        self.explain(sheet, last + 2)

    def line(self, sheet: Any, row: int, line: Sequence[Any]) -> None:
        """Write one line: texts, the amount as a number, the amount in full."""
        *texts, amount = line
        for column, ((name, _, _), text) in enumerate(zip(_COLUMNS, texts, strict=True)):
            if name == "kind":
                text = KINDS[text].title
            elif name == "x_AllocationMethod":
                text = WORDING[text].label
            if text:
                sheet.write_string(row, column, cell_text(text), self.text)
        if amount is None:
            sheet.write_string(row, _AMOUNT, _UNKNOWN, self.number)
        else:
            sheet.write_number(row, _AMOUNT, float(amount), self.number)
        sheet.write_string(row, _EXACT, _full(amount), self.exact)
