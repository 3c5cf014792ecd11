"""finops.toml: read whole, or refused with file, line, key and a hint."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from finops_lab.config import Config, load, normalise_tag_key
from finops_lab.errors import ConfigError

FULL = """
[lab]
name = "Synthetic"
currency = "EUR"
note = "made up"

[[dimensions.team]]
name = "team tag"
tag = ["Team", "cost-center"]
map = { srch = "search" }

[[dimensions.team]]
name = "gateway"
where = { SubAccountName = ["gw-1", "~^gw-"], x_tag_Stage = "prod" }
value = "platform"

[[dimensions.model]]
name = "from the meter"
extract = { column = "SkuMeter", pattern = "^([a-z]+)-" }

[telemetry.attributes]
team = "acme.team"

[[telemetry.sampling]]
path = "traces/*"
rate = 0.1

[[budgets]]
team = "search"
from = "2026-01"
to = "2026-12"
amount = "1200.123456789012345678"

[[slos]]
service = "answers"
objective = "latency"
target = 0.95
threshold_ms = 200

[[rates]]
month = "2026-10"
from = "USD"
to = "EUR"
rate = "0.9"
"""


def read(tmp_path: Path, text: str | bytes) -> Config:
    (tmp_path / "finops.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return load(tmp_path)


def lab(rest: str) -> str:
    return f'[lab]\nname = "x"\n{rest}'


def test_a_full_configuration(tmp_path: Path) -> None:
    config = read(tmp_path, FULL)
    assert config.lab.currency == "EUR"
    assert [rule.name for rule in config.dimensions.team] == ["team tag", "gateway"]
    assert config.dimensions.team[0].tag == ("Team", "cost-center")
    assert config.dimensions.team[1].where == {"SubAccountName": ("gw-1", "~^gw-"), "x_tag_Stage": ("prod",)}
    assert config.telemetry.attributes == {"team": ("acme.team",)}
    assert config.budgets[0].first == date(2026, 1, 1)
    assert config.budgets[0].last == date(2026, 12, 1)
    assert config.budgets[0].amount == Decimal("1200.123456789012345678")
    assert config.slos[0].window_days == 28
    assert (config.rates[0].source, config.rates[0].target, config.rates[0].rate) == (
        "USD",
        "EUR",
        Decimal("0.9"),
    )


def test_tag_keys_are_those_that_any_part_of_a_rule_looks_at(tmp_path: Path) -> None:
    assert read(tmp_path, FULL).tag_keys() == ("team", "cost_center", "stage")


def test_the_smallest_configuration(tmp_path: Path) -> None:
    config = read(tmp_path, lab(""))
    assert config.lab.currency == "USD"
    assert config.tag_keys() == ()
    assert config.budgets == ()


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, ("\ufeff" + FULL.replace("\n", "\r\n")).encode()).lab.name == "Synthetic"


def test_a_configuration_is_frozen(tmp_path: Path) -> None:
    config = read(tmp_path, lab(""))
    with pytest.raises(ValueError, match="frozen"):
        config.lab = config.lab  # type: ignore[misc]


def test_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"finops\.toml is missing.*Hint.*sample") as caught:
        load(tmp_path)
    assert caught.value.exit_code == 2


def test_a_lab_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "lab").write_text("")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "lab")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (lab('curency = "USD"'), 3, r"unknown key 'lab\.curency'.*did you mean 'currency'"),
        (lab("[dimension]"), 3, r"unknown key 'dimension'.*did you mean 'dimensions'"),
        (lab('[[dimensions.teams]]\nname = "a"\nvalue = "b"'), 3, "did you mean 'team'"),
        (lab('[[rates]]\nmonth = "2026-10"\nfrm = "USD"\nto = "EUR"\nrate = "1"'), 5, "frm.*did you mean 'from'"),
        ('[lab]\ncurrency = "USD"\n', 1, r"key 'lab\.name' is missing"),
        ("", None, "key 'lab' is missing"),
        (lab('currency = "usd"'), 3, "lab.currency"),
        (lab('[[budgets]]\nfrom = "2026-01"\nto = "2026-12"\namount = 0.1'), 6, "write the amount as a string"),
        (lab('[[budgets]]\nfrom = "2026-1"\nto = "2026-12"\namount = "1"'), 4, "month must be written like 2026-10"),
        (lab('[[budgets]]\nfrom = 202601\nto = "2026-12"\namount = "1"'), 4, "month must be written like 2026-10"),
        (lab('[[budgets]]\nfrom = "2026-12"\nto = "2026-01"\namount = "1"'), 3, "`to` is before"),
        (
            lab('[[budgets]]\nteam = "a"\nmodel = "m"\nfrom = "2026-01"\nto = "2026-01"\namount = "1"'),
            3,
            "one thing, not for team and model",
        ),
        (lab('[[budgets]]\nteam = ""\nfrom = "2026-01"\nto = "2026-01"\namount = "1"'), 4, "at least 1 character"),
        (lab('[[rates]]\nmonth = "2026-10"\nfrom = "USD"\nto = "EUR"\nrate = "-1"'), 7, "greater than 0"),
        (lab('[[rates]]\nmonth = "2026-10"\nfrom = "USD"\nto = "EUR"\nrate = "NaN"'), 7, "finite"),
        (lab('[[slos]]\nservice = "a"\nobjective = "latency"\ntarget = 99.9'), 6, "less than 1"),
        (lab('[[slos]]\nservice = "a"\nobjective = "speed"\ntarget = 0.9'), 5, "objective"),
        (
            lab('[[dimensions.team]]\nname = "a"\nvalue = "b"\n[[dimensions.team]]\nname = "c"\nvalu = "d"'),
            8,
            "did you mean 'value'",
        ),
        (lab('[[dimensions.team]]\nname = "a"'), 3, "exactly one of: tag, column, extract, value"),
        (lab('[[dimensions.team]]\nname = "a"\ntag = "t"\nvalue = "v"'), 3, "exactly one of"),
        (lab('[[dimensions.team]]\nname = "a"\nvalue = "v"\nwhere = { ServiceName = "~(" }'), 3, r"'\('"),
        (lab('[[dimensions.team]]\nname = "a"\nvalue = "v"\nwhere = { ServiceName = "~(?!x)" }'), 3, "look-a"),
        (lab('[[dimensions.team]]\nname = "a"\nextract = { column = "c", pattern = "abc" }'), 5, "needs one"),
        (lab('[[dimensions.team]]\nname = "a"\nextract = { column = "c", pattern = "(a)\\\\1" }'), 5, "backref"),
        (
            lab('[[dimensions.team]]\nname = "a"\nvalue = "b"\n[[dimensions.team]]\nname = "a"\ntag = "t"'),
            None,
            "two rules of team are named 'a'",
        ),
        (lab('[[telemetry.sampling]]\npath = "x"\nrate = 1.5'), 5, "less than or equal to 1"),
        (lab('[telemetry.attributes]\nteem = "x"'), 4, "teem"),
        (lab('[[kpis]]\nkpi = "M5"\nmeasure = "eror_rate"\nat_most = "1"'), 3, "did you mean 'error_rate'"),
        (
            lab('[[kpis]]\nkpi = "M5"\ndimension = "teem"\nkey = "a"\nat_most = "1"'),
            3,
            "M5 error_rate is not told by 'teem': did you mean 'team'",
        ),
    ],
)  # fmt: skip
def test_mistakes_name_file_line_key_and_hint(
    tmp_path: Path, text: str, line: int | None, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert "finops.toml" in message
    assert "\n" not in message
    assert (f", line {line}:" in message) if line else (", line" not in message)


def test_broken_toml_and_broken_encoding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not valid TOML.*line 1"):
        read(tmp_path, "[lab\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read(tmp_path, b'[lab]\nname = "\xff"\n')


def test_several_mistakes_are_counted(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"and 1 more problem\)"):
        read(tmp_path, lab("a = 1\nb = 2"))


@pytest.mark.parametrize(
    ("key", "spelled"),
    [
        ("Team", "team"),
        (" team", "team"),
        ("Cost-Center", "cost_center"),
        ("cost center", "cost_center"),
        ("CostCenter", "costcenter"),
        ("user:Team", "user_team"),
        ("a__b", "a_b"),
        ("équipe", "équipe"),
        ("팀", "팀"),
        ("部署", "部署"),
    ],
)
def test_tag_keys_ignore_case_blanks_and_separators(key: str, spelled: str) -> None:
    assert normalise_tag_key(key) == spelled
    assert normalise_tag_key(spelled) == spelled


def test_every_example_of_the_documentation_is_read(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    blocks = re.findall(r"```toml\n(.*?)```", (root / "docs" / "finops-toml.md").read_text(), re.S)
    blocks += re.findall(r"```toml\n(.*?)```", (root / "README.md").read_text(), re.S)
    assert len(blocks) >= 7
    for block in blocks:
        (tmp_path / "finops.toml").write_text(block, encoding="utf-8")
        load(tmp_path)
