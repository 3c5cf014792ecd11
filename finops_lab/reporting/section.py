"""A section of a report: a finding, tables and charts, and the values behind them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import polars as pl

from finops_lab.money import exact_sum, format_money

__all__ = [
    "MOST",
    "Section",
    "change_words",
    "exact",
    "foremost",
    "money",
    "of_all",
    "percent",
    "plain",
    "prose",
]

# As many rows as a reader looks through, and far from what a table or chart can take.
MOST = 100


@dataclass(frozen=True)
class Section:
    """What a notebook cell of a report shows.

    Attributes
    ----------
    key : str
        Name of the section in the report's JSON.
    finding : str
        What the data say, in Markdown, one or a few sentences.
    parts : tuple
        Tables and charts, in order.
    values : mapping
        The figures for the report's JSON; amounts stay exact decimals.
    """

    key: str
    finding: str
    parts: tuple[Any, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        parts = ", ".join(type(part).__name__ for part in self.parts)
        return f"Section {self.key}: {self.finding}" + (f" [{parts}]" if parts else "")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        from finops_lab.charts import use_report_renderer
        from finops_lab.reporting.record import record

        use_report_renderer()
        display({"text/html": prose(self.finding), "text/plain": self.finding}, raw=True)
        for part in self.parts:
            display(part)
        record(**{self.key: dict(self.values)})


def foremost(frame: pl.DataFrame, by: pl.Expr, key: str = "key", most: int = MOST) -> pl.DataFrame:
    """Keep the rows of the values with most of something, in their order, where there are too many to show.

    Parameters
    ----------
    frame : polars.DataFrame
        What a table or chart would show.
    by : polars.Expr
        What is added up per value, such as calls.
    key : str
        Column of the values.
    most : int
        So many values are kept.

    Examples
    --------
    >>> frame = pl.DataFrame({"key": ["a", "b", None, "b"], "calls": [1, 1, 5, 1]})
    >>> foremost(frame, pl.col("calls"), most=2)["key"].to_list()
    ['b', None, 'b']
    """
    # Rounded, so that the order of adding decides nothing.
    sums = frame.group_by(key).agg(by.cast(pl.Float64).sum().round(6).alias("_by"))
    kept = sums.sort("_by", key, descending=[True, False], nulls_last=True).head(most)
    return frame.join(kept, on=key, how="semi", nulls_equal=True, maintain_order="left")


def of_all(words: str, whole: int, most: int = MOST, *, beside: str | None = None) -> str | None:
    """Say which are shown of more than `most`; `beside` is what a subtitle says anyway.

    Examples
    --------
    >>> of_all("models with most calls", 600), of_all("models with most calls", 6)
    ('The 100 of 600 models with most calls', None)
    """
    said = f"The {most} of {whole:,} {words}" if whole > most else None
    return "; ".join(part for part in (beside, said) if part) or None


def prose(markdown: str) -> str:
    """Turn a finding into HTML that keeps its dollar signs.

    JupyterLab reads text between two dollar signs as a formula, in Markdown even when they are
    escaped; of HTML of this class it keeps its hands off.

    Examples
    --------
    >>> prose("**$5** of $9")
    '<div class="mathjax_ignore"><p><strong>$5</strong> of $9</p></div>'
    """
    from mistune import create_markdown

    return f'<div class="mathjax_ignore">{str(create_markdown(escape=True)(markdown)).strip()}</div>'


def money(amount: Decimal | float | None, currency: str, *, exact: bool = False) -> str:
    """Write an amount for a sentence: whole units from 1,000 on, unless `exact`.

    Examples
    --------
    >>> money(Decimal("1234.5"), "USD"), money(12.345, "USD")
    ('$1,234', '$12.34')
    """
    if amount is None:
        return "unknown"
    decimal = amount if isinstance(amount, Decimal) else Decimal(repr(float(amount)))
    return format_money(decimal, currency, decimals=None if exact or abs(decimal) < 1000 else 0)


def plain(text: str) -> str:
    r"""Write text for a finding so that nothing in it is taken for Markdown.

    Examples
    --------
    >>> print(plain("job retrain-*-v2_1"))
    job retrain-\*-v2\_1
    """
    return re.sub(r"([\\`*_\[\]<>#|~])", r"\\\1", text)


def percent(part: Decimal | None, whole: Decimal | None, decimals: int = 1) -> str:
    """Write a share of two exact amounts; undefined without a denominator.

    Examples
    --------
    >>> percent(Decimal(1), Decimal(3)), percent(Decimal(1), Decimal(0))
    ('33.3%', 'undefined')
    """
    if part is None or not whole:
        return "undefined"
    return f"{part / whole * 100:.{decimals}f}%"


def change_words(now: Decimal, before: Decimal | None, currency: str) -> str:
    """Say how an amount moved.

    Examples
    --------
    >>> change_words(Decimal(110), Decimal(100), "USD")
    '$10.00 (10.0%) more'
    """
    if before is None:
        return "with nothing to compare to"
    moved = exact_sum([now, before.copy_negate()])
    if moved == 0:
        return "no more and no less"
    share = f" ({percent(abs(moved), abs(before))})" if before else ""
    return f"{money(abs(moved), currency)}{share} {'more' if moved > 0 else 'less'}"


def exact(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Bring columns of statistics back to decimals, for display only.

    Examples
    --------
    >>> exact(pl.DataFrame({"yhat": [1.005, None]}), "yhat")["yhat"].to_list()
    [Decimal('1.00'), None]
    """
    return frame.with_columns(
        pl.Series(n, [None if v is None else Decimal(f"{v:.2f}") for v in frame[n]], dtype=pl.Decimal(38, 2))
        for n in names
    )
