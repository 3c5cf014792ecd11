"""A lab: a folder with `finops.toml`, exports and a lake. The one object an analyst opens."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import file_digest
from importlib.metadata import version as package_version
from pathlib import Path

import polars as pl

from finops_lab import config as _config
from finops_lab import contracts
from finops_lab.calendar import format_month, months_from, parse_day
from finops_lab.config import Config, Coverage
from finops_lab.errors import InputError
from finops_lab.ingestion import lake, quarantine
from finops_lab.ingestion.coverage import acting, covered, overlap_report
from finops_lab.ingestion.lake import FileEntry
from finops_lab.ingestion.run import FETCHED, ingest
from finops_lab.ingestion.sources.fetched import fetch
from finops_lab.ingestion.summary import IngestSummary, Progress, Work

__all__ = ["Lab", "explain_lab", "open_lab", "packaged", "sample_lab"]

_PACKAGE = Path(__file__).parent


@dataclass(frozen=True)
class Lab:
    """An opened lab.

    Attributes
    ----------
    folder : pathlib.Path
        Where it is.
    config : Config
        Its `finops.toml`.
    summary : IngestSummary
        What the last ingest did.
    as_of : datetime.date, optional
        Tables are read as of then: the last version that holds no later delivery.
    """

    folder: Path
    config: Config
    summary: IngestSummary
    as_of: date | None = None

    def __repr__(self) -> str:
        return f"Lab({self.name!r}, {str(self.folder)!r})"

    @property
    def name(self) -> str:
        """The lab's name, as reports show it."""
        return self.config.lab.name

    @property
    def currency(self) -> str:
        """ISO 4217 code that totals are in."""
        return self.config.lab.currency

    def table(self, name: str, as_of: date | str | None = None) -> pl.LazyFrame:
        """Return a table of the lake; empty when the lab has no such data.

        Rows that ``[[coverage]]`` calls an overlap are left out: `overlap` reports them.

        Parameters
        ----------
        name : str
            A contract's name, such as ``costs`` or ``inference_requests``.
        as_of : datetime.date or str, optional
            Read the last version that holds no delivery later than this date (``2026-10-05``).
            Default: the date the lab was opened with.

        Raises
        ------
        InputError
            When there is no such contract, or `as_of` is no date.
        """
        return covered(self.delivered(name, as_of), name, self.plans(name, as_of))

    def delivered(self, name: str, as_of: date | str | None = None) -> pl.LazyFrame:
        """Return a table of the lake with everything that was delivered, overlaps included.

        Parameters and errors are those of `table`.
        """
        as_of = parse_day(as_of, "as_of") if as_of is not None else self.as_of
        made = {"budgets": self.budgets, "slos": self.slos, "pools": self.pools}
        if name in made:
            return made[name]().lazy()
        if name not in contracts.TABLES:
            raise InputError(f"there is no table {name!r}", hint=f"tables: {', '.join(contracts.TABLES)}")
        rows = lake.scan(self.folder / "lake", name, as_of)
        return pl.concat([self._agreed_prices(), rows]) if name == "prices" else rows

    def overlap(self) -> pl.DataFrame:
        """Return what the coverage plan leaves out: see `finops_lab.ingestion.coverage.overlap_report`."""
        return pl.concat(
            overlap_report(self.delivered(table), table, self.plans(table))
            for table in ("costs", "inference_requests")
        )

    def plans(self, table: str, as_of: date | str | None = None) -> list[Coverage]:
        """Return the ``[[coverage]]`` plans of a table that act: whose authority has been delivered.

        By `as_of`, or the date the lab was opened with: what came later makes no plan act.
        """
        when = parse_day(as_of, "as_of") if as_of is not None else self.as_of
        plans = [plan for plan in self.config.coverage if plan.table == table]
        entries = lake.files(self.folder / "lake", table, when).values() if plans else ()
        return acting(plans, table, (entry.path for entry in entries if entry.rows_accepted))

    def costs(self) -> pl.LazyFrame:
        """Return the bill rows: the `costs` contract."""
        return self.table("costs")

    def budgets(self) -> pl.DataFrame:
        """Return the planned spend, one row per month and entry, older ones too: the `budgets` contract."""
        rows = [
            (
                format_month(month),
                *budget.selector,
                budget.amount,
                budget.currency or self.currency,
                budget.approved,
                budget.approved_by,
                budget.reason,
            )
            for budget in self.config.budgets
            for month in months_from(budget.first, budget.last)
        ]
        return pl.DataFrame(rows, schema=contracts.dtypes("budgets"), orient="row")

    def slos(self) -> pl.DataFrame:
        """Return the service level objectives: the `slos` contract."""
        rows = [slo.model_dump() for slo in self.config.slos]
        return pl.DataFrame(rows, schema=contracts.dtypes("slos"))

    def pools(self) -> pl.DataFrame:
        """Return the pools of GPUs: the `pools` contract."""
        rows = [pool.model_dump() for pool in self.config.pools]
        named = [{("pool_id" if key == "id" else key): value for key, value in row.items()} for row in rows]
        return pl.DataFrame(named, schema=contracts.dtypes("pools"))

    def _agreed_prices(self) -> pl.LazyFrame:
        """Return ``[[prices]]`` as rows of the `prices` contract."""
        day = timedelta(days=1)
        rows = [
            {
                "provider": price.provider,
                "model": price.model,
                "unit": price.unit,
                "tier_above_tokens": price.tier_above_tokens,
                "context": price.context,
                "valid_from": _midnight(price.first),
                "valid_to": _midnight(price.last + day if price.last else None),
                "rate_usd_per_unit": price.rate_usd,
                "origin": "user",
                "source_file": _config.CONFIG_FILE,
            }
            for price in self.config.prices
        ]
        return pl.LazyFrame(rows, schema=contracts.dtypes("prices"))

    def quarantine(self) -> pl.LazyFrame:
        """Return the rows that were rejected, with reason, place and money at stake."""
        return quarantine.read(self.folder / "quarantine")

    def files(self) -> list[tuple[str, FileEntry]]:
        """Return the ingestion log: table and entry of every file, a file of several tables for each."""
        found = [
            (entry.path, table, entry)
            for table in contracts.TABLES
            for entry in lake.files(self.folder / "lake", table).values()
            if entry.format
        ]
        return [(table, entry) for _, table, entry in sorted(found, key=lambda row: row[:2])]

    def withdrawn(self) -> list[str]:
        """Return the files whose rows still count although they are no longer delivered."""
        roots = {True: self.folder / "lake", False: self.folder / "exports"}
        found = {entry.path for _, entry in self.files() if entry.rows_accepted}
        return sorted(p for p in found if not (roots[p.startswith(f"{FETCHED}/")] / p).exists())

    def versions(self) -> dict[str, int]:
        """Return the lake's version of every table it holds."""
        found = {table: lake.version(self.folder / "lake", table) for table in contracts.TABLES}
        return {table: number for table, number in found.items() if number is not None}

    def months(self) -> list[date]:
        """Return the months of use that bills cover, in order."""
        month = pl.col("ChargePeriodStart").dt.date().dt.month_start()
        return self.costs().select(month.unique().sort()).collect().to_series().to_list()


