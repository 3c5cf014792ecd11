"""A program of its own: the memory that a model takes, in MiB, measured in a fresh process.

``python footprint.py MODEL.onnx INPUTS.npz`` loads the model, runs the inputs once and prints by how much
the peak of the resident set rose since before. It imports nothing of finops_lab: that would be memory too.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["memory_mib"]


def memory_mib(model: Path, inputs: Path, *, limit_s: float = 120.0) -> float | None:
    """Measure the memory of a model in another process.

    Parameters
    ----------
    model : pathlib.Path
        An ONNX file.
    inputs : pathlib.Path
        ``.npz``: an array for each of the model's inputs.
    limit_s : float
        Seconds after which it is given up.

    Returns
    -------
    float or None
        MiB above a process that has only imported ONNX Runtime. None where the system does not tell
        (there is no ``/proc``) or the model does not run there.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", __file__, str(model), str(inputs)],
            capture_output=True,
            text=True,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return None
    return float(done.stdout) if done.returncode == 0 else None


def _kib(key: str) -> int:
    # The peak of getrusage would be the parent's: it outlives the start of another program.
    (line,) = (r for r in Path("/proc/self/status").read_text().splitlines() if r.startswith(f"{key}:"))
    return int(line.split()[1])


def _main(model: str, inputs: str) -> None:
    import numpy as np
    import onnxruntime as ort

    feeds = dict(np.load(inputs))
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    before = _kib("VmRSS")
    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    print(round((_kib("VmHWM") - before) / 1024, 1))


if __name__ == "__main__":
    _main(*sys.argv[1:])
