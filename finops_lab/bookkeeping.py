"""The ledger of a lab: allocated a billing month at a time, and only what changed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib.metadata import version as package_version
from itertools import groupby
from pathlib import Path

import polars as pl

from finops_lab import allocation, contracts
from finops_lab.allocation import Ledger, Partial, Policy
from finops_lab.calendar import add_months, parse_month
from finops_lab.config.dimensions import with_accounts
from finops_lab.errors import NoDataError, ReconciliationError
from finops_lab.ingestion import lake
from finops_lab.keeping import alive, digest, partition_values
from finops_lab.lab import Lab

__all__ = ["FOLDER", "ledger", "policy", "scan", "verify"]

FOLDER = "ledger"
_METERED = ("inference_requests", "gpu_samples")
# `caught` of a month is what the rules looked at; of the whole ledger, their report.
_TOLD = ("receipt", "caught", "steps")
_WHOLE = "whole"


def policy(lab: Lab) -> Policy:
    """Return who pays for what, as the lab's `finops.toml` says."""
    config = lab.config
    dimensions = with_accounts(config.dimensions, config.accounts)
    return Policy(dimensions, config.splits, config.shared, config.overrides)


def ledger(lab: Lab, *, store: bool = True) -> Ledger:
    """Allocate the lab's bills; months of which nothing changed are read from the lake.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    store : bool
        Keep what was worked out below ``lake/ledger``, and use what is kept. Without it everything
        is worked out again and nothing is written.

    Returns
    -------
    Ledger
        In the currencies of the bills.

    Raises
    ------
    NoDataError
        When the lab holds no bills.
    """
    plan = _plan(lab)
    told, fresh = _up_to_date(lab, plan, keep=store and lab.as_of is None)
    entries: list[pl.DataFrame] = []
    for new, some in groupby(plan.places, fresh.__contains__):
        months = list(some)
        # Months in a row are read at once: of many small files each costs more than what is in it.
        together = None if new else _frame([plan.entries(month) for month in months])
        if together is not None:
            entries.append(together)
            continue
        for month in months:
            found = fresh[month] if new else _frame([plan.entries(month)])
            entries.append(_worked_out(lab, plan, month, keep=True).entries if found is None else found)
    # Those of a month are sorted, and the month comes first in their order.
    return replace(told, entries=pl.concat(entries))


def scan(lab: Lab) -> pl.LazyFrame:
    """Return the ledger's entries to query: months kept in the lake are read when asked, never whole.

    Parameters
    ----------
    lab : Lab
        An opened lab.

    Returns
    -------
    polars.LazyFrame
        The `ledger` contract, in the currencies of the bills; entries of a month lie together.

    Raises
    ------
    NoDataError
        When the lab holds no bills.
    """
    plan = _plan(lab)
    if lab.as_of is None:
        _up_to_date(lab, plan, keep=True, hold=False)
        if plan.done:
            return pl.scan_parquet([plan.entries(month) for month in plan.places])
    return ledger(lab).entries.lazy()


def verify(lab: Lab) -> Ledger:
    """Work the ledger out again from the lake and compare it with what is kept, to the last decimal.

    Raises
    ------
    ReconciliationError
        When the two differ.
    """
    kept, anew = ledger(lab), ledger(lab, store=False)
    for name in ("entries", "receipt", "rules", "steps"):
        if not getattr(kept, name).equals(getattr(anew, name)):
            raise ReconciliationError(
                f"the {name} kept in the lake are not those that its data gives",
                file=lab.folder / "lake" / FOLDER,
                hint="delete the folder: the ledger is worked out again",
            )
    return anew


@dataclass(frozen=True)
class _Plan:
    """Where the ledger of a lab is kept, and what it is made of."""

    rules: Policy
    places: Mapping[str, Path]  # of each billing month
    whole: Path  # of what is told of all months together
    use: Mapping[str, Sequence[str]]
    inputs: str

    def entries(self, month: str) -> Path:
        """Where a month's entries are kept."""
        return self.places[month] / "entries.parquet"

    @property
    def done(self) -> bool:
        """Whether everything is kept, and can be read."""
        try:
            for month in self.places:
                pl.read_parquet_schema(self.entries(month))
        except (OSError, pl.exceptions.PolarsError):
            return False
        return (self.whole / "use.json").exists()


