"""Entries whose many texts are two numbers while they are worked on: the bill's, and the owner's."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from functools import reduce

import polars as pl

from finops_lab import contracts
from finops_lab.allocation.codes import CODE, codes
from finops_lab.allocation.totals import totals
from finops_lab.contracts import AMOUNTS, BILL_KEYS
from finops_lab.errors import ReconciliationError

__all__ = ["ATTRIBUTES", "DAY", "OWNER", "Compact", "Opened"]

DAY = "x_ChargeDate"
_MONTH = "x_ChargeMonth"
_LEDGER = tuple(contracts.dtypes("ledger"))
# Both in the order of the ledger, by which it is sorted. The day stands after the first attribute.
ATTRIBUTES = tuple(n for n in _LEDGER if n in BILL_KEYS and n != DAY)
OWNER = tuple(n for n in _LEDGER if n not in (*BILL_KEYS, *AMOUNTS, _MONTH, "x_Rows"))


@dataclass(frozen=True)
class Compact:
    """Ledger entries, each of its kind once.

    Attributes
    ----------
    entries : polars.DataFrame
        ``x_ChargeDate``, the places ``_bill`` and ``_owner`` in the tables, the amounts, ``x_Rows``.
    bills : polars.DataFrame
        ``_bill`` (0, 1, ...) and `ATTRIBUTES`, sorted by them, null last.
    owners : polars.DataFrame
        ``_owner`` (0, 1, ...) and `OWNER`, sorted by them, null last.
    """

    entries: pl.DataFrame
    bills: pl.DataFrame
    owners: pl.DataFrame

    def spelled(self) -> pl.DataFrame:
        """Return rows of the `ledger` contract, sorted by all their keys."""
        month = self.bills[ATTRIBUTES[0]].rank("dense").gather(self.entries["_bill"]).alias("_month")
        # The order of the ledger in one number: four of 32 bits, which is sorted in a third of the time.
        numbers = [pl.col(name).to_physical().cast(pl.Int128) for name in ("_month", DAY, "_bill", "_owner")]
        order = reduce(lambda high, low: high * 2**32 + low, numbers)
        done = self.entries[self.entries.with_columns(month).select(order).to_series().arg_sort()]
        texts = [
            *(self.bills[name].gather(done["_bill"]) for name in ATTRIBUTES),
            *(self.owners[name].gather(done["_owner"]) for name in OWNER),
            _months(done[DAY]),
        ]
        return done.with_columns(texts).select(_LEDGER)

    def opened(
        self, changed: Collection[str], looks: Collection[str], parts: Sequence[pl.DataFrame]
    ) -> Opened:
        """Spell out what steps change and what they look at; the rest stays a number.

        Parameters
        ----------
        changed : collection of str
            Columns of `OWNER`.
        looks : collection of str
            Columns of the ledger.
        parts : sequence of polars.DataFrame
            Further entries, rows of the `ledger` contract of the same bills.
        """
        kept = [name for name in OWNER if name not in changed]
        rests = pl.concat([frame.select(kept) for frame in (self.owners, *parts)]).unique()
        rests = rests.sort(kept, nulls_last=True).with_row_index("_kept")
        owners = self.owners.join(rests, on=kept, nulls_equal=True).sort("_owner")
        bill, owner = self.entries["_bill"], self.entries["_owner"]
        texts = [name for name in _LEDGER if name in changed or name in looks]
        plain = pl.DataFrame(
            [
                self.entries[DAY],
                bill,
                owners["_kept"].gather(owner),
                *(self.bills[name].gather(bill) for name in texts if name in ATTRIBUTES),
                *(owners[name].gather(owner) for name in texts if name in OWNER),
                *(_months(self.entries[DAY]) for name in texts if name == _MONTH),
                *self.entries.select(*AMOUNTS, "x_Rows"),
            ]
        )
        bills = self.bills.select("_bill", *ATTRIBUTES)
        more = [
            part.join(bills, on=ATTRIBUTES, nulls_equal=True)
            .join(rests, on=kept, nulls_equal=True)
            .select(plain.columns)
            for part in parts
        ]
        if [part.height for part in parts] != [part.height for part in more]:
            raise ReconciliationError("entries of a pool lost the attributes of their bill")
        return Opened(plain, more, tuple(n for n in OWNER if n in changed), bills, rests)


@dataclass(frozen=True)
class Opened:
    """Entries as steps take them: `plain` those of the rules, `parts` those of the splits."""

    plain: pl.DataFrame
    parts: Sequence[pl.DataFrame]
    _changed: Sequence[str]
    _bills: pl.DataFrame
    _rests: pl.DataFrame

    def closed(self, entries: pl.DataFrame) -> pl.DataFrame:
        """Return rows of the `ledger` contract, sorted, of entries that steps made of these."""
        found = codes(entries.lazy(), [["_kept", *self._changed]])[0]
        rests = self._rests.drop("_kept")[found.values["_kept"]]
        owners = found.values.drop("_kept").hstack(rests).sort(OWNER, nulls_last=True)
        owners = owners.with_row_index("_owner")
        coded = entries.lazy().select(DAY, "_bill", found.code, *AMOUNTS, "x_Rows")
        sums = totals(coded, [DAY, "_bill", CODE], pl.col("x_Rows").sum())
        done = sums.join(owners.lazy().select(CODE, "_owner"), on=CODE).collect()
        return Compact(done, self._bills, owners).spelled()


def _months(days: pl.Series) -> pl.Series:
    """Return the month of each day, spelled once a day."""
    first, last = days.min(), days.max()
    if not isinstance(first, date) or not isinstance(last, date):
        return pl.Series(_MONTH, [], dtype=pl.String)
    spelt = pl.date_range(first, last, eager=True).dt.strftime("%Y-%m")
    return spelt.gather((days - first).dt.total_days()).alias(_MONTH)
