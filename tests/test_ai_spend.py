"""AI spend outside its category: what is found, what is left out, the share of the bill, the decision."""

from __future__ import annotations

import random
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from helpers import PLAIN_TOML, cost_row, csv_text, write_lab

import finops_lab as fl
from finops_lab import valuing
from finops_lab.config import AdoptionRule, AiSpendRule, load
from finops_lab.contracts import dtypes
from finops_lab.errors import ConfigError, InputError, NoDataError
from finops_lab.money import MONEY, exact_sum
from finops_lab.unit_economics.adoption import adoption
from finops_lab.unit_economics.ai_spend import AiSpend, ai_spend, classify
from finops_lab.unit_economics.ai_spend_rules import DEFAULTS

OCTOBER = date(2026, 10, 1)
COLUMNS = {**dtypes("costs"), **dict.fromkeys(("x_team", "x_model", "x_feature", "x_tag_model"), pl.String)}


def bill(*rows: dict[str, Any]) -> pl.DataFrame:
    """Bill rows of October in USD, of one each where a row does not say otherwise."""
    plain = {
        "BillingCurrency": "USD",
        "ProviderName": "AWS",
        "ServiceName": "EC2",
        "ServiceCategory": "Compute",
        "ChargePeriodStart": datetime(2026, 10, 5, tzinfo=UTC),
    }
    filled = []
    for row in rows:
        amount = Decimal(str(row.pop("cost", 1)))
        filled.append(
            {**dict.fromkeys(COLUMNS), **plain, "BilledCost": amount, "EffectiveCost": amount, **row}
        )
    return pl.DataFrame(filled, schema=COLUMNS)


def told(**row: Any) -> tuple[str, bool | None, str | None]:
    found = classify(bill(row)).select("x_AiKind", "x_AiCertain", "x_AiMatched").collect()
    return found.row(0)


@pytest.mark.parametrize(
    ("row", "kind", "certain", "matched"),
    [
        ({"ServiceCategory": "AI and Machine Learning"}, "AI service", True, "AI and Machine Learning"),
        ({"x_TokenDirection": "Input", "ServiceCategory": "Other"}, "model vendor", True, "Input"),
        ({"PublisherName": "Anthropic, PBC", "ServiceCategory": "Other"}, "model vendor", True, "Anthropic"),
        ({"ServiceName": "Claude Sonnet 4.6 (Amazon Bedrock Edition)"}, "AI service", True, "Claude"),
        ({"ProviderName": "CoreWeave"}, "GPU", True, "CoreWeave"),
        ({"x_GpuModel": "NVIDIA H100", "ServiceCategory": "Databases"}, "GPU", True, "H100"),
        (
            {"ChargeDescription": "$98.32 per On Demand Linux p5.48xlarge Instance Hour"},
            "GPU",
            True,
            "p5.48xlarge",
        ),
        ({"SkuMeter": "BoxUsage:trn1.32xlarge"}, "GPU", True, "trn1.32xlarge"),
        ({"ResourceType": "Standard_ND96isr_H100_v5"}, "GPU", True, "_ND96isr_H100_v5"),
        ({"SkuMeter": "A2 Instance Core running in Americas a2-highgpu-1g"}, "GPU", True, "a2-highgpu"),
        ({"ChargeDescription": "TPU v5e hours"}, "GPU", True, "TPU"),
        (
            {
                "CommitmentDiscountId": "c-1",
                "ResourceName": "p5 one year, no upfront",
                "ChargeCategory": "Purchase",
            },
            "GPU",
            True,
            "p5",
        ),
        ({"ChargeDescription": "On Demand Linux g5.4xlarge Instance Hour"}, "GPU", False, "g5.4xlarge"),
        (
            {"ChargeDescription": "g5.4xlarge hour", "x_model": "m-7b"},
            "GPU",
            True,
            "x_model = m-7b; g5.4xlarge",
        ),
        ({"x_GpuCount": 2.0, "x_tag_model": "m-7b"}, "GPU", True, "x_GpuCount = 2.0; m-7b"),
        ({"x_GpuCount": 0.125}, "GPU", False, "x_GpuCount = 0.125"),
        ({"SkuMeter": "NV6ads A10 v5"}, "GPU", False, "NV6ads"),
        (
            {"ServiceCategory": "Databases", "ProviderName": "Pinecone Systems"},
            "vector database",
            True,
            "Pinecone",
        ),
        ({"ServiceCategory": "Other", "ServiceName": "Langfuse Cloud"}, "observability", True, "Langfuse"),
        ({"ServiceCategory": "Storage", "x_tag_model": "m-7b"}, "storage", True, "m-7b"),
        ({"ServiceCategory": "Networking", "x_model": "m-7b"}, "egress", True, "m-7b"),
        (
            {"ServiceCategory": "Storage", "ResourceName": "team-checkpoints-eu"},
            "storage",
            False,
            "-checkpoints-",
        ),
        ({"ServiceCategory": "Storage", "ResourceId": "llm-embeddings-bucket"}, "storage", False, "llm-"),
        ({"ServiceCategory": "Networking", "ResourceId": "arn:aws:s3:::mlflow"}, "egress", False, ":mlflow"),
        ({"ServiceCategory": "Networking", "x_feature": "chat"}, "egress", False, "chat"),
        (
            {"ServiceCategory": "Management and Governance", "x_feature": "chat"},
            "observability",
            False,
            "chat",
        ),
        (
            {"ServiceCategory": "Databases", "ServiceName": "OpenSearch vector engine"},
            "vector database",
            False,
            "vector",
        ),
    ],
)
def test_what_is_ai_spend_and_what_matched(
    row: dict[str, Any], kind: str, certain: bool, matched: str
) -> None:
    found = told(**row)
    assert found[:2] == (kind, certain)
    assert matched in (found[2] or "")


