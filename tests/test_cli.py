"""The command line: what it prints, and one clear line with the right exit code for every mistake."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import polars as pl
import pytest
from helpers import PLAIN_TOML, focus_row, write_lab

from finops_lab.cli import main

Done = subprocess.CompletedProcess[str]
PROGRAM = Path(sys.executable).parent / "finops-lab"
TODAY = ("--today", "2026-11-05")
BUDGET = '[[budgets]]\nfrom = "2026-10"\nto = "2026-10"\namount = "0.01"\n'


def bill(month: str = "2026-10", **overrides: str) -> list[dict[str, str | None]]:
    """Return a bill of three charges."""
    return [focus_row(month=month, SkuId=str(n), **overrides) for n in range(3)]


def run_program(*arguments: str | Path) -> Done:
    """Run the installed program: a process of its own, which imports everything again."""
    env = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, env=env)


def run(*arguments: str | Path) -> Done:
    """Run the program's entry point in this process: the same words and code, without the imports."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", [str(PROGRAM), *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        patch.setenv("NO_COLOR", "1")
        try:
            main()
        except SystemExit as end:
            assert end.code is None or isinstance(end.code, int)
            code = end.code or 0
    return Done(sys.argv, code, out.getvalue(), err.getvalue())


def refused(done: Done, *said: str, code: int = 2) -> None:
    """Assert one clear line on standard error and no traceback."""
    assert done.returncode == code, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    for text in said:
        assert text in done.stderr


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    return write_lab(tmp_path / "lab", {"bill.csv": bill(month="2026-10")})


def review(lab: Path, *arguments: str, month: str = "2026-10") -> Done:
    return run("review", "--lab", lab, "--month", month, "--out", lab.parent / "out", *TODAY, *arguments)


@pytest.mark.parametrize("called", [run, run_program])
def test_missing_config(lab: Path, called: Callable[..., Done]) -> None:
    (lab / "finops.toml").unlink()
    done = called("review", "--lab", lab, "--month", "2026-10", *TODAY)
    refused(done, "finops.toml is missing", "Hint: ")
    assert done.stdout == ""


def test_unknown_key(lab: Path) -> None:
    (lab / "finops.toml").write_text('[lab]\nname = "x"\ncurency = "USD"\n')
    refused(review(lab), "finops.toml, line 3", "unknown key 'lab.curency'", "did you mean 'currency'?")


def test_month_without_data(lab: Path) -> None:
    refused(review(lab, month="2025-01"), "no charges for 2025-01", "from 2026-10 to 2026-10")


def test_month_in_the_future(lab: Path) -> None:
    refused(review(lab, month="2026-12"), "2026-12 is in the future")


def test_month_that_is_none(lab: Path) -> None:
    refused(review(lab, month="10/2026"), "month must be written like 2026-10, not '10/2026'")


def test_malformed_csv(lab: Path) -> None:
    path = lab / "exports" / "bill.csv"
    path.write_text(path.read_text() + "1,2,3" + ",4" * 60 + "\n")
    refused(review(lab), "bill.csv", "the row has more fields than the header")


def test_bill_without_billed_cost(lab: Path) -> None:
    path = lab / "exports" / "bill.csv"
    path.write_text(path.read_text().replace("BilledCost", "PaidCost", 1))
    refused(review(lab), "bill.csv", "no column BilledCost")


def test_two_currencies_without_rates(lab: Path) -> None:
    folder = write_lab(
        lab.parent / "two",
        {"a.csv": bill(month="2026-10"), "b.csv": bill(month="2026-10", BillingCurrency="EUR")},
    )
    refused(review(folder), "amounts in EUR, USD cannot be added", "[[rates]]")


def test_a_month_without_its_rate(lab: Path) -> None:
    rate = '[[rates]]\nmonth = "2026-09"\nfrom = "EUR"\nto = "USD"\nrate = "1.1"\n'
    rows = {"a.csv": bill(month="2026-10"), "b.csv": bill(month="2026-10", BillingCurrency="EUR")}
    folder = write_lab(lab.parent / "rates", rows, PLAIN_TOML + rate)
    refused(review(folder), "no rate from EUR to USD for 2026-10", "[[rates]]")


def test_a_rule_on_an_unknown_column(lab: Path) -> None:
    rule = '[[dimensions.team]]\nname = "r"\nwhere = { SubAcountName = "x" }\nvalue = "t"\n'
    (lab / "finops.toml").write_text(PLAIN_TOML + rule)
    refused(review(lab), "'SubAcountName'", "did you mean 'SubAccountName'?")


