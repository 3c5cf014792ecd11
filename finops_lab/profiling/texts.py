"""Labelled texts: documentation that ships in packages, exam questions, or a file of one's own."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import polars as pl

from finops_lab.errors import InputError

__all__ = ["Labelled", "docstrings", "exam_questions", "read_rows", "texts_of"]

_LEAST, _CHARACTERS = 20, 400
_INSIDE = {"tests", "externals", "__pycache__"}


@dataclass(frozen=True)
class Labelled:
    """Texts and the class of each.

    Parameters
    ----------
    name : str
        Of the data set.
    source : str
        Where from.
    texts, labels : list of str
        As many of the one as of the other.

    Raises
    ------
    InputError
        Fewer than two classes or 50 texts: no classifier can be told apart from another by them.
    """

    name: str
    source: str
    texts: list[str]
    labels: list[str]

    def __post_init__(self) -> None:
        if len(set(self.labels)) < 2 or len(self.texts) < 50:
            raise InputError(
                f"{self.name}: {len(self.texts)} texts of {len(set(self.labels))} classes",
                hint="at least 50 texts and 2 classes are needed",
            )

    @property
    def digest(self) -> str:
        """SHA-256 of all texts and labels: tells data sets of one name apart."""
        pairs = zip(self.labels, self.texts, strict=True)
        return sha256("\0".join(f"{label}\t{text}" for label, text in pairs).encode()).hexdigest()


def docstrings(subpackages: Sequence[str] | None = None) -> Labelled:
    """Read what SciPy and scikit-learn say of their functions and classes; the class is the subpackage.

    Parameters
    ----------
    subpackages : sequence of str, optional
        Only these, such as ``scipy.stats``. By default every one with at least 20 texts.

    Returns
    -------
    Labelled
        The beginning of each docstring, up to its parameters. The sources are parsed, not imported.

    Raises
    ------
    InputError
        scikit-learn or SciPy is not installed.
    """
    from finops_lab.profiling.needs import needs

    needs("scipy", "sklearn")
    rows: list[tuple[str, str]] = []
    for package in ("scipy", "sklearn"):
        found = find_spec(package)
        if found is None or found.origin is None:
            continue
        for folder in sorted(path for path in Path(found.origin).parent.iterdir() if path.is_dir()):
            name = f"{package}.{folder.name}"
            if subpackages is not None and name not in subpackages:
                continue
            if not folder.name.startswith("_") and folder.name not in _INSIDE:
                rows += [(name, text) for text in _said(folder)]
    counts = Counter(name for name, _ in rows)
    rows = [(name, text) for name, text in rows if counts[name] >= _LEAST]
    source = (
        f"docstrings of scipy {version('scipy')} and scikit-learn {version('scikit-learn')} (BSD-3-Clause)"
    )
    return Labelled("docstrings", source, [text for _, text in rows], [name for name, _ in rows])


def _said(folder: Path) -> Iterable[str]:
    """Yield the beginnings of a subpackage's docstrings, each text once."""
    seen = set()
    for file in sorted(folder.rglob("*.py")):
        if _INSIDE & set(file.relative_to(folder).parts):
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            text = " ".join((ast.get_docstring(node) or "").partition("\nParameters\n")[0].split())
            text = text[:_CHARACTERS]
            if len(text) >= _LEAST and text not in seen:
                seen.add(text)
                yield text


def exam_questions(folder: Path) -> Labelled:
    """Read the questions of MMLU as RouteLLM publishes them; the class is the subject.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``mmlu_SUBJECT.csv`` with a column ``prompt``.

    Returns
    -------
    Labelled

    Raises
    ------
    InputError
        The folder holds no such file, or one lacks the column.
    """
    texts, labels = [], []
    for file in sorted(folder.glob("mmlu_*.csv")):
        prompts = pl.read_csv(file, infer_schema=False)
        if "prompt" not in prompts.columns:
            raise InputError("lacks this column", file=file, column="prompt")
        found = prompts["prompt"].drop_nulls().to_list()
        texts += found
        labels += [file.stem.removeprefix("mmlu_")] * len(found)
    if not texts:
        raise InputError(
            "holds no mmlu_SUBJECT.csv", file=folder, hint="give a folder of those, or a file of texts"
        )
    return Labelled("mmlu-subjects", "MMLU questions as published with RouteLLM", texts, labels)


def texts_of(path: Path, text: str = "text", label: str = "label") -> Labelled:
    """Read labelled texts of one's own.

    Parameters
    ----------
    path : pathlib.Path
        A Parquet or CSV file, or a folder for `exam_questions`.
    text, label : str
        The columns.

    Returns
    -------
    Labelled
        Rows without a text or a label are left out.

    Raises
    ------
    InputError
        Cannot be read, or lacks a column.
    """
    if path.is_dir():
        return exam_questions(path)
    frame = read_rows(path)
    for name in (text, label):
        if name not in frame.columns:
            raise InputError(
                "no such column", file=path, column=name, hint=f"known: {', '.join(frame.columns)}"
            )
    kept = frame.select(pl.col(text, label).cast(pl.String)).drop_nulls()
    return Labelled(path.stem, f"a file of {kept.height} texts", kept[text].to_list(), kept[label].to_list())


def read_rows(path: Path) -> pl.DataFrame:
    """Read a Parquet or CSV file; anything wrong with it is one `InputError`."""
    if not path.exists():
        raise InputError("no such file", file=path)
    try:
        if path.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return pl.read_csv(path, infer_schema_length=None, try_parse_dates=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read as Parquet or CSV: {error}", file=path) from error