@pytest.mark.parametrize(
    "row",
    [
        {"ServiceCategory": "Networking", "ChargeDescription": "Data transfer out to the internet"},
        {"ServiceCategory": "Storage", "ResourceName": "team-data", "ResourceId": "photos"},
        {"ServiceCategory": "Compute", "ResourceId": "llm-embeddings"},
        {"ServiceCategory": "Storage", "ServiceName": "Managed Disks", "SkuMeter": "P4 LRS Disk"},
        {"ServiceCategory": "Storage", "ChargeDescription": "$0.08 per GB on a volume of g5.4xlarge"},
        {"ChargeDescription": "On Demand Linux r6g.large Instance Hour"},
        {"ChargeDescription": "On Demand Linux t4g.small, m6gd.2xlarge, c7gn.xlarge"},
        {"SkuMeter": "D4s v5"},
        {"ServiceCategory": "Management and Governance", "ServiceName": "AmazonCloudWatch"},
        {"ServiceCategory": "Databases", "ServiceName": "Amazon RDS", "ChargeDescription": "db.r5.large"},
        {"ServiceCategory": None, "ServiceName": "Tax", "ChargeCategory": "Tax"},
        {"x_GpuCount": 0.0},
        {"ServiceCategory": "Storage", "x_tag_model": " "},
        {"ProviderName": "Box.ailments"},
    ],
)
def test_what_is_not_ai_spend(row: dict[str, Any]) -> None:
    assert told(**row) == ("not AI", None, None)


def test_rules_of_ones_own_go_first_and_can_keep_charges_out() -> None:
    rules = [
        AiSpendRule(name="render farm", kind="not AI", where={"SubAccountName": ("~^render",)}),
        AiSpendRule(
            name="labels",
            kind="labelling",
            text=(r"label (me|box)",),
            look_in=("ServiceName",),
            certain=False,
        ),
    ]
    rows = bill(
        {"SubAccountName": "render-1", "x_GpuModel": "NVIDIA H100"},
        {"SubAccountName": "other", "x_GpuModel": "NVIDIA H100"},
        {"ServiceName": "Label Box"},
    )
    found = (
        classify(rows, rules).select("x_AiKind", "x_AiCertain", "x_AiRule", "x_AiMatched").collect().rows()
    )
    assert found == [
        ("not AI", None, "render farm", "SubAccountName = render-1"),
        ("GPU", True, "default: AI accelerator", "H100"),
        ("labelling", False, "labels", "Label Box"),
    ]
    assert classify(rows, [], defaults=False).collect()["x_AiKind"].to_list() == ["not AI"] * 3
    alone = classify(rows, rules, defaults=False).collect()["x_AiKind"].to_list()
    assert alone == ["not AI", "not AI", "labelling"]


