"""The forecast of a lab: levels that add up, the running month, and forecasts that were kept."""

from __future__ import annotations

import csv
import json
import re
import shutil
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, write_lab
from polars.testing import assert_frame_equal
from typer.testing import CliRunner

import finops_lab as fl
from finops_lab import foreseeing
from finops_lab.allocation import Ledger
from finops_lab.calendar import add_months
from finops_lab.cli import app
from finops_lab.config import Event
from finops_lab.errors import CurrencyError, InputError, NoDataError
from finops_lab.forecasting.panel import VALUES
from finops_lab.forecasting.tracking import RECOMPUTED
from finops_lab.foreseeing import outlook
from finops_lab.lab import Lab

TOML = PLAIN_TOML + "".join(f'[[dimensions.{d}]]\nname = "{d}"\ntag = ["{d}"]\n' for d in ("team", "model"))
FIRST, MONTH, RUNNING = date(2025, 5, 1), date(2026, 5, 1), date(2026, 6, 1)
# Team, model, amount of a day, and by how much it grows each month.
CELLS = [
    ("search", "large", 40, 2),
    ("search", "small", 9, 0),
    ("support", "small", 20, -1),
    (None, "large", 5, 0),
]


def charge(day: date, until: date, team: str | None, model: str, amount: float) -> dict[str, str | None]:
    tags = {"model": model} | ({"team": team} if team else {})
    month = day.replace(day=1)
    return cost_row(
        f"{amount:.2f}",
        Tags=json.dumps(tags),
        BillingPeriodStart=f"{month}T00:00:00Z",
        BillingPeriodEnd=f"{add_months(month, 1)}T00:00:00Z",
        ChargePeriodStart=f"{day}T00:00:00Z",
        ChargePeriodEnd=f"{until}T00:00:00Z",
    )


def bill(through: date) -> list[dict[str, str | None]]:
    """Return a charge a month until January 2026, and a charge a day from then on."""
    rows = []
    for n in range(9):
        month = add_months(FIRST, n)
        for team, model, amount, growth in CELLS:
            days = (add_months(month, 1) - month).days
            rows.append(charge(month, add_months(month, 1), team, model, (amount + growth * n) * days))
    day = add_months(FIRST, 9)
    while day <= through:
        n = (day.year - FIRST.year) * 12 + day.month - FIRST.month
        weekend = 0.5 if day.weekday() >= 5 else 1.0
        rows += [
            charge(day, day + timedelta(days=1), team, model, (amount + growth * n) * weekend)
            for team, model, amount, growth in CELLS
        ]
        day += timedelta(days=1)
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    exports = {
        "cloud/delivered=2026-06-02/bill.csv": bill(date(2026, 5, 31)),
        "cloud/delivered=2026-06-13/bill.csv": bill(date(2026, 6, 12)),
    }
    return write_lab(tmp_path_factory.mktemp("foreseeing") / "lab", exports, TOML)


@pytest.fixture(scope="module")
def lab(folder: Path) -> Lab:
    return fl.open_lab(folder, progress=False)


@pytest.fixture(scope="module")
def made(lab: Lab) -> foreseeing.Outlook:
    return fl.foresee(lab, "2026-05", months=3)


