"""Variants of an ONNX model: other precisions of the same weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from finops_lab.errors import InputError
from finops_lab.profiling.needs import needs

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["PRECISIONS", "Feed", "make_variants", "session_of", "size_mib"]

Feed = Mapping[str, npt.NDArray[Any]]
"""An array for each input of a model."""

PRECISIONS = {
    "fp32": "fp32",
    "int8-dynamic": "int8",
    "int8-weight-only": "w8",
    "int4-weight-only": "w4",
    "int8-static": "int8",
    "fp16": "fp16",
}
"""Precision of each variant. ``w8`` and ``w4``: only weights are stored so, the answer is worked out in more."""
_BLOCK = 32  # weights that share a scale


def make_variants(
    names: Sequence[str],
    folder: Path,
    fp32: onnx.ModelProto,
    *,
    fp16: Callable[[], onnx.ModelProto] | None = None,
    calibration: Sequence[Feed] = (),
    per_channel: bool = True,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> dict[str, Path]:
    """Write variants of a model, each to a file of its own.

    Parameters
    ----------
    names : sequence of str
        Of `PRECISIONS`.
    folder : pathlib.Path
        Where to.
    fp32 : onnx.ModelProto
        The model.
    fp16 : callable, optional
        Builds the model in 16 bits: it is built, not converted, for converters end neither on every
        graph nor on their own.
    calibration : sequence of Feed
        Inputs from which ``int8-static`` learns the ranges of activations.
    per_channel : bool
        A scale for each output of a weight, in the int8 variants; False is one for each weight, made
        in a fraction of the time, and worse.
    waiting : callable, optional
        Takes the names and a label, yields them: a progress bar.

    Returns
    -------
    dict of str to pathlib.Path
        The files by variant, in the order of the names.

    Raises
    ------
    InputError
        An unknown variant, ``fp16`` of a model that has none, or ``int8-static`` without inputs.

    Notes
    -----
    ``int8-dynamic``: weights of products and embeddings, activations when they come.
    ``int8-static``: every operator that can be, quantised and dequantised with ranges fixed
    beforehand (minimum and maximum). ``int8-weight-only`` and ``int4-weight-only``: symmetric, blocks
    of 32, products in int8. All by ONNX Runtime's own tools.
    """
    needs("onnx", "onnxruntime", "onnx_ir")
    for name in names:
        if name not in PRECISIONS or (name == "fp16" and fp16 is None):
            known = [n for n in PRECISIONS if n != "fp16" or fp16 is not None]
            raise InputError(f"no variant {name!r} of this model", hint=f"known: {', '.join(known)}")
    if "int8-static" in names and not calibration:
        raise InputError("int8-static needs inputs to learn the ranges of activations from")
    import onnx

    source = folder / "fp32.onnx"
    onnx.save(fp32, source)
    made = {}
    with _quiet():
        for name in names if waiting is None else waiting(names, "building variants"):
            made[name] = folder / f"{name}.onnx"
            if name == "fp16" and fp16 is not None:
                onnx.save(fp16(), made[name])
            elif name != "fp32":
                _quantise(name, source, made[name], calibration, per_channel)
    return made


def _quantise(name: str, source: Path, target: Path, calibration: Sequence[Feed], per_channel: bool) -> None:
    import onnx
    from onnxruntime import quantization as q

    if name == "int8-dynamic":
        q.quantize_dynamic(source, target, weight_type=q.QuantType.QInt8, per_channel=per_channel)
    elif name == "int8-static":
        feeds = iter(calibration)

        class Reader(q.CalibrationDataReader):  # type: ignore[misc]
            def get_next(self) -> Feed | None:
                return next(feeds, None)

        q.quantize_static(source, target, Reader(), weight_type=q.QuantType.QInt8, per_channel=per_channel)
    else:
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        bits = {"int8-weight-only": 8, "int4-weight-only": 4}[name]
        work = MatMulNBitsQuantizer(
            onnx.load(source), bits=bits, block_size=_BLOCK, is_symmetric=True, accuracy_level=4
        )
        work.process()
        work.model.save_model_to_file(str(target), False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Mute what ONNX Runtime's tools say of every model that was not preprocessed by them."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def session_of(path: Path) -> onnxruntime.InferenceSession:
    """Load a model to be timed: one thread, which never spins.

    Parameters
    ----------
    path : pathlib.Path
        An ONNX file.

    Returns
    -------
    onnxruntime.InferenceSession
        On the CPU.
    """
    needs("onnxruntime")
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def size_mib(path: Path) -> float:
    """Return the size of a file in MiB, to three decimals."""
    return round(float(np.ldexp(path.stat().st_size, -20)), 3)