def test_a_rule_that_looks_at_no_column_of_the_bill_is_refused_but_an_unused_tag_is_none() -> None:
    with pytest.raises(ConfigError, match=r"'gpus' looks at column 'ServiceNme'.*did you mean 'ServiceName'"):
        classify(bill({}), [AiSpendRule(name="gpus", kind="GPU", where={"ServiceNme": ("x",)})])
    tagged = AiSpendRule(name="tagged", kind="GPU", where={"x_tag_nobody_has": ("x",)})
    assert classify(bill({}), [tagged]).collect()["x_AiKind"].to_list() == ["not AI"]


def test_sums_shares_and_teams_by_hand() -> None:
    rows = bill(
        {"cost": 30, "ServiceCategory": "AI and Machine Learning", "x_team": "chat"},
        {"cost": 20, "x_GpuModel": "NVIDIA H100", "x_team": "search"},
        {"cost": 10, "SkuMeter": "g5.xlarge", "x_team": "growth"},
        {"cost": 40, "SkuMeter": "m5.xlarge", "x_team": "growth"},
        {
            "cost": -50,
            "ServiceCategory": "AI and Machine Learning",
            "x_team": "chat",
            "ChargeCategory": "Credit",
        },
        {"cost": 5, "x_GpuModel": "NVIDIA H100", "x_team": "unallocated", "BillingCurrency": "EUR"},
    )
    found = ai_spend(rows)
    assert found.months.drop("month").rows() == [
        ("EUR", *map(Decimal, ("5", "0", "5", "0", "0", "1", "1")), None),
        ("USD", *map(Decimal, ("100", "30", "50", "10", "0.3", "0.5", "0.6")), None),
    ]
    assert found.teams.drop("month", "BillingCurrency").rows() == [
        ("chat", Decimal(30), Decimal(0)),
        ("growth", Decimal(0), Decimal(10)),
        ("search", Decimal(20), Decimal(0)),
    ]
    service = found.lines.filter(kind="AI service")
    assert service.select("in_ai_category", "rows", "BilledCost", "gross").rows() == [
        (True, 2, Decimal(-20), Decimal(30))
    ]
    assert (
        ai_spend(rows.with_columns(BilledCost=pl.lit(0).cast(MONEY)), metric="BilledCost")
        .months["reason"]
        .to_list()
        == ["no charge above zero"] * 2
    )
    with pytest.raises(InputError, match="ListCost"):
        ai_spend(rows, metric="ListCost")
    with pytest.raises(InputError, match="missing: ServiceName"):
        ai_spend(rows.drop("ServiceName"))


def test_nothing_is_lost_and_sums_are_those_of_single_rows() -> None:
    chance = random.Random(4)
    texts = (None, "p5.48xlarge", "g5.xlarge", "m5.large", "bytes out", "model-weights")
    rows = [
        {
            "cost": f"{chance.randrange(-(10**6), 10**7)}.000000000000000001",
            "ServiceCategory": chance.choice(
                (None, "Compute", "Storage", "Networking", "AI and Machine Learning")
            ),
            "ResourceName": chance.choice(texts),
            "ResourceId": chance.choice((None, "i-1", "llm-bucket")),
            "ServiceName": chance.choice(("S3", "EC2", "Bedrock")),
            "x_tag_model": chance.choice((None, None, "m")),
            "ChargePeriodStart": datetime(2026, chance.randrange(1, 13), 9, tzinfo=UTC),
        }
        for _ in range(400)
    ]
    frame = bill(*rows)
    found = ai_spend(frame.lazy())
    single = classify(frame).collect()
    assert found.lines["rows"].sum() == single.height
    # A rule of one's own sees the identifier of every charge.
    own = AiSpendRule(name="mine", kind="mine", where={"ResourceId": ("i-1",)})
    asked = ai_spend(frame, [own]).lines.filter(kind="mine")["rows"].sum()
    assert asked == frame.filter(pl.col("ResourceId") == "i-1").height > 0
    for kind in single["x_AiKind"].unique():
        mine = exact_sum(found.lines.filter(kind=kind)["EffectiveCost"].to_list())
        assert mine == exact_sum(single.filter(x_AiKind=kind)["EffectiveCost"].to_list())
    assert found.lines.equals(ai_spend(frame.sample(fraction=1, shuffle=True, seed=1)).lines)