def by_month(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("ds").agg(pl.col("yhat").sum()).sort("ds")


def test_the_total_is_the_sum_of_teams_of_models_and_of_both(made: foreseeing.Outlook) -> None:
    total = made.total.select("ds", "yhat")
    assert total["ds"].to_list() == [date(2026, 6, 1), date(2026, 7, 1), date(2026, 8, 1)]
    for part in (made.teams, made.models, made.of("team, model")):
        assert_frame_equal(by_month(part), total, rel_tol=1e-12)
    search = made.of("team, model").filter(pl.col("unique_id").str.starts_with("search, "))
    assert_frame_equal(
        by_month(search), made.teams.filter(unique_id="search").select("ds", "yhat"), rel_tol=1e-12
    )
    assert set(made.teams["unique_id"]) == {"search", "support", "unallocated"}
    assert set(made.models["unique_id"]) == {"large", "small"}
    assert made.nodes.filter(pl.col("lo_95") < 0).is_empty()
    assert repr(made).startswith("Outlook(2026-06 to 2026-08, total ")


def test_history_is_exact_and_ends_with_the_month(lab: Lab, made: foreseeing.Outlook) -> None:
    bills = lab.costs().filter(pl.col("ChargePeriodStart").dt.date() < RUNNING).collect()
    assert made.panels.of()["y"].sum() == bills["EffectiveCost"].sum() == made.panels.of("team")["y"].sum()
    assert made.panels.of()["ds"].max() == MONTH == made.panels.month
    assert made.panels.currency == "USD"
    with pytest.raises(InputError, match=r"the forecast is not by 'feature'.*it is by team, model"):
        made.of("feature")


def test_a_credit_that_ended_stays_in_the_history_and_out_of_the_forecast(lab: Lab) -> None:
    ledger = foreseeing.ledger_of(lab)
    known = ledger.entries.filter(pl.col("x_ChargeMonth") <= "2026-05")
    plain = replace(ledger, entries=known)

    # A credit beside one charge of each month up to `last`.
    def credited(last: str) -> Ledger:
        rows = known.filter(pl.col("x_ChargeMonth") <= last).unique("x_ChargeMonth").with_columns(
            ChargeCategory=pl.lit("Credit"), EffectiveCost=pl.lit(-100).cast(known.schema["EffectiveCost"])
        )  # fmt: skip
        return replace(ledger, entries=pl.concat([known, rows]))

    without = foreseeing.of_ledger(plain, MONTH, 2, ["team"])
    over = foreseeing.of_ledger(credited("2026-02"), MONTH, 2, ["team"])
    assert_frame_equal(over.nodes, without.nodes)
    assert over.panels.of()["y"].sum() == without.panels.of()["y"].sum() - 1000
    assert over.panels.ended["y"].to_list() == [-100] * 10
    assert over.panels.ended["ChargeCategory"].unique().to_list() == ["Credit"]
    # One that still comes goes on.
    on = foreseeing.of_ledger(credited("2026-05"), MONTH, 2, ["team"])
    assert on.panels.ended.is_empty() and on.total["yhat"][0] < without.total["yhat"][0] - 50


def test_an_event_of_nobody_is_told(made: foreseeing.Outlook) -> None:
    def event(**who: str) -> Event:
        return Event.model_validate({"name": "e", "kind": "one_off", "from": "2026-03", **who})

    asked = [event(), event(team="search"), event(team="serach"), event(dimension="feature", key="x")]
    assert foreseeing.strangers(made.panels, asked) == [
        "the event 'e' is of team 'serach', which has no charges: is it 'search'?"
    ]
    assert foreseeing.strangers(made.panels, [event(dimension="model", key="zzz")]) == [
        "the event 'e' is of model 'zzz', which has no charges"
    ]


def test_the_running_month_is_estimated_from_its_days_and_adds_up(made: foreseeing.Outlook) -> None:
    found = made.open_month
    whole = found.row(by_predicate=pl.col("level") == "total", named=True)
    assert (whole["ds"], whole["through"], whole["judged"]) == (RUNNING, date(2026, 6, 12), 4)
    # June has 22 weekdays and 8 days of the weekend; on the first 12 days 10 and 2.
    rate = sum(amount + growth * 13 for _, _, amount, growth in CELLS)
    assert whole["to_date"] == pytest.approx(rate * 11)
    assert whole["yhat"] == pytest.approx(rate * 26, rel=0.01)
    teams = found.filter(pl.col("level") == "team")
    assert teams["yhat"].sum() == pytest.approx(whole["yhat"], rel=1e-12)
    assert whole["lo_95"] <= whole["lo_80"] <= whole["yhat"] <= whole["hi_80"] <= whole["hi_95"]


def test_a_month_that_still_runs_is_no_history(lab: Lab, made: foreseeing.Outlook) -> None:
    asked = foreseeing.panels(lab, "2026-06")
    assert (asked.month, asked.running, asked.through) == (MONTH, RUNNING, date(2026, 6, 12))
    assert_frame_equal(asked.nodes, made.panels.nodes)
    # An older month looks at nothing later.
    older = foreseeing.panels(lab, "2026-03")
    assert (older.month, older.running) == (date(2026, 3, 1), None)
    assert older.days.is_empty()
    # Charges once a month say nothing about which month runs.
    assert foreseeing.panels(lab, "2025-09").running is None


def test_a_bill_of_single_charges_has_no_running_month(tmp_path: Path) -> None:
    rows = [charge(add_months(FIRST, n), add_months(FIRST, n + 1), "search", "large", 9) for n in range(6)]
    found = fl.foresee(
        fl.open_lab(write_lab(tmp_path / "lab", {"b.csv": rows}, TOML), progress=False), "2025-10"
    )
    assert found.panels.month == date(2025, 10, 1) and found.open_month.is_empty()


def test_what_was_said_and_the_backtest_speak_of_total_and_teams(made: foreseeing.Outlook) -> None:
    assert set(made.accuracy["level"]) == {"total", "team"} == set(made.backtest["level"])
    assert set(made.accuracy["source"]) == {RECOMPUTED}
    total = made.accuracy.filter(level="total")
    assert total["ds"].max() == MONTH and set(total["lead"]) == {1, 3, 6}
    assert made.accuracy.filter(level="team")["ds"].unique().to_list() == [MONTH]
    assert {"combination", "seasonal_naive", "last_month_flat", "run_rate"} == set(made.backtest["model"])


def test_other_dimensions_and_none(lab: Lab, made: foreseeing.Outlook) -> None:
    alone = fl.foresee(lab, "2026-05", months=3, by=())
    assert alone.nodes["unique_id"].unique().to_list() == ["total"] and set(alone.backtest["level"]) == {
        "total"
    }
    assert alone.open_month["level"].to_list() == ["total"]
    provider = foreseeing.panels(lab, "2026-05", by=("ProviderName",))
    assert provider.of("ProviderName")["unique_id"].unique().to_list() == ["CloudOne"]
    assert provider.of("ProviderName")["y"].sum() == made.panels.of()["y"].sum()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"by": ("planet",)}, "no column 'planet'"),
        ({"by": ("team", "team")}, "named twice"),
        ({"metric": "Cost"}, "no column 'Cost'"),
        ({"month": "202605"}, "month must be written like"),
        ({"months": 0}, "months must be a whole number"),
    ],
)
def test_bad_parameters_are_refused(lab: Lab, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        fl.foresee(lab, **{"month": "2026-05", **options})  # type: ignore[arg-type]


def test_events_touch_the_nodes_they_speak_of(made: foreseeing.Outlook) -> None:
    rows = [
        {"name": "all", "kind": "incomplete", "from": "2026-03"},
        {"name": "run", "kind": "one_off", "from": "2026-02", "team": "search", "amount": "700"},
        {
            "name": "cut",
            "kind": "price_cut",
            "from": "2026-01",
            "dimension": "model",
            "key": "small",
            "factor": "0.8",
        },
        {"name": "other", "kind": "launch", "from": "2026-01", "dimension": "feature", "key": "chat"},
    ]
    found = foreseeing.node_events(made.panels, [Event.model_validate(row) for row in rows])
    touched = {
        name: dict(found.filter(pl.col("name") == name).select("unique_id", "amount").iter_rows())
        for name in ("all", "run", "cut", "other")
    }
    assert set(touched["all"]) == set(made.panels.names["unique_id"])
    cells = {f"team=search, model={model}": None for model in ("large", "small")}
    assert touched["run"] == {"total": 700.0, "team=search": 700.0, **cells}
    assert set(touched["cut"]) == {"model=small", "team=search, model=small", "team=support, model=small"}
    assert touched["other"] == {}


def test_the_total_bears_every_amount_also_of_two_teams_alike_and_of_other_dimensions(
    made: foreseeing.Outlook,
) -> None:
    event = {"name": "run", "kind": "one_off", "from": "2026-02", "amount": "700"}
    rows = [event | {"team": "search"}, event | {"team": "support"}]
    rows += [event | {"dimension": "feature", "key": "chat"}]
    found = foreseeing.node_events(made.panels, [Event.model_validate(row) for row in rows])
    amounts = found.drop_nulls("amount").group_by("unique_id").agg(pl.col("amount").sum())
    assert dict(amounts.iter_rows()) == {"total": 2100.0, "team=search": 700.0, "team=support": 700.0}


def test_a_labelled_one_off_is_not_forecast_on_and_is_shown(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "lab", ignore=shutil.ignore_patterns("lake"))
    row = charge(date(2026, 4, 3), date(2026, 4, 4), "search", "large", 5000.0)
    event = '[[events]]\nname = "training"\nkind = "one_off"\nfrom = "2026-04"\nteam = "search"\namount = "5000"\n'
    write_lab(tmp_path / "lab", {"cloud/delivered=2026-06-13/run.csv": [row]}, TOML + event)
    found = fl.foresee(fl.open_lab(tmp_path / "lab", progress=False), "2026-05", 2, by=("team",))
    told = found.cleaned.filter(ds=date(2026, 4, 1))
    assert dict(told.select("unique_id", "reason").iter_rows()) == dict.fromkeys(
        ("total", "search"), "event 'training'"
    )
    assert told.select((pl.col("y") - pl.col("y_used")).round(6)).to_series().to_list() == [5000.0, 5000.0]
    clean = fl.foresee(fl.open_lab(folder, progress=False), "2026-05", 2, by=("team",))
    assert_frame_equal(found.total.select("yhat"), clean.total.select("yhat"), rel_tol=0.02)


def test_no_charges_by_then(lab: Lab) -> None:
    with pytest.raises(NoDataError, match="no charges up to 2020-01"):
        fl.foresee(lab, "2020-01")


def test_a_team_whose_cost_is_unknown_is_left_out_and_nothing_is_zero(lab: Lab) -> None:
    ledger = foreseeing.ledger_of(lab)
    unknown = ledger.entries.with_columns(
        EffectiveCost=pl.when(pl.col("x_team") != "support").then("EffectiveCost")
    )
    found = foreseeing.of_ledger(replace(ledger, entries=unknown), "2026-05", 2, by=("team",))
    assert set(found.teams["unique_id"]) == {"search", "unallocated"}
    assert found.panels.of("team").filter(unique_id="support")["y"].null_count() == 13
    assert_frame_equal(by_month(found.teams), found.total.select("ds", "yhat"), rel_tol=1e-12)


def test_small_combinations_are_flat_and_still_add_up(
    made: foreseeing.Outlook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finops_lab.foreseeing.outlook._OWN", 1)
    ahead = outlook._ahead(made.panels, 1, made.events)
    cells = made.panels.named(ahead, "team, model")
    models = dict(cells.select("unique_id", "model").iter_rows())
    assert models.pop("search, large") != "flat" and set(models.values()) == {"flat"}
    assert_frame_equal(by_month(cells), made.panels.named(ahead).select("ds", "yhat"), rel_tol=1e-12)


# Kept forecasts


def test_a_kept_forecast_is_held_against_what_came(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "lab", ignore=shutil.ignore_patterns("lake", "delivered=2026-06-13"))
    then = fl.open_lab(tmp_path / "lab", progress=False)
    said = fl.foresee(then, "2026-05", 2, by=("team",))
    foreseeing.keep(then, said, "then")
    kept = tmp_path / "lab" / "lake" / "forecasts"
    (only,) = kept.iterdir()
    before = only.read_bytes()
    foreseeing.keep(then, said, "then")
    assert [p.read_bytes() for p in kept.iterdir()] == [before]
    assert foreseeing.said_and_came(then).is_empty()
    # Both months come. A forecast made once they were over does not count, nor does what a crash left.
    later = [r for r in bill(date(2026, 7, 31)) if (r["ChargePeriodStart"] or "") >= "2026-06"]
    write_lab(tmp_path / "lab", {"cloud/delivered=2026-08-02/bill.csv": later}, TOML)
    now = fl.open_lab(tmp_path / "lab", progress=False)
    foreseeing.keep(now, fl.foresee(now, "2026-05", 2, by=("team",)), "now")
    (kept / "2026-05-EffectiveCost-broken.parquet").write_bytes(b"half")
    assert foreseeing.kept(now)["inputs"].unique().sort().to_list() == ["now", "then"]
    found = foreseeing.said_and_came(now)
    assert set(found["source"]) == {"kept"}
    total = found.filter(level="total")
    assert total.select("ds", "lead").rows() == [(date(2026, 6, 1), 1), (date(2026, 7, 1), 2)]
    assert total["yhat"].to_list() == said.total["yhat"].to_list()
    came = foreseeing.panels(now, "2026-07").of().filter(pl.col("ds") >= RUNNING)["y"]
    assert total["y"].to_list() == [float(y) for y in came]
    assert found.filter(level="team", unique_id="search").height == 2


def test_a_lab_as_of_a_date_and_one_that_cannot_be_written_keep_nothing(
    folder: Path, made: foreseeing.Outlook, tmp_path: Path
) -> None:
    foreseeing.keep(fl.open_lab(folder, progress=False, as_of="2026-06-05"), made, "x")
    assert not (folder / "lake" / "forecasts").exists()
    (tmp_path / "lake").write_text("a file, no folder")
    foreseeing.keep(replace(fl.open_lab(folder, progress=False), folder=tmp_path), made, "x")
    assert (tmp_path / "lake").is_file()


def test_late_deliveries_widen_the_running_month(lab: Lab, made: foreseeing.Outlook) -> None:
    curve, age = outlook.completeness(lab, made.panels)
    assert age == 1  # delivered on the 13th, up to the 12th
    assert curve is not None and curve.is_empty()  # no month was watched for 30 days
    half = pl.DataFrame({"age_days": [0], "share_median": [0.9], "share_min": [0.5], "share_max": [1.0]})
    wide = outlook._open(made.panels, half, 1).filter(level="total")
    plain = made.open_month.filter(level="total")
    assert wide["hi_80"][0] > plain["hi_80"][0] + 0.5 * plain["to_date"][0]
    nothing = half.with_columns(
        share_min=pl.lit(0.0)
    )  # nothing was known of some month: no share to divide by
    assert_frame_equal(outlook._open(made.panels, nothing, 1), made.open_month)


# What is shown


def test_the_review_says_it_the_same_way_and_keeps_its_forecast(lab: Lab) -> None:
    review, kept = fl.review(lab, "2026-05"), lab.folder / "lake" / "forecasts"
    section = review.forecast()
    assert "From its days up to 12 June, June 2026 comes to $" in section.finding
    assert re.search(r"May 2026 would have been forecast \d+% too (low|high) 1 month before", section.finding)
    titles = [part.title for part in section.parts if hasattr(part, "title") and isinstance(part.title, str)]
    assert "What was said before, and what came, all teams" in titles and "Forecast per model" in titles
    assert len(list(kept.glob("2026-05-EffectiveCost-*.parquet"))) == 1
    shutil.rmtree(kept)
    teams = pl.DataFrame(section.values["teams"])
    assert_frame_equal(
        by_month(teams), pl.DataFrame(section.values["months"]).select("ds", "yhat"), rel_tol=1e-12
    )


def test_the_command_prints_and_writes_every_level(folder: Path, tmp_path: Path) -> None:
    table, told = tmp_path / "new" / "f.csv", tmp_path / "f.json"
    options = ["forecast", "--lab", folder, "--month", "2026-05", "--months", "2", "--by", "team"]
    done = CliRunner().invoke(app, [str(o) for o in (*options, "--prophet", "--csv", table, "--json", told)])
    assert done.exit_code == 0, done.output
    assert "Forecast of EffectiveCost after 2026-05, USD" in done.output
    assert "Prophet, for comparison, USD" in done.output
    assert "2026-06 up to 2026-06-12: $" in done.output and RECOMPUTED in done.output
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["level"] for row in rows} == {"total", "team"} and len(rows) == 8
    assert set(VALUES) < set(rows[0])
    sums = {level: sum(float(r["yhat"]) for r in rows if r["level"] == level) for level in ("total", "team")}
    assert sums["total"] == pytest.approx(sums["team"])
    written = json.loads(told.read_text())
    assert written["currency"] == "USD" and written["forecast"][0]["ds"] == "2026-06-01"
    assert {"accuracy", "backtest", "baseline", "open_month"} < set(written)
    assert not (folder / "lake" / "forecasts").exists()


def test_the_command_refuses_a_folder_before_the_work(folder: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        app, ["forecast", "--lab", "none", "--month", "2026-05", "--csv", str(tmp_path)]
    )
    assert isinstance(done.exception, InputError) and "is a folder, not a file" in str(done.exception)


def test_a_ledger_in_two_currencies_is_refused(lab: Lab) -> None:
    ledger = foreseeing.ledger_of(lab)
    mixed = ledger.entries.with_columns(
        BillingCurrency=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("EUR")).otherwise("BillingCurrency")
    )
    with pytest.raises(CurrencyError, match="EUR, USD cannot be added"):
        foreseeing.panels(replace(ledger, entries=mixed), "2026-05")


def test_panels_take_a_ledger_as_well(lab: Lab, made: foreseeing.Outlook) -> None:
    ledger = foreseeing.ledger_of(lab)
    assert isinstance(ledger, Ledger)
    assert_frame_equal(foreseeing.panels(ledger, MONTH).nodes, made.panels.nodes)
    assert made.panels.of()["y"].sum() > Decimal(0)
