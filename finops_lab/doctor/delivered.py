"""What came in: copies, doubled rows, quarantine, replaced months, values as they were spelled."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import polars as pl

from finops_lab.contracts import dtypes
from finops_lab.contracts.costs import CHARGE_CATEGORIES
from finops_lab.doctor._model import Look, Tables, Told, check
from finops_lab.doctor._rows import examples, key
from finops_lab.doctor._words import amount, listed, place, share, shown
from finops_lab.ingestion._scan import NULLS, ROW, scan_table
from finops_lab.ingestion.doubles import SAME, repeated
from finops_lab.ingestion.lake import FileEntry
from finops_lab.wording import plural

__all__ = ["CHECKS"]

_DOUBLED = 0.45
_FEW = 10
_SPELLED: Mapping[str, tuple[str, ...]] = {
    "ChargeCategory": CHARGE_CATEGORIES,
    "ChargeClass": ("Correction",),
    "ChargeFrequency": ("One-Time", "Recurring", "Usage-Based"),
}
_EMPTY = pl.LazyFrame({"file": []}, schema={"file": pl.String})


def _bills(tables: Tables) -> list[str]:
    """Return the FOCUS files that still lie there, whose values can be read as delivered."""
    here = tables.files or {}
    return [
        entry.path
        for table, entry in tables.log
        if table == "costs"
        and entry.format.startswith("FOCUS")
        and entry.path in here
        and here[entry.path].is_file()
    ]


@check(
    "category spelling mended",
    table="costs",
    severity="warning",
    meaning="A category was delivered in another case or with blanks (Usage-based for Usage-Based).",
    fix="nothing to do here: the lake holds FOCUS's spelling; other tools that read this file compare in "
    "vain, so ask the issuer to mend it",
)
def _category_spelling_mended(tables: Tables) -> Look:
    right = sorted({value for values in _SPELLED.values() for value in values})
    text = pl.col("value")
    near = text.str.strip_chars().str.to_lowercase().is_in([value.lower() for value in right])
    parts = []
    for path in _bills(tables):
        raw = scan_table((tables.files or {})[path])
        schema = raw.collect_schema()
        names = [name for name in _SPELLED if name in schema]
        who = next((n for n in ("ProviderName", "ServiceProviderName") if n in schema), None)
        provider = pl.col(who).cast(pl.String) if who else pl.lit(None, dtype=pl.String)
        parts.append(
            raw.select(provider.alias("provider"), pl.col(*names).cast(pl.String), pl.col(ROW).cast(pl.Int64))
            .unpivot(on=names, index=["provider", ROW], variable_name="column")
            .filter(near & ~text.is_in(right))
            .group_by("column", "value", "provider")
            .agg(pl.len().cast(pl.Int64).alias("rows"), pl.col(ROW).min().alias("row"))
            .with_columns(pl.lit(path).alias("file"))
        )
    found = yield pl.concat(parts) if parts else _EMPTY
    if found.is_empty():
        return []
    told = []
    keys = ["column", "value", "provider"]
    for (column, value, provider), rows in found.sort(*keys, "file").group_by(keys, maintain_order=True):
        meant = next(v for v in right if v.lower() == str(value).strip().lower())
        told.append(
            Told(
                place(provider, column, listed(rows["file"], 2)),
                f"{column} was delivered as {shown(value)} in {plural(int(rows['rows'].sum()), 'row')} and "
                f"read as {meant!r}",
                int(rows["rows"].sum()),
                examples=[f"{file}:{row}" for file, row in rows.select("file", "row").head(3).rows()],
            )
        )
    return told


@check(
    "several spellings of nothing",
    table="costs",
    severity="info",
    meaning="One column spells a missing value in several ways (NULL, empty, (null)).",
    fix="nothing to do here: all are read as null; other tools count NULL as a value",
)
def _several_spellings_of_nothing(tables: Tables) -> Look:
    words = [word for word in (*NULLS, "None", "none", "N/A", "n/a", "-") if word]
    text = pl.col("value")
    is_word = text.is_in(words).fill_null(False)
    empty = text.is_null() | (text == "")
    parts = []
    for path in _bills(tables):
        raw = scan_table((tables.files or {})[path], nulls=())
        # Parquet has nulls of its own: only texts that mean nothing are spellings there.
        names = [n for n, t in raw.collect_schema().items() if t == pl.String and n in dtypes("costs")]
        parts.append(
            raw.select(names)
            .unpivot(on=names, variable_name="column")
            .filter(empty | is_word)
            .group_by("column")
            .agg(
                empty.sum().cast(pl.Int64).alias("empty"),
                is_word.sum().cast(pl.Int64).alias("words"),
                pl.when(is_word).then(text).min().alias("word"),
                pl.when(is_word).then(text).max().alias("other"),
            )
            .with_columns(pl.lit(path).alias("file"))
        )
    found = yield pl.concat(parts) if parts else _EMPTY
    if found.is_empty():
        return []
    both = (pl.col("words") > 0) & ((pl.col("empty") > 0) | (pl.col("word") != pl.col("other")))
    told = []
    for (file,), rows in found.filter(both).sort("file", "column").group_by("file", maintain_order=True):
        spelled = sorted({*rows["word"], *rows["other"]})
        told.append(
            Told(
                str(file),
                f"{plural(rows.height, 'column')} ({listed(rows['column'])}) spell nothing in several ways: "
                f"{listed([shown(word) for word in spelled])} in {int(rows['words'].sum()):,} values, empty in "
                f"{int(rows['empty'].sum()):,}",
            )
        )
    return told


@check(
    "mended at reading",
    table="files",
    severity="info",
    meaning="Values that the readers mended or left unread, and told.",
    fix="look whether the mended values are what was meant; ask the issuer to mend the export",
)
def _mended_at_reading(tables: Tables) -> Look:
    yield _EMPTY
    told: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for table, entry in tables.log:
        for text, rows in entry.notes.items():
            told.setdefault((table, text), []).append((entry.path, rows))
    return [
        Told(
            place(table, listed([path for path, _ in hits], 2)),
            f"{text}: {plural(sum(n for _, n in hits), 'row')} in {plural(len(hits), 'file')}",
            sum(n for _, n in hits),
        )
        for (table, text), hits in sorted(told.items())
    ]


@check(
    "same file twice",
    table="files",
    severity="info",
    meaning="A file has the content of another one under a second name.",
    fix="remove the copy; it was read once",
)
def _same_file_twice(tables: Tables) -> Look:
    yield _EMPTY
    return [Told(path, why) for path, why in sorted(tables.copies.items())]


@check(
    "charges in two files",
    table="costs",
    severity="error",
    meaning="The same charges stand in more than one file: likely counted twice.",
    fix="put a newer export of a month into a folder delivered=YYYY-MM-DD, so that it replaces the older one",
)
def _charges_in_two_files(tables: Tables) -> Look:
    found = yield repeated(tables.costs).lazy()
    return [
        Told(
            row["files"],
            f"{plural(row['rows'], 'charge')} ({amount(row['BilledCost'], row['BillingCurrency'])} billed) "
            f"stand alike in {row['files']}",
            row["rows"],
            row["BillingCurrency"],
            row["BilledCost"],
        )
        for row in found.iter_rows(named=True)
    ]


@check(
    "doubled rows in a file",
    table="costs",
    severity="info",
    meaning="Rows of one file are alike in everything that tells charges apart; an error when nearly all are.",
    fix="keep them: equal rows can be legal (a line item's id is no key); compare the total with the invoice",
)
def _doubled_rows_in_a_file(tables: Tables) -> Look:
    by = ["x_SourceFile", "BillingCurrency"]
    found = yield (
        tables.costs.with_columns(pl.struct(SAME).hash().alias("_same"))
        .group_by(*by, "_same")
        .agg(
            pl.len().cast(pl.Int64).alias("count"),
            pl.col("BilledCost").sum().alias("all"),
            pl.col("BilledCost").min().alias("one"),
            key().max().alias("_last"),
        )
        .group_by(by)
        .agg(
            pl.col("count").sum().alias("of"),
            (pl.col("count") - 1).sum().alias("rows"),
            (pl.col("all") - pl.col("one")).sum().alias("money"),
            (pl.col("count") > 1).mean().alias("share"),
            pl.when(pl.col("count") > 1).then(pl.col("_last")).max().alias("_last"),
        )
        .filter(pl.col("rows") > 0)
        .sort(by)
    )
    told = []
    for row in found.iter_rows(named=True):
        whole = row["of"] >= _FEW and row["rows"] >= _DOUBLED * row["of"] and row["share"] >= 2 * _DOUBLED
        told.append(
            Told(
                row["x_SourceFile"],
                f"{row['rows']:,} of {plural(row['of'], 'row')} ({share(row['rows'], row['of'])}) repeat "
                f"another row of the file, {amount(row['money'], row['BillingCurrency'])} billed"
                + (": the whole file stands there twice" if whole else ""),
                row["rows"],
                row["BillingCurrency"],
                abs(row["money"]),
                examples({**row, "_first": None}),
                severity="error" if whole else None,
                fix="export the file again: its content was written twice" if whole else None,
            )
        )
    return told


@check(
    "quarantined rows",
    table="quarantine",
    severity="warning",
    meaning="Rows that broke the contract and count nowhere; an error where they are rows of a bill.",
    fix="see lab.quarantine() for the rows; mend the export and ingest it again",
)
def _quarantined_rows(tables: Tables) -> Look:
    if tables.quarantine is None:
        return []
    by = ["table", "source_file", "reason", "BillingCurrency"]
    found = yield (
        tables.quarantine.group_by(by)
        .agg(
            pl.len().cast(pl.Int64).alias("rows"),
            pl.col("BilledCost").sum().alias("money"),
            pl.col("BilledCost").null_count().cast(pl.Int64).alias("unknown"),
            key("source_file", "source_row").min().alias("_first"),
            key("source_file", "source_row").max().alias("_last"),
        )
        .sort(by)
    )
    told = []
    for row in found.iter_rows(named=True):
        bill = row["table"] == "costs"
        said = f"{plural(row['rows'], 'row')} rejected: {row['reason']}"
        if bill:
            said += f" ({amount(row['money'], row['BillingCurrency'])} billed"
            said += f", {row['unknown']:,} without a readable amount)" if row["unknown"] else ")"
        told.append(
            Told(
                place(row["table"], row["source_file"]),
                said,
                row["rows"],
                row["BillingCurrency"] if bill else None,
                row["money"] if bill else None,
                examples(row),
                severity="error" if bill else None,
            )
        )
    return told


@check(
    "restated month",
    table="costs",
    severity="info",
    meaning="A newer delivery replaced rows of an older one.",
    fix="say in the review which delivery its figures are of; older ones stay readable with as_of",
)
def _restated_month(tables: Tables) -> Look:
    yield _EMPTY
    told = []
    bills = [entry for table, entry in tables.log if table == "costs"]
    for old in bills:
        if not old.rows_superseded:
            continue
        news = [
            e for e in bills if e.stream == old.stream and (e.delivered_on or "") > (old.delivered_on or "")
        ]
        for currency, fates in old.money.items():
            gone = Decimal(fates.get("superseded", "0"))
            new = _only_replacement(old, news, currency)
            said = f"{plural(old.rows_superseded, 'row')} ({amount(gone, currency)} billed) were replaced"
            if new is not None:
                entry, now = new
                said += (
                    f" by {plural(entry.rows_accepted, 'row')} ({amount(now, currency)}) of {entry.path}: "
                    f"{entry.rows_accepted - old.rows_superseded:+,} rows, {amount(now - gone, currency)}"
                )
            told.append(
                Told(
                    old.path,
                    said,
                    old.rows_superseded,
                    currency,
                    abs(new[1] - gone) if new is not None else gone,
                )
            )
    return told


def _only_replacement(
    old: FileEntry, news: list[FileEntry], currency: str
) -> tuple[FileEntry, Decimal] | None:
    """Return the one newer file that replaced all of an older one, with its money; else unknown."""
    # Nothing of the old file is left, and the only newer one holds one month of one account: the same.
    if old.rows_accepted or len(news) != 1 or len(news[0].units) != 1 or news[0].rows_superseded:
        return None
    accepted = news[0].money.get(currency, {}).get("accepted")
    return None if accepted is None else (news[0], Decimal(accepted))


@check(
    "file withdrawn",
    table="files",
    severity="warning",
    meaning="Rows of a file still count that lies in exports/ no more.",
    fix="delete lake/ to leave out what was withdrawn, or put the file back",
)
def _file_withdrawn(tables: Tables) -> Look:
    yield _EMPTY
    gone = [(table, entry) for table, entry in tables.log if entry.path in set(tables.withdrawn)]
    return [
        Told(
            place(table, entry.path),
            f"{plural(entry.rows_accepted, 'row')} still count of a file that is no longer there",
            entry.rows_accepted,
            currency,
            None if currency is None else Decimal(entry.money[currency].get("accepted", "0")),
        )
        for table, entry in gone
        for currency in (*entry.money, *([] if entry.money else [None]))
        if entry.rows_accepted
    ]


CHECKS = (
    _category_spelling_mended,
    _several_spellings_of_nothing,
    _mended_at_reading,
    _same_file_twice,
    _charges_in_two_files,
    _doubled_rows_in_a_file,
    _quarantined_rows,
    _restated_month,
    _file_withdrawn,
)
