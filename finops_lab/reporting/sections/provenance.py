"""Provenance: what reproduces this report. No clock, no paths of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from importlib.metadata import version
from typing import TYPE_CHECKING

import polars as pl

from finops_lab.reporting.section import Section
from finops_lab.tables import money_table
from finops_lab.wording import plural

if TYPE_CHECKING:
    from finops_lab.lab import Lab
    from finops_lab.reporting.monthly import Review

_PACKAGES = (
    "finops-lab",
    "polars",
    "deltalake",
    "statsmodels",
    "altair",
    "great-tables",
    "papermill",
    "nbconvert",
)


def build(review: Review) -> Section:
    """Build the section of a month's report."""
    asked = {"Month": f"{review.month:%Y-%m}", "Metric": review.metric}
    return made_from(review.lab, asked)


def made_from(lab: Lab, asked: Mapping[str, str]) -> Section:
    """Build the section of any report.

    Parameters
    ----------
    lab : Lab
        An opened lab.
    asked : mapping of str to str
        Parameters of the report, by what they are called there.
    """
    files = {entry.path: entry.sha256 for _, entry in lab.files()}
    inputs = sha256("".join(f"{path}\0{digest}\n" for path, digest in files.items()).encode()).hexdigest()
    toml = sha256((lab.folder / "finops.toml").read_bytes()).hexdigest()
    packages = {name: version(name) for name in _PACKAGES}
    rows = [
        ("Lab", lab.name),
        ("Note", lab.config.lab.note),
        *asked.items(),
        ("Rates", ", ".join(f"{r.month:%Y-%m} 1 {r.source} = {r.rate} {r.target}" for r in lab.config.rates)),
        ("Input files", f"{len(files)}, SHA-256 of their list {inputs[:16]}…"),
        ("finops.toml", f"SHA-256 {toml[:16]}…"),
        ("Lake versions", ", ".join(f"{table} {n}" for table, n in lab.versions().items())),
        ("Packages", ", ".join(f"{name} {number}" for name, number in packages.items())),
    ]
    table = money_table(
        pl.DataFrame([r for r in rows if r[1]], schema=["What", "Value"], orient="row"),
        title="What this report was made from",
        id="provenance",
        currency=lab.currency,
        money_columns=(),
    )
    return Section(
        "provenance",
        f"The same inputs give the same bytes: {plural(len(files), 'input file')}, figures as of lake versions below. "
        "Hashes of every file are in the report's JSON.",
        (table,),
        {
            "lab": lab.name,
            "files": files,
            "inputs_sha256": inputs,
            "finops_toml_sha256": toml,
            "lake_versions": lab.versions(),
            "packages": packages,
        },
    )
