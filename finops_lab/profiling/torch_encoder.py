"""The same encoder in torch, for GPUs: products in fp32, bf16, fp8 or int8, the rest in 16 or 32 bits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

__all__ = ["TORCH_VARIANTS", "TorchEncoder", "linear_of", "random_weights"]

TORCH_VARIANTS = {"fp32": "fp32", "bf16": "bf16", "fp8": "fp8", "int8": "int8"}
_ROWS = 32  # the tensor cores' products want rows in multiples of 16 (fp8), and more than 16 (int8)
_FP8_MOST, _INT8_MOST = 448.0, 127.0  # largest values of float8_e4m3fn and int8

Linear = Callable[["torch.Tensor"], "torch.Tensor"]


def linear_of(precision: str, weight: torch.Tensor, bias: torch.Tensor) -> Linear:
    """Make a layer ``x @ weight.T + bias`` whose product is worked out in a precision.

    Parameters
    ----------
    precision : str
        Of `TORCH_VARIANTS`. ``fp8``: one scale for the weights and one for each input, both to the
        largest value (e4m3). ``int8``: a scale for each output of the weights and each row of the
        input, rounded to nearest. Scales of inputs are found when they come.
    weight, bias : torch.Tensor
        32-bit, on the device where the layer will run; (out, in) and (out,).

    Returns
    -------
    callable
        Takes (rows, in), returns (rows, out).
    """
    import torch

    if precision == "fp32":
        return lambda x: torch.nn.functional.linear(x, weight, bias)
    half_bias = bias.to(torch.bfloat16)
    if precision == "bf16":
        half = weight.to(torch.bfloat16)
        return lambda x: torch.nn.functional.linear(x, half, half_bias)
    if precision == "fp8":
        scale = weight.abs().amax().float() / _FP8_MOST
        # Column-major, as the tensor cores want the second factor.
        right = (weight / scale).to(torch.float8_e4m3fn).t()

        def fp8(x: torch.Tensor) -> torch.Tensor:
            own = x.abs().amax().float().clamp(min=1e-12) / _FP8_MOST
            left = _padded((x / own).to(torch.float8_e4m3fn))
            made = torch._scaled_mm(left, right, scale_a=own, scale_b=scale, out_dtype=torch.bfloat16)
            return made[: len(x)] + half_bias

        return fp8
    scales = weight.abs().amax(dim=1).float() / _INT8_MOST
    whole = (weight / scales[:, None]).round().to(torch.int8).t()

    def int8(x: torch.Tensor) -> torch.Tensor:
        own = x.abs().amax(dim=1, keepdim=True).float().clamp(min=1e-12) / _INT8_MOST
        left = _padded((x / own).round().to(torch.int8))
        made = torch._int_mm(left, whole)[: len(x)]
        return (made * own * scales).to(torch.bfloat16) + half_bias

    return int8


def _padded(rows: torch.Tensor) -> torch.Tensor:
    import torch

    missing = -len(rows) % _ROWS
    if not missing:
        return rows
    return torch.cat([rows, rows.new_zeros((missing, rows.shape[1]))])


class TorchEncoder:
    """A BERT encoder with mean pooling.

    Parameters
    ----------
    weights, config : mapping
        As for `finops_lab.profiling.encoder.encoder_graph`.
    precision : str
        Of the products with weights. What lies between is in 32 bits for fp32, else bfloat16.
    device : str
        ``cpu`` or ``cuda``.
    """

    def __init__(
        self,
        weights: Mapping[str, npt.NDArray[Any]],
        config: Mapping[str, Any],
        precision: str,
        device: str,
    ) -> None:
        import torch

        self.config, self.device = config, device
        self.kind = torch.float32 if precision == "fp32" else torch.bfloat16
        self.linear: dict[str, Linear] = {}
        self.weights: dict[str, torch.Tensor] = {}
        for name, array in weights.items():
            tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).to(device)
            key, _, what = name.rpartition(".")
            if not key.startswith("encoder.layer.") or "LayerNorm" in key:
                self.weights[name] = tensor.to(self.kind)
            elif what == "weight":
                bias = np.ascontiguousarray(weights[f"{key}.bias"], dtype=np.float32)
                self.linear[key] = linear_of(precision, tensor, torch.from_numpy(bias).to(device))

    def __call__(self, feed: Mapping[str, npt.NDArray[np.int64]]) -> npt.NDArray[np.float32]:
        """Embed a batch of padded texts; each embedding has length 1."""
        import torch

        with torch.inference_mode():
            ids, mask = (torch.from_numpy(feed[n]).to(self.device) for n in ("input_ids", "attention_mask"))
            made = self._pooled(self._tokens(ids, mask), mask)
            found: npt.NDArray[np.float32] = made.cpu().numpy()
        return found

    def _norm(self, x: torch.Tensor, key: str) -> torch.Tensor:
        import torch

        scale, shift = self.weights[f"{key}.weight"], self.weights[f"{key}.bias"]
        epsilon = float(self.config["layer_norm_eps"])
        return torch.nn.functional.layer_norm(x, (x.shape[-1],), scale, shift, epsilon)

    def _tokens(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        from torch.nn import functional

        batch, length = ids.shape
        heads: int = self.config["num_attention_heads"]
        hidden: int = self.config["hidden_size"]
        bias = ((1 - mask[:, None, None, :]) * -10_000.0).to(self.kind)
        named = self.weights
        x = named["embeddings.word_embeddings.weight"][ids]
        x = x + named["embeddings.position_embeddings.weight"][:length]
        x = self._norm(x + named["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        x = x.reshape(batch * length, hidden)
        for layer in range(self.config["num_hidden_layers"]):
            key = f"encoder.layer.{layer}."
            query, keys, value = (
                self.linear[f"{key}attention.self.{part}"](x)
                .reshape(batch, length, heads, hidden // heads)
                .transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = functional.scaled_dot_product_attention(query, keys, value, attn_mask=bias)
            mixed = mixed.transpose(1, 2).reshape(batch * length, hidden)
            x = self._norm(
                self.linear[f"{key}attention.output.dense"](mixed) + x, f"{key}attention.output.LayerNorm"
            )
            wide = functional.gelu(self.linear[f"{key}intermediate.dense"](x))
            x = self._norm(self.linear[f"{key}output.dense"](wide) + x, f"{key}output.LayerNorm")
        return x.reshape(batch, length, hidden)

    @staticmethod
    def _pooled(tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        import torch

        there = mask[:, :, None].float()
        mean = (tokens.float() * there).sum(1) / there.sum(1)
        return torch.nn.functional.normalize(mean, dim=1)


def random_weights(config: Mapping[str, Any], seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Draw weights of an encoder: real work for a clock, no meaning.

    Parameters
    ----------
    config : mapping
        ``hidden_size``, ``num_hidden_layers``, ``intermediate_size``, ``vocab_size``,
        ``max_position_embeddings``.
    seed : int
        The same seed, the same weights.

    Returns
    -------
    dict of str to numpy.ndarray
        By the names of a BERT checkpoint.

    Examples
    --------
    >>> tiny = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 9,
    ...     "max_position_embeddings": 5}
    >>> random_weights(tiny, seed=1)["encoder.layer.0.intermediate.dense.weight"].shape
    (8, 4)
    """
    random = np.random.default_rng(seed)
    hidden, wide = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (1, hidden),
    }
    layers = [f"encoder.layer.{layer}." for layer in range(config["num_hidden_layers"])]
    norms = ["embeddings.LayerNorm"]
    for key in layers:
        norms += [f"{key}attention.output.LayerNorm", f"{key}output.LayerNorm"]
        sizes = {f"attention.self.{part}": (hidden, hidden) for part in ("query", "key", "value")}
        sizes |= {"attention.output.dense": (hidden, hidden)}
        sizes |= {"intermediate.dense": (wide, hidden), "output.dense": (hidden, wide)}
        shapes |= {f"{key}{name}.weight": size for name, size in sizes.items()}
    made = {
        name: random.standard_normal(size, dtype=np.float32) / np.float32(math.sqrt(size[1]))
        for name, size in shapes.items()
    }
    biases = {f"{n.removesuffix('.weight')}.bias": np.zeros(s[0], np.float32) for n, s in shapes.items()}
    made |= {name: zero for name, zero in biases.items() if name.startswith("encoder.")}
    for key in norms:
        made |= {f"{key}.weight": np.ones(hidden, np.float32), f"{key}.bias": np.zeros(hidden, np.float32)}
    return made