def _up_to_date(
    lab: Lab, plan: _Plan, *, keep: bool, hold: bool = True
) -> tuple[Ledger, dict[str, pl.DataFrame]]:
    """Work out what changed, and what is told of all months; entries of other months are not read.

    Returns the ledger without entries and, where they are to `hold`, the entries worked out.
    """
    none, fresh = pl.DataFrame(schema=contracts.dtypes("ledger")), dict[str, pl.DataFrame]()
    if keep and (found := _frames([plan.whole])) is not None:
        receipt, rules, steps = found
        return Ledger(none, receipt, rules, steps, plan.inputs), fresh
    parts: list[Partial] = []
    for old, some in groupby(plan.places, lambda month: keep and _fits(plan.places[month], plan.use)):
        months = list(some)
        together = _frames([plan.places[month] for month in months]) if old else None
        if together is not None:
            parts.append(Partial(none, *together))
            continue
        for month in months:
            found = _frames([plan.places[month]]) if old else None
            if found is None:
                part = _worked_out(lab, plan, month, keep=keep)
                if hold:
                    fresh[month] = part.entries
                found = [part.receipt, part.caught, part.steps]
            parts.append(Partial(none, *found))
    done = allocation.put_together(parts, plan.rules, plan.inputs)
    if keep:
        _forget(plan.whole.parent, set(plan.places))
        _write({"receipt": done.receipt, "caught": done.rules, "steps": done.steps}, plan.whole, {})
    return done, fresh


def _worked_out(lab: Lab, plan: _Plan, month: str, *, keep: bool) -> Partial:
    part, days = _month(lab, plan.rules, month)
    if keep:
        frames = {name: getattr(part, name) for name in ("entries", *_TOLD)}
        _write(frames, plan.places[month], {"days": days, "use": _used(plan.use, days)})
    return part


def _plan(lab: Lab) -> _Plan:
    rules = policy(lab)
    months = _months(lab)
    if not months:
        raise NoDataError("the lab holds no bill rows", file=lab.folder, hint="put bills into exports/")
    folder = lab.folder / "lake" / FOLDER
    use = _use(lab) if rules.splits or rules.shared else {}
    settled = _settled(lab, rules)
    inputs = _inputs(lab, settled)
    # Names of data files are used once in the life of a table: one that was built again has other data.
    settled += [str(lake.identity(lab.folder / "lake", table)) for table in ("costs", *_METERED)]
    whole = folder / f"{_WHOLE}-{digest([settled, months, sorted(use.items())])[:16]}"
    places = {month: folder / f"{month}-{digest([settled, files])[:16]}" for month, files in months.items()}
    return _Plan(rules, places, whole, use, inputs)


def _months(lab: Lab) -> dict[str, list[str]]:
    """Return the bills' data files of each billing month."""
    found: dict[str, list[str]] = {}
    for name in lake.data_files_of(lab.folder / "lake", "costs", lab.as_of):
        found.setdefault(partition_values(name)["x_BillingMonth"], []).append(name)
    return dict(sorted(found.items()))


def _use(lab: Lab) -> dict[str, list[str]]:
    """Return the data files of metered use of each day."""
    found: dict[str, list[str]] = {}
    for table in filter(lambda table: _delivered(lab, table), _METERED):
        for name in lake.data_files_of(lab.folder / "lake", table, lab.as_of):
            found.setdefault(partition_values(name)["day"], []).append(f"{table}/{name}")
    return found


def _delivered(lab: Lab, table: str) -> bool:
    """Tell whether anything of a table had been delivered by the lab's date."""
    return lab.as_of is None or bool(lake.files(lab.folder / "lake", table, lab.as_of))


def _metered(lab: Lab, table: str) -> pl.LazyFrame:
    # What was first measured later is no fault of the books of then: nothing had been measured.
    return lab.table(table) if _delivered(lab, table) else pl.LazyFrame(schema=contracts.dtypes(table))