def test_unreadable_parquet(lab: Path) -> None:
    (lab / "exports" / "broken.parquet").write_bytes(b"PAR1 but nothing that follows")
    refused(review(lab), "broken.parquet", "cannot be read")


def test_lab_that_is_a_file(lab: Path) -> None:
    refused(review(lab / "finops.toml"), "a lab is a folder, this is a file")


def test_lab_that_is_not_there(tmp_path: Path) -> None:
    refused(review(tmp_path / "none"), "there is no such lab folder")


def test_neither_month_nor_since(lab: Path) -> None:
    refused(run("review", "--lab", lab), "give --month or --since, one of them")
    refused(run("review", "--lab", lab, "--since", "2026-09", "--at", "2026-10-06"), "give it with --month")


def test_unknown_option_and_metric(lab: Path) -> None:
    assert run("review", "--lab", lab, "--montth", "2026-10").returncode == 2
    assert review(lab, "--metric", "Cost").returncode == 2


def test_ingest_shows_what_became_of_every_row(tmp_path: Path) -> None:
    rows = [*bill(month="2026-10"), *bill(month="2026-10", BilledCost="12,5x", EffectiveCost="3")]
    lab = write_lab(tmp_path / "lab", {"bill.csv": rows})
    done = run_program("ingest", "--lab", lab)
    assert done.returncode == 0, done.stderr
    good, bad = len(bill(month="2026-10")), len(bill(month="2026-10"))
    assert f"{good + bad:,} rows read = {good:,} accepted + {bad:,} quarantined + 0 superseded" in done.stdout
    assert "BilledCost: '12,5x' is not a number" in done.stdout
    assert "unchanged" in run("ingest", "--lab", lab).stdout


def test_since_reviews_each_closed_month_once_and_again_after_late_charges(tmp_path: Path) -> None:
    months = {f"{m}.csv": bill(month=m) for m in ("2026-09", "2026-10", "2026-11")}
    lab = write_lab(tmp_path / "lab", months)
    arguments = ("--since", "2026-10", "--out", tmp_path / "out", *TODAY)
    first = run("review", "--lab", lab, *arguments)
    assert first.returncode == 0, first.stderr
    assert [p.name for p in sorted((tmp_path / "out").iterdir())] == ["2026-10"]
    page = tmp_path / "out" / "2026-10" / "monthly-review.html"
    assert str(page) in first.stdout
    second = run("review", "--lab", lab, *arguments)
    assert second.returncode == 0
    assert "every closed month since 2026-10 that has charges has its current review" in second.stdout
    figures = page.with_suffix(".json")
    before = figures.read_text()
    write_lab(lab, {"late.csv": bill(month="2026-10", ProviderName="Late Cloud")})
    assert run("review", "--lab", lab, *arguments).returncode == 0
    assert "Late Cloud" in figures.read_text() and "Late Cloud" not in before
    other = write_lab(
        tmp_path / "other", {"a.csv": bill(month="2026-10")}, PLAIN_TOML.replace("Test lab", "Other lab")
    )
    refused(run("review", "--lab", other, *arguments), "holds the review of another lab", "--out")


def test_what_can_make_figures_wrong_is_said_on_standard_error(tmp_path: Path) -> None:
    toml = PLAIN_TOML + '[[budgets]]\nteam = "serch"\nfrom = "2026-10"\nto = "2026-10"\namount = "5"\n'
    again = [*bill(month="2026-10"), focus_row(month="2026-10", SkuId="more")]
    lab = write_lab(tmp_path / "lab", {"a.csv": bill(month="2026-10"), "b.csv": again}, toml + BUDGET)
    assert run("ingest", "--lab", lab).returncode == 0
    (lab / "exports" / "b.csv").unlink()
    done = review(lab)
    # It is over its budget too, and nobody asked to fail on that.
    assert done.returncode == 0, done.stderr
    assert "over budget" not in done.stderr
    assert "warning: 3 charges ($3.00 billed) stand alike in a.csv and b.csv: counted twice?" in done.stderr
    assert "warning: the budget of team 'serch' has no charges" in done.stderr
    assert "warning: 1 file still counted, but no longer in exports/: b.csv" in done.stderr


def test_over_budget_fails_when_asked(tmp_path: Path) -> None:
    lab = write_lab(tmp_path / "lab", {"bill.csv": bill(month="2026-10")}, PLAIN_TOML + BUDGET)
    done = review(lab, "--fail-on", "over-budget")
    assert done.returncode == 3, done.stderr
    assert "over budget in 2026-10: all teams\n" in done.stderr
    assert "still counted" not in done.stderr
    assert (tmp_path / "out" / "2026-10" / "monthly-review.html").exists()