def open_lab(
    path: str | Path | None = None,
    *,
    progress: bool = True,
    as_of: date | str | None = None,
    refresh: bool = False,
    offline: bool = False,
) -> Lab:
    """Open a lab, after bringing new and changed exports into its lake.

    Parameters
    ----------
    path : str or pathlib.Path, optional
        The lab's folder; the packaged synthetic sample lab by default.
    progress : bool
        Show a progress bar while files are read.
    as_of : datetime.date or str, optional
        Read every table as it was on this date (``2026-11-01``), by the dates of the deliveries.
    refresh : bool
        Copy what ``[[sources]]`` name again first. A source that was never copied always is.
    offline : bool
        Ask no source at all.

    Returns
    -------
    Lab

    Raises
    ------
    InputError
        When the folder is no lab, `finops.toml` is wrong, or a file cannot be read.
    """
    folder = _folder(path)
    when = parse_day(as_of, "as_of") if as_of is not None else None
    config = _config.load(folder)
    with _bar(progress) as report:
        fetch(
            folder / "lake" / FETCHED,
            () if offline else config.sources,
            datetime.now(UTC),
            refresh=refresh,
            begin=lambda name: report and report(Work(0, 1, 0, 0, 0, f"copying source {name}")),
        )
        summary = ingest(folder, config, report)
    return Lab(folder, config, summary, when)


def explain_lab(path: str | Path | None = None, *, progress: bool = True) -> IngestSummary:
    """Tell what opening a lab would add, replace and skip, and write nothing.

    Every file is read and checked as ingestion would; `[[sources]]` are not asked.

    Parameters
    ----------
    path, progress
        As for `open_lab`.

    Returns
    -------
    IngestSummary

    Raises
    ------
    InputError
        As `open_lab`.
    """
    folder = _folder(path)
    config = _config.load(folder)
    with _bar(progress) as report:
        return ingest(folder, config, report, explain=True)


def _folder(path: str | Path | None) -> Path:
    folder = sample_lab() if path is None or str(path) == "" else Path(path)
    if folder.is_file():
        raise InputError("a lab is a folder, this is a file", file=folder)
    if not folder.is_dir():
        raise InputError(
            "there is no such lab folder", file=folder, hint="`finops-lab sample --out DIR` writes an example"
        )
    return folder


def _midnight(day: date | None) -> datetime | None:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) if day else None


def packaged(kind: str) -> Path:
    """Return the folder of the notebooks or samples that ship with the package.

    Parameters
    ----------
    kind : str
        ``notebooks`` or ``samples``.
    """
    installed = _PACKAGE / f"_{kind}"
    if installed.is_dir():
        return installed
    return _PACKAGE.parent / ("data/samples" if kind == "samples" else kind)


def sample_lab() -> Path:
    """Return the sample lab in a writable place.

    A checkout uses its own ``data/samples``. An installed package copies its samples to the user's
    data folder once per release and content, since site-packages is no place for a lake.
    """
    source = packaged("samples")
    if source.parent != _PACKAGE:
        return source
    import platformdirs

    truth = source / "truth.json"
    with truth.open("rb") as stream:
        digest = file_digest(stream, "sha256").hexdigest()[:8]
    base = Path(platformdirs.user_data_dir("finops_lab", appauthor=False))
    target = base / f"samples-{package_version('finops-lab')}-{digest}"
    if not target.exists():
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        partial.rename(target)
    return target


@contextmanager
def _bar(wanted: bool) -> Iterator[Progress | None]:
    if not wanted:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("reading exports"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[pace]}"),
        TextColumn("{task.description}"),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, visible=False, pace="")

        def report(work: Work) -> None:
            seconds = bar.tasks[0].elapsed or 0.0
            pace = f"{work.rows:,} rows, {work.rows / seconds:,.0f} rows/s" if seconds and work.rows else ""
            bar.update(
                task,
                completed=work.bytes,
                total=work.bytes_total or None,
                description=work.name,
                visible=work.files_total > 0,
                pace=pace,
            )

        yield report