def _settled(lab: Lab, rules: Policy) -> list[str]:
    """Return what a ledger depends on beside the data."""
    versions = [contracts.version(table) for table in ("ledger", "costs", *_METERED)]
    versions.append(package_version("finops-lab"))
    # A plan acts from the day its authority is there, whatever month that file is of.
    acting = [repr(lab.plans(table)) for table in ("costs", "inference_requests")]
    return [*versions, repr(rules), *acting]


def _inputs(lab: Lab, settled: Sequence[str]) -> str:
    """Return the digest of all that was delivered by then, and of what was made of it how."""
    log = {t: lake.files(lab.folder / "lake", t, lab.as_of).values() for t in ("costs", *_METERED)}
    files = [(table, e.path, e.sha256) for table, found in log.items() for e in found if e.rows_accepted]
    return digest([settled, str(lab.as_of), sorted(files)])


def _used(use: Mapping[str, Sequence[str]], days: Sequence[str]) -> str:
    first, last = days
    return digest([name for day in sorted(use) if first <= day <= last for name in use[day]])


def _month(lab: Lab, rules: Policy, month: str) -> tuple[Partial, list[str]]:
    """Allocate a billing month; also return the first and last day of use it looks at."""
    here = pl.col("x_BillingMonth") == month
    costs = lab.costs().filter(here)
    start, end = pl.col("ChargePeriodStart"), pl.col("ChargePeriodEnd")
    days = costs.select(first=start.min().dt.date(), last=pl.max_horizontal(start.max(), end.max()).dt.date())
    first, last = days.collect().row(0)
    # Shared costs may go by the use of the whole billing month.
    begin = parse_month(month)
    first = min(day for day in (first, begin) if day)
    last = max(day for day in (last, add_months(begin, 1)) if day)
    plans = any(plan.table == "costs" for plan in lab.config.coverage)
    part = allocation.partial(
        costs,
        rules,
        _metered(lab, "inference_requests") if rules.splits or rules.shared else None,
        _metered(lab, "gpu_samples") if rules.splits else None,
        lab.delivered("costs").filter(here) if plans else None,
    )
    return part, [first.isoformat(), (last + timedelta(days=1)).isoformat()]


def _fits(place: Path, use: Mapping[str, Sequence[str]]) -> bool:
    """Tell whether a month is kept, and no other use was metered since."""
    try:
        known = json.loads((place / "use.json").read_text(encoding="utf-8"))
        return bool(known["use"] == _used(use, known["days"]))
    except (OSError, ValueError, KeyError):
        return False


def _frames(places: Sequence[Path]) -> list[pl.DataFrame] | None:
    found = [_frame([place / f"{name}.parquet" for place in places]) for name in _TOLD]
    whole = [frame for frame in found if frame is not None]
    return whole if len(whole) == len(_TOLD) else None


def _frame(paths: list[Path]) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(paths)
    except (OSError, pl.exceptions.PolarsError):
        return None  # not there, or broken: it is worked out again


def _write(frames: Mapping[str, pl.DataFrame], place: Path, known: Mapping[str, object]) -> None:
    """Write beside and move into place, so that nothing half-written is ever read.

    What is kept only saves work: where it cannot be written, the next run works it out again.
    """
    with suppress(OSError):
        _put(frames, place, known)


def _put(frames: Mapping[str, pl.DataFrame], place: Path, known: Mapping[str, object]) -> None:
    beside = place.with_name(f".{place.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name, frame in frames.items():
        # Read far more often than written: lz4 takes a third of the time to read, and a quarter more room.
        frame.write_parquet(beside / f"{name}.parquet", compression="lz4")
    (beside / "use.json").write_text(json.dumps(known), encoding="utf-8")
    for old in place.parent.glob(f"{place.name[:-16]}*"):
        shutil.rmtree(old, ignore_errors=True)
    beside.rename(place)


def _forget(folder: Path, months: Set[str]) -> None:
    """Remove what is kept of months that the lake holds no longer, and what a crash left."""
    for place in folder.iterdir() if folder.is_dir() else ():
        if place.name.startswith("."):
            wanted = alive(place.name.rpartition(".")[2])  # another run may be writing
        else:
            wanted = place.name[:7] in months or place.name.startswith(_WHOLE)
        if not wanted:
            shutil.rmtree(place, ignore_errors=True)