def test_the_decision_and_its_figures() -> None:
    def decide(rule: AdoptionRule | None = None, **shares: int) -> tuple[str, str]:
        rows = [
            {"cost": shares.get("sure", 0), "x_GpuModel": "NVIDIA H100", "x_team": "a"},
            {"cost": shares.get("maybe", 0), "SkuMeter": "g5.xlarge", "x_team": "b"},
            {"cost": 100 - shares.get("sure", 0) - shares.get("maybe", 0), "x_team": "c"},
        ]
        found = adoption(ai_spend(bill(*rows)), "2026-10", rule)
        return found.verdict, found.answer

    assert decide(sure=11)[0] == "no"  # one team
    assert decide(sure=10, maybe=0, rule=AdoptionRule(teams_at_least=1))[0] == "no"  # not above
    assert decide(sure=11, rule=AdoptionRule(teams_at_least=1))[0] == "yes"
    assert decide(sure=8, maybe=4) == (
        "perhaps",
        "Perhaps: 8.0 % of the bill of October 2026 is AI spend for certain and up to 12.0 % may be "
        "($8.00 to $12.00 of $100.00), in 1 to 2 teams. "
        "An AI FinOps practice is worth it above 10 % in at least 2 teams: look at what may be AI.",
    )
    assert decide(sure=5, maybe=5)[0] == "no"
    two = [{"cost": 6, "x_GpuModel": "NVIDIA H100", "x_team": team} for team in ("a", "b")]
    found = adoption(ai_spend(bill(*two, {"cost": 88, "x_team": "c"})), date(2026, 10, 9))
    assert found.figures.rows() == [
        ("share of the bill", Decimal("0.12"), Decimal("0.12"), Decimal("0.1"), "yes"),
        ("teams with AI spend", Decimal(2), Decimal(2), Decimal(2), "yes"),
    ]
    assert found.answer.startswith(
        "Yes: 12.0 % of the bill of October 2026 is AI spend for certain ($12.00 of $100.00)"
    )


def test_no_decision_without_teams_charges_or_one_currency() -> None:
    teamless = ai_spend(bill({"x_GpuModel": "NVIDIA H100"}))
    assert adoption(teamless, OCTOBER).verdict == "unknown"
    assert "the bill names no teams" in adoption(teamless, OCTOBER).answer
    refund = adoption(ai_spend(bill({"cost": -1})), OCTOBER)
    assert (refund.verdict, "no charge above zero" in refund.answer) == ("unknown", True)
    with pytest.raises(NoDataError, match="no bills in November 2026"):
        adoption(teamless, "2026-11")
    both = ai_spend(bill({"x_team": "a"}, {"x_team": "a", "BillingCurrency": "EUR"}))
    with pytest.raises(NoDataError, match="name the currency"):
        adoption(both, OCTOBER)
    assert adoption(both, OCTOBER, currency="EUR").verdict == "no"


def test_rules_and_thresholds_in_finops_toml(tmp_path: Path) -> None:
    (tmp_path / "finops.toml").write_text(
        PLAIN_TOML
        + '[adoption]\nshare_above = "0.2"\nteams_at_least = 3\n'
        + '[[ai_spend]]\nname = "notebooks"\nkind = "compute"\ntext = "jupyter"\nlook_in = "x_tag_purpose"\n'
    )
    config = load(tmp_path)
    assert config.adoption == AdoptionRule(share_above=Decimal("0.2"), teams_at_least=3)
    assert config.ai_spend[0].look_in == ("x_tag_purpose",)
    assert "purpose" in config.tag_keys()
    for text, said in (
        ('[[ai_spend]]\nname = "a"\nkind = "GPU"\n', "write where, text or both"),
        ('[[ai_spend]]\nname = "a"\nkind = "GPU"\ntext = "("\n', "regular expression"),
        (
            '[[ai_spend]]\nname = "a"\nkind = "GPU"\nlook_in = "x"\nwhere = { A = "b" }\n',
            "look_in needs a text",
        ),
        ("[adoption]\nshare_above = 0.2\n", "as a string"),
        ('[adoption]\nshare_above = "1.5"\n', "less than 1"),
    ):
        (tmp_path / "finops.toml").write_text(PLAIN_TOML + text)
        with pytest.raises(ConfigError, match=said):
            load(tmp_path)


