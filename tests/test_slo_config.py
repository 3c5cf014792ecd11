"""`[[slos]]` of `finops.toml`: what each objective needs, what it has no use for."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from helpers import PLAIN_TOML

from finops_lab.config import load
from finops_lab.config.planning import _NEEDS
from finops_lab.contracts.planning import OBJECTIVES
from finops_lab.errors import ConfigError
from finops_lab.lab import open_lab

_EACH = {
    "availability": "",
    "error_rate": "",
    "latency": "threshold_ms = 200",
    "accuracy": 'dimension = "model"\nthreshold = 0.92\nmetric = "accuracy"',
    "cost_per_inference": 'threshold_usd = "0.004"',
    "freshness": 'threshold_hours = 36\ntable = "costs"',
}


def written(folder: Path, objective: str, keys: str) -> Path:
    head = f'[[slos]]\nservice = "chat"\nobjective = "{objective}"\ntarget = 0.99\n'
    (folder / "finops.toml").write_text(PLAIN_TOML + head + keys)
    return folder


def test_the_same_objectives_in_configuration_and_contract() -> None:
    assert tuple(sorted(_NEEDS)) == tuple(sorted(OBJECTIVES)) == tuple(sorted(_EACH))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_with_its_own_keys(objective: str, tmp_path: Path) -> None:
    (slo,) = load(written(tmp_path, objective, _EACH[objective])).slos
    assert (slo.objective, slo.window_days) == (objective, 28)
    assert slo.dimension == ("model" if objective == "accuracy" else "feature")


def test_slos_of_a_lab_are_the_contract(tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    keys = (
        'threshold_usd = "0.000000000000000001"\nbudget_usd = "250"\nname = "chat is cheap"\nwindow_days = 30'
    )
    (row,) = open_lab(written(tmp_path, "cost_per_inference", keys), progress=False).slos().to_dicts()
    assert {key: value for key, value in row.items() if value is not None} == {
        "service": "chat",
        "objective": "cost_per_inference",
        "target": 0.99,
        "window_days": 30,
        "name": "chat is cheap",
        "dimension": "feature",
        "threshold_usd": Decimal("0.000000000000000001"),
        "budget_usd": Decimal(250),
    }


@pytest.mark.parametrize(
    ("objective", "keys", "said"),
    [
        ("latency", "", "latency needs threshold_ms"),
        ("accuracy", 'dimension = "model"\nthreshold = 0.9', "accuracy needs metric"),
        ("accuracy", 'dimension = "model"', "accuracy needs threshold and metric"),
        ("accuracy", 'threshold = 0.9\nmetric = "f1"', 'accuracy needs dimension = "model"'),
        ("cost_per_inference", "", "cost_per_inference needs threshold_usd"),
        ("cost_per_inference", "threshold_usd = 0.004", "write the amount as a string"),
        ("cost_per_inference", 'threshold_usd = "0"', "greater than 0"),
        ("freshness", "threshold_hours = 3", "freshness needs table"),
        ("freshness", 'threshold_hours = 3\ntable = "prices"', r"slos\[1\]\.table"),
        ("availability", "threshold_ms = 3", "availability has no use for threshold_ms"),
        ("availability", 'threshold = 0.5\nmetric = "f1"', "has no use for threshold and metric"),
        ("latency", 'threshold_ms = 200\nthreshold_usd = "1"', "latency has no use for threshold_usd"),
        ("freshness", 'threshold_hours = 3\ntable = "costs"\nbudget_usd = "1"', "no use for budget_usd"),
        ("availability", 'budget_usd = "-1"', "greater than 0"),
        ("availability", 'dimension = "team"', r"slos\[1\]\.dimension"),
        ("availability", 'treshold_ms = "1"', "did you mean 'threshold_ms'"),
    ],
)
def test_missing_and_needless_keys(objective: str, keys: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"finops\.toml, line \d+.*{said}"):
        load(written(tmp_path, objective, keys))