def test_sample_never_writes_over_something(lab: Path) -> None:
    before = sorted(lab.rglob("*"))
    refused(run("sample", "--out", lab), "exists and is not an empty folder")
    assert sorted(lab.rglob("*")) == before


def test_help_teaches() -> None:
    for command in (["sample"], ["ingest"], ["review"]):
        shown = run(*command, "--help")
        assert shown.returncode == 0
        assert "finops-lab" in shown.stdout
    program = run_program("--help")
    assert program.returncode == 0
    assert "finops-lab" in program.stdout and "Exit codes" in program.stdout
    assert "--since" in run("review", "--help").stdout


def test_installed_read_only_the_samples_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finops_lab import lab as module

    package = tmp_path / "site-packages" / "finops_lab"
    shutil.copytree(
        module.packaged("samples"), package / "_samples", ignore=shutil.ignore_patterns("lake", "quarantine")
    )
    monkeypatch.setattr(module, "_PACKAGE", package)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    copied = module.sample_lab()
    assert copied.is_relative_to(tmp_path / "data")
    assert (copied / "finops.toml").read_bytes() == (package / "_samples" / "finops.toml").read_bytes()
    assert module.sample_lab() == copied


BOOKS = PLAIN_TOML + '\n[[dimensions.team]]\nname = "team tag"\ntag = ["team"]\n'


@pytest.fixture
def books(tmp_path: Path) -> Path:
    rows = bill(Tags='{"team": "=ads"}') + bill(month="2026-09")
    return write_lab(tmp_path / "books", {"bill.csv": rows}, BOOKS)


def test_receipt_proves_the_ledger(books: Path) -> None:
    done = run_program("receipt", "--lab", books, "--verify")
    assert done.returncode == 0, done.stderr
    (whole,) = [line for line in done.stdout.splitlines() if "│ all" in line][:1]
    assert [cell.strip() for cell in whole.strip("│").split("│")] == ["all", "6", "6", "3", "3", "0", "0"]
    assert "inputs sha256 " in done.stdout
    assert "verified: " in done.stdout


def test_a_ledger_that_was_changed_fails_its_receipt(books: Path) -> None:
    assert run("receipt", "--lab", books).returncode == 0
    (kept,) = (books / "lake" / "ledger").glob("whole-*/steps.parquet")
    pl.read_parquet(kept).clear().write_parquet(kept)
    assert run("receipt", "--lab", books).returncode == 0
    refused(run("receipt", "--lab", books, "--verify"), "the steps kept in the lake", code=1)


def test_chargeback_writes_workbook_csv_and_focus(books: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("chargeback", "--lab", books, "--month", "2026-10", "--out", out)
    assert done.returncode == 0, done.stderr
    found = sorted(str(path.relative_to(out)) for path in out.rglob("*.*"))
    assert found == [
        "2026-10/chargeback.xlsx",
        "2026-10/chargeback/focus_allocated.csv",
        "2026-10/chargeback/lines.csv",
        "2026-10/chargeback/summary.csv",
    ]
    assert "'=ads" in (out / "2026-10" / "chargeback" / "summary.csv").read_text()
    refused(run("chargeback", "--lab", books, "--month", "2025-01", "--out", out), "2025-01")


def test_merge_makes_a_portal(books: Path, lab: Path, tmp_path: Path) -> None:
    portal = tmp_path / "portal"
    done = run("merge", books, lab, "--out", portal, "--prefer", "books")
    assert done.returncode == 0, done.stderr
    assert "portal" in done.stdout
    assert run("receipt", "--lab", portal, "--verify").returncode == 0
    refused(run("merge", books, tmp_path / "nowhere", "--out", portal), "there is no such lab folder")


def test_a_reader_that_has_seen_enough_ends_nothing_early(lab: Path, tmp_path: Path) -> None:
    """`finops-lab doctor | head -1`: the file is written and the exit code true, and nothing is said."""
    findings = tmp_path / "findings.csv"
    arguments = ["doctor", "--lab", lab, *TODAY, "--out", findings, "--fail-on", "info"]
    with subprocess.Popen(
        [PROGRAM, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.close()
        assert program.stderr.read() == ""
    assert program.returncode == 3
    assert pl.read_csv(findings).height > 0


def test_a_folder_that_cannot_be_written_to_is_one_clear_line(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("a file")
    refused(run("sample", "--out", taken / "lab"), f"{taken}", "Not a directory", code=1)