def test_names_of_built_in_rules_are_told_apart() -> None:
    names = [rule.name for rule in DEFAULTS]
    assert len(set(names)) == len(names)
    assert all(re.match("default: ", name) for name in names)


def test_half_of_the_real_sample_is_gpus_under_compute(shared_data: Path, tmp_path: Path) -> None:
    sample = shared_data / "billing" / "focus_sample" / "focus_1_0_sample_1000.csv"
    if not sample.is_file():
        pytest.skip("the real FOCUS sample is not beside this checkout")
    lab = fl.open_lab(write_lab(tmp_path, {"focus.csv": sample.read_text(encoding="utf-8")}))
    # EffectiveCost of this file is rounded to whole dollars: see billed.
    found = ai_spend(lab.costs(), metric="BilledCost")
    gpus = found.lines.filter(kind="GPU")
    g5 = gpus.filter(pl.col("matched").str.contains("g5.4xlarge"))
    assert g5.select("rows", "certain", "in_ai_category").rows() == [(8, False, False)]
    assert round(g5["BilledCost"][0], 2) == Decimal("10.20")
    net = exact_sum(found.lines["BilledCost"].to_list())
    assert Decimal("0.49") < g5["BilledCost"][0] / net < Decimal("0.51")
    month = found.months.row(0, named=True)
    assert month["category_share"] < Decimal("0.001")
    assert Decimal("0.5") < month["at_most_share"] < Decimal("0.53")
    assert found.lines["rows"].sum() == 1000


def test_what_is_kept_of_ai_spend_is_what_the_bills_give(tmp_path: Path) -> None:
    vague = {"ServiceCategory": "Compute", "SubAccountName": "render", "ChargeDescription": "g5.4xlarge"}
    october = [cost_row("3", month="2026-10"), cost_row("5", month="2026-10", **vague)]
    bills = {"september.csv": [cost_row("2", month="2026-09")], "october.csv": october}
    folder = write_lab(tmp_path / "lab", bills, PLAIN_TOML)

    def told() -> tuple[AiSpend, list[str]]:
        lab = fl.open_lab(folder, progress=False)
        found, anew = valuing.ai_spend(lab), valuing.ai_spend(lab, store=False)
        assert found.lines.equals(anew.lines) and found.teams.equals(anew.teams)
        kept = sorted(path.name for path in (folder / "lake" / "rollups" / "ai_spend").iterdir())
        return found, kept

    first, kept = told()
    assert first.months.select("whole", "certain", "possible").rows() == [(2, 2, 0), (8, 3, 5)]
    assert [name[:7] for name in kept] == ["2026-09", "2026-10"] and told()[1] == kept
    with pytest.raises(InputError, match="EffectiveCost or BilledCost, not 'ListCost'"):
        valuing.ai_spend(fl.open_lab(folder, progress=False), metric="ListCost")
    alone = valuing.ai_spend(fl.open_lab(folder, progress=False), OCTOBER, OCTOBER, metric="BilledCost")
    assert alone.months["month"].to_list() == [OCTOBER]
    # A changed month alone is worked out again; other rules make all of it anew.
    (folder / "exports" / "october.csv").write_text(csv_text(october[:1]))
    changed, again = told()
    assert changed.months["whole"].to_list() == [2, 3]
    assert again[0] == kept[0] and again[1] != kept[1] and len(again) == 2
    with (folder / "finops.toml").open("a") as toml:
        toml.write('[[ai_spend]]\nname = "none"\nkind = "not AI"\nwhere = { ServiceCategory = "~." }\n')
    assert told()[0].months["certain"].to_list() == [0, 0]
    assert not set(told()[1]) & set(again)


def test_rejected_rows_of_a_bill_are_missing_from_the_ledger(tmp_path: Path) -> None:
    rows = [cost_row("3", month="2026-10"), cost_row("4", month="2026-10"), cost_row("x", month="2026-10")]
    lab = fl.open_lab(write_lab(tmp_path / "lab", {"bill.csv": rows}, PLAIN_TOML), progress=False)
    held = valuing.kpis(lab, "2026-10").table.filter(kpi="M7").row(0, named=True)
    assert (held["value"], held["coverage"]) == (0, 2 / 3)
