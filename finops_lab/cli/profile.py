"""`finops-lab profile`: variants of a model measured on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from finops_lab.cli._app import app, day, spinner
from finops_lab.errors import InputError

if TYPE_CHECKING:
    from finops_lab.tradeoffs.measurement import Measurement

__all__ = ["register"]


class Subject(StrEnum):
    """What can be measured out of the box."""

    digits = "digits"
    minilm = "minilm"
    wide = "wide"


class Engine(StrEnum):
    """What runs the model."""

    onnx = "onnx"
    torch = "torch"


class Score(StrEnum):
    """What answers of one's own model are judged by."""

    accuracy = "accuracy"
    mse = "mse"


def profile(
    subject: Annotated[
        Subject,
        typer.Argument(
            help="digits: a tiny classifier, seconds. minilm: a real sentence encoder, half an hour. "
            "wide: a transformer 4,096 wide with random weights, for the speed of a GPU (torch)."
        ),
    ] = Subject.digits,
    function: Annotated[
        str | None,
        typer.Option(
            "--callable",
            help="A model of your own in place of SUBJECT: a function that returns "
            "{variant: callable}; each callable takes a polars DataFrame and returns one answer a row.",
            metavar="MODULE:FUNCTION",
        ),
    ] = None,
    dataset: Annotated[
        Path | None,
        typer.Option(
            "--dataset",
            help="Labelled rows, Parquet or CSV: what --callable answers; for minilm more texts "
            "(columns text and label, or a folder of mmlu_SUBJECT.csv).",
            metavar="PATH",
        ),
    ] = None,
    label: Annotated[
        str, typer.Option("--label", help="Column of right answers, with --callable.")
    ] = "label",
    metric: Annotated[
        Score, typer.Option("--metric", help="With --callable: what answers are judged by.")
    ] = Score.accuracy,
    variant: Annotated[
        list[str] | None,
        typer.Option("--variant", help="Only this one and the baseline; several times. Default: all."),
    ] = None,
    engine: Annotated[
        Engine,
        typer.Option("--engine", help="onnx: this CPU, one thread. torch: the GPU, where there is one."),
    ] = Engine.onnx,
    rounds: Annotated[
        int | None,
        typer.Option("--rounds", min=1, help="Rounds of single requests; a P95 within 10 % needs 1,000."),
    ] = None,
    sweep: Annotated[
        bool,
        typer.Option("--sweep", help="Also latency under load: Poisson arrivals, open loop, four loads."),
    ] = False,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=64, help="Requests answered at a time, with --sweep.")
    ] = 1,
    small: Annotated[
        bool, typer.Option("--small", help="A short form to try it out: its figures prove nothing.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of splits, orders and arrivals.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Default: SUBJECT.measurement.json; a file there is replaced.", metavar="FILE"
        ),
    ] = None,
    today: Annotated[
        str | None, typer.Option("--today", help="The date to put down.", metavar="YYYY-MM-DD")
    ] = None,
) -> None:
    """Measure what variants of a model cost, how well they answer and how fast, on this machine.

    Every round runs every variant on the same input, in an order drawn anew: what slows the machine
    slows them all, and their ratio stays true. Wall and CPU time, one thread, no spinning. Writes one
    measurement file with machine, packages, seed and protocol.

    Needs the extra `profile` (see docs/profiling.md for the lean way).

    Examples: finops-lab profile; finops-lab profile minilm --small; finops-lab profile minilm --sweep
    --out encoder.measurement.json; finops-lab profile wide --engine torch; finops-lab profile --callable
    my_model:variants --dataset questions.parquet --label answer
    """
    from finops_lab.printing_profile import print_measurement
    from finops_lab.profiling import Loads
    from finops_lab.tradeoffs.measurement import SUFFIX, write_measurement

    name = subject.value if function is None else function.partition(":")[0].rpartition(".")[2]
    target = Path(f"{name}{SUFFIX}") if out is None else out
    # Found out now, not after half an hour.
    if target.is_dir():
        raise InputError("is a folder, not a file", file=target)
    if not target.parent.is_dir():
        raise InputError("no such folder", file=target.parent, hint="make it, or choose another --out")
    if function is not None and dataset is None:
        raise InputError("--callable needs --dataset", hint="a Parquet or CSV file of rows to answer")
    common: dict[str, Any] = {
        "variants": variant,
        "small": small,
        "rounds": rounds,
        "loads": Loads(workers=workers, requests=100 if small else 500) if sweep else None,
        "seed": seed,
        "today": day(today),
    }
    waiting = _Waiting()
    with waiting.status:
        common["waiting"] = waiting
        found = _measured(subject, engine, function, dataset, label, metric, common)
    print_measurement(found)
    typer.echo(f"wrote the measurement: {write_measurement(found, target)}")


def _measured(
    subject: Subject,
    engine: Engine,
    function: str | None,
    dataset: Path | None,
    label: str,
    metric: Score,
    common: dict[str, Any],
) -> Measurement:
    if function is not None and dataset is not None:
        from finops_lab.profiling.callables import profile_callable

        return profile_callable(function, dataset, label=label, metric=metric.value, **common)
    if dataset is not None and subject is not Subject.minilm:
        raise InputError(f"{subject.value} takes no --dataset", hint="minilm and --callable do")
    if engine is Engine.torch or subject is Subject.wide:
        if engine is not Engine.torch:
            raise InputError("wide runs in torch only", hint="add --engine torch")
        if subject is Subject.digits:
            raise InputError("digits runs in ONNX Runtime only", hint="leave --engine out")
        from finops_lab.profiling.torch_profile import profile_torch

        return profile_torch(subject.value, dataset=dataset, **common)
    if subject is Subject.minilm:
        from finops_lab.profiling.minilm import profile_minilm

        return profile_minilm(dataset=dataset, **common)
    from finops_lab.profiling import profile_digits

    return profile_digits(**common)


class _Waiting:
    """Shows that work is under way; a bar where it is known how much there is, after two seconds."""

    def __init__(self) -> None:
        self.status = spinner("preparing and measuring variants")

    def __call__(self, items: Sequence[Any], label: str) -> Iterator[Any]:
        from finops_lab.forecasting.waiting import shown

        # Two displays at a time would write over each other.
        self.status.stop()
        yield from shown(items, label)
        self.status.start()


def register() -> None:
    """Add the command, after those that come first in the help."""
    app.command()(profile)
