"""A BERT encoder as an ONNX graph, straight from its weights: no torch, no transformers.

The graph reads ``input_ids`` and ``attention_mask`` (int64, batch x length) and gives ``embedding``: the
mean over the tokens, of length 1, as sentence encoders are used (Reimers and Gurevych, EMNLP 2019).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import onnx

__all__ = ["encoder_graph"]

_OPSET, _IR = 17, 8  # what every ONNX Runtime since 1.13 reads


def encoder_graph(
    weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], *, half: bool = False
) -> onnx.ModelProto:
    """Build the graph of a BERT encoder with mean pooling.

    Parameters
    ----------
    weights : mapping of str to numpy.ndarray
        By the names of a BERT checkpoint, such as ``encoder.layer.0.attention.self.query.weight``.
    config : mapping
        ``hidden_size``, ``num_attention_heads``, ``num_hidden_layers``, ``layer_norm_eps``.
    half : bool
        Weights and arithmetic in 16-bit floats; the embedding stays 32-bit.

    Returns
    -------
    onnx.ModelProto
        Checked.
    """
    import onnx

    graph = _Graph(weights, config, np.float16 if half else np.float32)
    graph.embed()
    for layer in range(config["num_hidden_layers"]):
        graph.layer(f"encoder.layer.{layer}.", f"l{layer}_")
    graph.pool()
    model = graph.model()
    onnx.checker.check_model(model)
    return model


class _Graph:
    """Nodes and constants so far; ``x`` names the tensor that the next layer reads."""

    def __init__(
        self, weights: Mapping[str, npt.NDArray[Any]], config: Mapping[str, Any], kind: type
    ) -> None:
        self.weights, self.config, self.kind = weights, config, kind
        self.hidden: int = config["hidden_size"]
        self.heads: int = config["num_attention_heads"]
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.x = ""

    def node(self, op: str, inputs: list[str], out: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [out], name=f"{out}_node", **attributes))
        return out

    def whole(self, name: str, *values: int, scalar: bool = False) -> str:
        return self._constant(name, np.array(values[0] if scalar else values, dtype=np.int64))

    def number(self, name: str, value: float) -> str:
        return self._constant(name, np.array(value, dtype=self.kind))

    def weight(self, key: str, *, transposed: bool = False) -> str:
        found: npt.NDArray[Any] = self.weights[key].astype(self.kind)
        return self._constant(key, found.T if transposed else found)

    def _constant(self, name: str, array: npt.NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def embed(self) -> None:
        """Words, positions and the one kind of token, normalised; and the mask as a bias of scores."""
        from onnx import helper

        self.node("Gather", [self.weight("embeddings.word_embeddings.weight"), "input_ids"], "words")
        # ONNX Runtime fails on Shape, Gather, Range here after a fusion of its own; Slice works.
        self.node("Shape", ["input_ids"], "length", start=1, end=2)
        start = self.whole("zero", 0)
        places = self.weight("embeddings.position_embeddings.weight")
        self.node("Slice", [places, start, "length", start], "places")
        self._constant("kind_0", self.weights["embeddings.token_type_embeddings.weight"][0].astype(self.kind))
        self.node("Add", ["words", "places"], "placed")
        self.node("Add", ["placed", "kind_0"], "summed")
        self.x = self.norm("summed", "embeddings.LayerNorm", "embedded")
        self.node("Cast", ["attention_mask"], "mask", to=helper.np_dtype_to_tensor_dtype(np.dtype(self.kind)))
        self.node("Unsqueeze", ["mask", self.whole("axes_12", 1, 2)], "mask_keys")
        self.node("Sub", [self.number("one", 1), "mask_keys"], "hidden_keys")
        self.node("Mul", ["hidden_keys", self.number("very_unlikely", -10_000)], "bias")
        self.number("scale", 1 / math.sqrt(self.hidden // self.heads))
        self.number("root_half", 1 / math.sqrt(2))
        self.number("a_half", 0.5)
        self.whole("by_head", 0, 0, self.heads, self.hidden // self.heads)
        self.whole("by_token", 0, 0, self.hidden)

    def norm(self, x: str, key: str, out: str) -> str:
        inputs = [x, self.weight(f"{key}.weight"), self.weight(f"{key}.bias")]
        epsilon = float(self.config["layer_norm_eps"])
        return self.node("LayerNormalization", inputs, out, axis=-1, epsilon=epsilon)

    def linear(self, x: str, key: str, out: str) -> str:
        self.node("MatMul", [x, self.weight(f"{key}.weight", transposed=True)], f"{out}_product")
        return self.node("Add", [f"{out}_product", self.weight(f"{key}.bias")], out)

    def layer(self, key: str, at: str) -> None:
        """Self-attention and the feed-forward net, each added to what came in and normalised."""
        for part in ("query", "key", "value"):
            made = self.linear(self.x, f"{key}attention.self.{part}", f"{at}{part}")
            self.node("Reshape", [made, "by_head"], f"{made}_heads")
            turn = [0, 2, 3, 1] if part == "key" else [0, 2, 1, 3]
            self.node("Transpose", [f"{made}_heads"], f"{made}_turned", perm=turn)
        self.node("MatMul", [f"{at}query_turned", f"{at}key_turned"], f"{at}raw")
        self.node("Mul", [f"{at}raw", "scale"], f"{at}scaled")
        self.node("Add", [f"{at}scaled", "bias"], f"{at}scores")
        self.node("Softmax", [f"{at}scores"], f"{at}shares", axis=-1)
        self.node("MatMul", [f"{at}shares", f"{at}value_turned"], f"{at}mixed")
        self.node("Transpose", [f"{at}mixed"], f"{at}mixed_turned", perm=[0, 2, 1, 3])
        self.node("Reshape", [f"{at}mixed_turned", "by_token"], f"{at}context")
        made = self.linear(f"{at}context", f"{key}attention.output.dense", f"{at}attended")
        self.node("Add", [made, self.x], f"{at}attended_more")
        middle = self.norm(f"{at}attended_more", f"{key}attention.output.LayerNorm", f"{at}middle")
        wide = self.linear(middle, f"{key}intermediate.dense", f"{at}wide")
        # GELU, exactly: x * (1 + erf(x / sqrt 2)) / 2.
        self.node("Mul", [wide, "root_half"], f"{at}gelu_in")
        self.node("Erf", [f"{at}gelu_in"], f"{at}erf")
        self.node("Add", [f"{at}erf", "one"], f"{at}erf_1")
        self.node("Mul", [wide, f"{at}erf_1"], f"{at}gelu_2")
        self.node("Mul", [f"{at}gelu_2", "a_half"], f"{at}gelu")
        made = self.linear(f"{at}gelu", f"{key}output.dense", f"{at}narrow")
        self.node("Add", [made, middle], f"{at}narrow_more")
        self.x = self.norm(f"{at}narrow_more", f"{key}output.LayerNorm", f"{at}out")

    def pool(self) -> None:
        """Mean over the tokens that are there, of length 1."""
        from onnx import TensorProto

        tokens = self.whole("axis_1", 1)
        self.node("Unsqueeze", ["mask", self.whole("axis_2", 2)], "mask_tokens")
        self.node("Mul", [self.x, "mask_tokens"], "masked")
        # Sums of squares overflow or vanish in 16 bits.
        self.node("Cast", ["masked"], "masked_32", to=TensorProto.FLOAT)
        self.node("Cast", ["mask"], "mask_32", to=TensorProto.FLOAT)
        self.node("ReduceSum", ["masked_32", tokens], "total", keepdims=0)
        self.node("ReduceSum", ["mask_32", tokens], "count", keepdims=1)
        self.node("Div", ["total", "count"], "mean")
        self.node("Mul", ["mean", "mean"], "squares")
        self.node("ReduceSum", ["squares", tokens], "norm_2", keepdims=1)
        self.node("Sqrt", ["norm_2"], "norm")
        self.node("Div", ["mean", "norm"], "embedding")

    def model(self) -> onnx.ModelProto:
        from onnx import TensorProto, helper

        def info(name: str, kind: int, shape: list[str | int]) -> Any:
            return helper.make_tensor_value_info(name, kind, shape)

        graph = helper.make_graph(
            self.nodes,
            "encoder",
            [
                info("input_ids", TensorProto.INT64, ["batch", "length"]),
                info("attention_mask", TensorProto.INT64, ["batch", "length"]),
            ],
            [info("embedding", TensorProto.FLOAT, ["batch", self.hidden])],
            list(self.constants.values()),
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
