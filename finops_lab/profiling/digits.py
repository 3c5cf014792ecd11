"""The tiny case: a small net that reads the handwritten digits of scikit-learn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finops_lab.profiling.blocks import Workload
from finops_lab.profiling.machine import packages
from finops_lab.profiling.measure import Loads, Variant, chosen, measure, right_and_wrong
from finops_lab.profiling.needs import needs
from finops_lab.profiling.onnx_variants import PRECISIONS, make_variants, session_of, size_mib
from finops_lab.tradeoffs.measurement import Measurement

if TYPE_CHECKING:
    import onnx

__all__ = ["DIGITS_VARIANTS", "profile_digits"]

DIGITS_VARIANTS = tuple(name for name in PRECISIONS if name != "fp16")
_MODEL, _WIDE, _EPOCHS = "digits-mlp", (512, 512), 12


def profile_digits(
    *,
    variants: Sequence[str] | None = None,
    small: bool = False,
    rounds: int | None = None,
    loads: Loads | None = None,
    seed: int = 1,
    today: date | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Measurement:
    """Measure a digit classifier in several precisions: seconds, to see how it all works.

    A net of two layers of 512 learns three fifths of the 1,797 images and answers the others.

    Parameters
    ----------
    variants : sequence of str, optional
        Of `DIGITS_VARIANTS`; all by default. ``fp32`` is always there.
    small : bool
        A fifth of the rounds.
    rounds : int, optional
        Of single images; batches get fewer.
    loads : Loads, optional
        Also measure latency under these loads.
    seed : int
        Of the split, the training and the orders.
    today : datetime.date, optional
        Put down as the date.
    waiting : callable, optional
        As for `finops_lab.profiling.time_blocks`.

    Returns
    -------
    Measurement
        Workloads ``b1``, ``batch32`` and ``batch256``; outcomes on ``digits`` (accuracy, 719 items).

    Raises
    ------
    InputError
        An unknown variant, or a package of the extra `profile` is missing.
    """
    needs("sklearn", "onnx", "onnxruntime", "onnx_ir")
    from sklearn.datasets import load_digits

    names = chosen(variants, DIGITS_VARIANTS, DIGITS_VARIANTS)
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    mixed = np.random.default_rng(seed).permutation(len(images))
    cut = len(images) * 3 // 5
    learn, test = mixed[:cut], np.sort(mixed[cut:])
    layers = _learn(images[learn], labels[learn], seed)
    single = (400 if small else 2_000) if rounds is None else rounds
    held = images[test]
    with tempfile.TemporaryDirectory() as folder:
        calibration = [{"x": part} for part in np.array_split(images[learn][:256], 8)]
        files = make_variants(names, Path(folder), _graph(layers), calibration=calibration, waiting=waiting)
        made, scores = {}, {}
        for name, file in files.items():
            run = session_of(file).run
            scores[name] = (run(None, {"x": held})[0].argmax(axis=1) == labels[test]).astype(float)
            made[name] = Variant(
                lambda given, run=run: run(None, given),  # type: ignore[misc]
                PRECISIONS[name],
                "cpu",
                "onnxruntime, 1 thread",
                size_mib(file),
            )
        workloads = [
            Workload(name, [{"x": part} for part in _parts(held, size)], size, times)
            for name, size, times in (
                ("b1", 1, single),
                ("batch32", 32, max(1, single // 4)),
                ("batch256", 256, max(1, single // 10)),
            )
        ]
        return measure(
            _MODEL,
            made,
            workloads,
            outcomes=right_and_wrong(_MODEL, "digits", scores),
            loads=loads,
            seed=seed,
            warm_up=50,
            provenance={
                "date": None if today is None else today.isoformat(),
                "packages": packages(["numpy", "onnx", "onnxruntime", "scikit-learn"]),
                "model": {
                    "name": _MODEL,
                    "made": f"layers of {_WIDE}, {_EPOCHS} epochs, scikit-learn's MLPClassifier",
                },
                "datasets": [
                    {
                        "name": "digits",
                        "source": "scikit-learn load_digits (UCI, CC BY 4.0)",
                        "learned": cut,
                        "tested": len(test),
                    }
                ],
                "protocol": {"clock": "wall and thread CPU time", "threads": 1, "spinning": False},
            },
            waiting=waiting,
        )


def _parts(rows: npt.NDArray[np.float32], size: int) -> list[npt.NDArray[np.float32]]:
    return [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)]


def _learn(x: npt.NDArray[np.float32], y: npt.NDArray[Any], seed: int) -> list[tuple[Any, Any]]:
    """Return weight and bias of every layer."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from threadpoolctl import threadpool_limits

    net = MLPClassifier(_WIDE, max_iter=_EPOCHS, batch_size=64, random_state=seed)
    # Results of several threads add up in another order from machine to machine, and faster they are not.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it stops when told to, and is good by then
        net.fit(x, y)
    kind = np.float32
    return [(w.astype(kind), b.astype(kind)) for w, b in zip(net.coefs_, net.intercepts_, strict=True)]


def _graph(layers: list[tuple[Any, Any]]) -> onnx.ModelProto:
    """Build the net: a product and a sum per layer, cut off at zero in between."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants, last = [], [], "x"
    for i, (weight, bias) in enumerate(layers):
        constants += [numpy_helper.from_array(weight, f"w{i}"), numpy_helper.from_array(bias, f"b{i}")]
        nodes.append(helper.make_node("MatMul", [last, f"w{i}"], [f"p{i}"], name=f"product_{i}"))
        nodes.append(helper.make_node("Add", [f"p{i}", f"b{i}"], [f"s{i}"], name=f"sum_{i}"))
        last = f"s{i}"
        if i < len(layers) - 1:
            nodes.append(helper.make_node("Relu", [last], [f"r{i}"], name=f"relu_{i}"))
            last = f"r{i}"
    ends = [(name, [None, size]) for name, size in (("x", len(layers[0][0])), (last, len(layers[-1][1])))]
    given, answered = (helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n, shape in ends)
    graph = helper.make_graph(nodes, "mlp", [given], [answered], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
