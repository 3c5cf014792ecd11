"""Merge labs into a portal: read each lab, bring in what counts, prove that the sums agree."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

import polars as pl

from finops_lab.config import CONFIG_FILE, OVERRIDES_FILE, Config, Coverage, load
from finops_lab.errors import InputError
from finops_lab.ingestion.run import FETCHED
from finops_lab.ingestion.summary import Progress
from finops_lab.merging.configs import merged_config
from finops_lab.merging.conflicts import CONFLICTS, conflicts_of, settling_plans
from finops_lab.merging.copies import alone, bring, delivered_files, digest, place, swap
from finops_lab.merging.reading import Reading, read_lab
from finops_lab.merging.receipt import RECEIPT, receipt_of, withdrawn
from finops_lab.merging.sameness import Left, left_out
from finops_lab.merging.toml_text import written, written_tables
from finops_lab.money import MONEY

__all__ = ["Merged", "merge"]

_RECORD = "merge.json"
_VERSION = 1
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_OWN = {CONFIG_FILE, _RECORD, "exports", "lake", "quarantine"}
_FILES: dict[str, pl.DataType | type[pl.DataType]] = dict.fromkeys(
    ("lab", "file", "sha256", "portal_file", "same_as", "why", "change"), pl.String
)


@dataclass(frozen=True)
class Merged:
    """What a merge made, and the proof that nothing counts twice.

    Attributes
    ----------
    folder : pathlib.Path
        The portal: a lab like any other.
    files : polars.DataFrame
        One row per delivered file: ``lab``, ``file`` (its name there), ``sha256``, ``portal_file``
        (null: not brought in), ``same_as`` (the portal's file that counts in its place), ``why``,
        ``change`` since the last merge: ``new``, ``changed``, ``unchanged`` or ``withdrawn``.
    receipt : polars.DataFrame
        One row per bill file and currency: ``lab``, ``file``, ``BillingCurrency``, ``rows`` (Int64)
        and ``BilledCost`` that count in the lab; ``counted``, what the portal counts of it, and
        ``elsewhere``, what other files in the portal count already; ``why``. ``BilledCost`` is
        ``counted`` + ``elsewhere``, and the portal's sum is the sum of ``counted``.
    conflicts : polars.DataFrame
        Accounts and months that several labs bill from different files: see `MergeConflict`.
    notes : tuple of str
        What of the labs is not in the portal, or holds more widely there.
    changed : bool
        Whether anything was written.
    """

    folder: Path
    files: pl.DataFrame = field(repr=False)
    receipt: pl.DataFrame = field(repr=False)
    conflicts: pl.DataFrame = field(repr=False)
    notes: tuple[str, ...]
    changed: bool

    def totals(self) -> pl.DataFrame:
        """Add up the receipt per currency: ``BilledCost``, ``counted``, ``elsewhere``."""
        amounts = pl.col("BilledCost", "counted", "elsewhere").sum()
        return self.receipt.group_by("BillingCurrency").agg(amounts).sort("BillingCurrency")


def merge(
    labs: Sequence[Path],
    out: Path,
    *,
    names: Sequence[str] | None = None,
    config: Path | None = None,
    link: bool = False,
    prefer: str | None = None,
    sub_accounts: bool = False,
    progress: Progress | None = None,
) -> Merged:
    """Merge labs into a portal lab in which every charge counts once.

    The labs are only read. Their delivered files come into ``exports/<name>/`` of the portal; a file
    that several labs hold comes in once. The portal is built beside `out`, checked, and put into
    its place at the end: a merge that fails leaves the portal as it was.

    Parameters
    ----------
    labs : sequence of pathlib.Path
        Folders of at least one lab. Where labs hold the same file, the first one's comes in.
    out : pathlib.Path
        The portal's folder: new, empty, or made by an earlier merge.
    names : sequence of str, optional
        What the portal calls the labs: letters, digits, ``-`` and ``_``. Default: their folders' names.
    config : pathlib.Path, optional
        The portal's `finops.toml`. Default: merged from the labs', with each lab's rules limited to
        its own files.
    link : bool
        Hard links in place of copies: no space taken, but a file that a lab overwrites in place
        changes here too.
    prefer : str, optional
        The lab that counts where several bill one account and month from different files.
    sub_accounts : bool
        Labs hold different sub accounts of one billing account: only charges of the same sub
        account overlap.
    progress : callable, optional
        Called with `finops_lab.ingestion.summary.Work` while files are read.

    Returns
    -------
    Merged

    Raises
    ------
    MergeConflict
        When several labs bill one account and month from different files and `prefer` does not
        say which counts: the message tells the money at stake, ``conflicts`` all of it.
    ConfigError
        When the labs' configurations contradict each other; the message names both.
    InputError
        When a lab cannot be read, or `out` is not a portal or was changed by hand.
    ReconciliationError
        When the portal does not add up to its labs: a defect of the library.
    """
    out = Path(out).absolute()
    sources = _sources(labs, names, out, prefer)
    with alone(out):
        configs = {name: load(folder) for name, folder in sources.items()}
        files = {name: delivered_files(folder) for name, folder in sources.items()}
        for name, lab in configs.items():
            _need_copies(name, lab, sources[name])
        state: dict[str, Any] = {
            "version": _VERSION,
            # What reads the files decides the sums: another release of the library merges anew.
            "settings": [list(sources), prefer, sub_accounts, package_version("finops-lab")],
            "configs": {
                name: [digest(folder / f) for f in (CONFIG_FILE, OVERRIDES_FILE) if (folder / f).exists()]
                for name, folder in sources.items()
            },
            "config": digest(config) if config is not None else None,
            "files": {name: {f: digest(path) for f, path in own.items()} for name, own in files.items()},
            "withdrawn": [note for name, folder in sources.items() for note in withdrawn(name, folder)],
        }
        before = _before(out, state["files"])
        if before is not None and before["state"] == json.loads(json.dumps(state)):
            return _merged(out, before, before["state"], changed=False)
        made = _build(out, configs, files, state, config, link, prefer, sub_accounts, progress)
        for path in sorted(out.iterdir()) if out.is_dir() else ():
            if path.name not in _OWN:  # reports and notes of the portal's own stay
                target = place(out, "merging") / path.name
                _ = shutil.copytree(path, target) if path.is_dir() else shutil.copy2(path, target)
        swap(out)
        return _merged(out, made, before["state"] if before else None, changed=True)


def _sources(
    labs: Sequence[Path], names: Sequence[str] | None, out: Path, prefer: str | None
) -> dict[str, Path]:
    folders = [Path(lab).absolute() for lab in labs]
    if not folders:
        raise InputError("there is no lab to merge")
    if names is not None and len(names) != len(folders):
        raise InputError(f"{len(folders)} labs and {len(names)} names: give one name for each lab")
    called = list(names) if names is not None else [folder.resolve().name for folder in folders]
    for name in called:
        if not _NAME.fullmatch(name) or name.lower() == FETCHED:
            raise InputError(
                f"{name!r} cannot name a lab in a portal",
                hint="give names of letters, digits, - and _ that start with a letter",
            )
    twice = [name for name, n in Counter(name.lower() for name in called).items() if n > 1]
    if twice:
        raise InputError(f"two labs are named {twice[0]!r}", hint="give names that differ")
    real = [folder.resolve() for folder in folders]
    for place_, folder in enumerate(real):
        if not folder.is_dir():
            raise InputError("there is no such lab folder", file=folders[place_])
        if folder in real[:place_]:
            raise InputError("the lab is given twice: it would count twice", file=folders[place_])
        target = out.resolve()
        if target == folder or folder in target.parents or target in folder.parents:
            raise InputError("the portal cannot lie in one of its labs, nor a lab in it", file=out)
    if prefer is not None and prefer not in called:
        raise InputError(f"there is no lab {prefer!r} to prefer", hint=f"labs: {', '.join(called)}")
    return dict(zip(called, folders, strict=True))


def _need_copies(name: str, config: Config, folder: Path) -> None:
    for source in config.sources:
        if not (folder / "lake" / FETCHED / source.name).is_dir():
            raise InputError(
                f"{name}: the source {source.name!r} was never copied, so its charges would be missing",
                file=folder,
                hint="open or ingest that lab once, then merge",
            )


def _before(out: Path, now: Mapping[str, Mapping[str, str]]) -> dict[str, Any] | None:
    """Return the record of the last merge; refuse to replace what no merge made."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    try:
        record: dict[str, Any] = json.loads((out / _RECORD).read_text(encoding="utf-8"))
        brought = {row["portal_file"]: row["sha256"] for row in record["files"] if row["portal_file"]}
        text = record["toml"]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(
            "is there and was not made by a merge", file=out, hint="give a new folder for the portal"
        ) from None
    if not (out / CONFIG_FILE).is_file() or digest(out / CONFIG_FILE) != text:
        raise InputError(
            "was changed by hand, and would be lost",
            file=out / CONFIG_FILE,
            hint="keep the file elsewhere and give it as config; delete the portal to make it anew",
        )
    here = {name: digest(path) for name, path in _exports(out).items()}
    # A hard link shows what the lab wrote in place: no change by hand.
    linked = {f"{lab}/{path}": sha for lab, own in now.items() for path, sha in own.items()}
    changed = {name for name in here.keys() | brought.keys() if here.get(name) != brought.get(name)}
    if odd := sorted(n for n in changed if n not in brought or n not in here or here[n] != linked.get(n)):
        raise InputError(
            f"{odd[0]} is not as the last merge left it",
            file=out / "exports",
            hint="bring files in through a lab; delete the portal to make it anew",
        )
    return record


def _exports(out: Path) -> dict[str, Path]:
    root = out / "exports"
    return {p.relative_to(root).as_posix(): p for p in sorted(root.rglob("*")) if p.is_file()}


def _build(
    out: Path,
    configs: Mapping[str, Config],
    files: Mapping[str, Mapping[str, Path]],
    state: Mapping[str, Any],
    config: Path | None,
    link: bool,
    prefer: str | None,
    sub_accounts: bool,
    progress: Progress | None,
) -> dict[str, Any]:
    built = place(out, "merging")
    readings: list[Reading] = []
    for name, lab in configs.items():
        # Each lab is read from what was copied: it may go on changing.
        bring(files[name], built / "labs" / name / "exports", link=link)
        readings.append(read_lab(name, built / "labs" / name, lab, progress))
        _unchanged(readings[-1], state["files"][name])
    left = left_out(readings, prefer)
    kept = {
        reading.name: reading.counts().filter(
            ~pl.col("x_SourceFile").is_in([path for lab, path in left if lab == reading.name])
        )
        for reading in readings
    }
    conflicts = conflicts_of(kept, prefer, sub_accounts=sub_accounts)
    text, notes = _text(config, readings, left, settling_plans(conflicts, prefer))
    (built / CONFIG_FILE).write_text(text, encoding="utf-8")
    merged = load(built)
    (built / "exports").mkdir()
    for reading in readings:
        (reading.folder / "exports").rename(built / "exports" / reading.name)
    for name, path in left:
        (built / "exports" / name / path).unlink()
    portal = read_lab("", built, merged, progress)
    receipt = receipt_of(readings, portal, left, conflicts, own_config=config is not None)
    shutil.rmtree(built / "labs")
    record = {
        "state": state,
        "toml": digest(built / CONFIG_FILE),
        "files": [
            _file(lab, path, sha, left) for lab, own in state["files"].items() for path, sha in own.items()
        ],
        "receipt": _plain_rows(receipt),
        "conflicts": _plain_rows(conflicts),
        "notes": [*notes, *state["withdrawn"]],
    }
    (built / _RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return record


def _unchanged(reading: Reading, known: Mapping[str, str]) -> None:
    read = {item.name: item.sha256 for item in reading.items}
    for name, sha in known.items():
        if (read.get(name) or digest(reading.folder / "exports" / name)) != sha:
            raise InputError(f"{reading.name}/{name} changed while labs were merged", hint="merge again")


def _text(
    config: Path | None,
    readings: Sequence[Reading],
    left: Mapping[tuple[str, str], Left],
    plans: Sequence[Coverage],
) -> tuple[str, tuple[str, ...]]:
    """Return the portal's `finops.toml` and what there is to say about it."""
    if config is not None:
        text = config.read_text(encoding="utf-8-sig")
        # Arrays of tables may stand anywhere in TOML: those that settle conflicts go to the end.
        return text.rstrip("\n") + "\n" + written_tables("coverage", plans), ()
    twins: dict[str, dict[str, str]] = {}
    for (name, path), why in left.items():
        # `?` stands for a character that patterns would take for one of their own.
        kept = "/".join(why.twin) if why.twin else f"{why.lab}/*"
        twins.setdefault(name, {})[path] = re.sub(r"[\[?*]", "?", kept) if why.twin else kept
    requests = {r.name for r in readings if any(e.format for e in r.entries["inference_requests"].values())}
    merged, notes = merged_config({r.name: r.config for r in readings}, twins, requests)
    return written(merged.model_copy(update={"coverage": (*plans, *merged.coverage)})), notes


def _file(lab: str, path: str, sha: str, left: Mapping[tuple[str, str], Left]) -> dict[str, Any]:
    why = left.get((lab, path))
    return {
        "lab": lab,
        "file": path,
        "sha256": sha,
        "portal_file": None if why else f"{lab}/{path}",
        "same_as": "/".join(why.twin) if why and why.twin else None,
        "why": why.why if why else None,
    }


def _plain_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    return [
        {key: str(value) if isinstance(value, Decimal) else value for key, value in row.items()}
        for row in frame.iter_rows(named=True)
    ]


def _merged(
    out: Path, record: Mapping[str, Any], state: Mapping[str, Any] | None, *, changed: bool
) -> Merged:
    was: dict[tuple[str, str], str] = {
        (lab, path): sha
        for lab, own in (state["files"] if state else {}).items()
        for path, sha in own.items()
    }
    rows = []
    for row in record["files"]:
        earlier = was.pop((row["lab"], row["file"]), None)
        change = "new" if earlier is None else "unchanged" if earlier == row["sha256"] else "changed"
        rows.append({**row, "change": change})
    for (lab, path), sha in was.items():
        why = "no longer delivered: its charges left the portal"
        rows.append({"lab": lab, "file": path, "sha256": sha, "why": why, "change": "withdrawn"})
    return Merged(
        out,
        pl.DataFrame(rows, schema=_FILES),
        _frame(record["receipt"], RECEIPT),
        _frame(record["conflicts"], CONFLICTS),
        tuple(record["notes"]),
        changed,
    )


def _frame(rows: Sequence[Mapping[str, Any]], schema: Mapping[str, Any]) -> pl.DataFrame:
    exact = [
        {key: Decimal(v) if v is not None and schema[key] == MONEY else v for key, v in row.items()}
        for row in rows
    ]
    return pl.DataFrame(exact, schema=dict(schema))
