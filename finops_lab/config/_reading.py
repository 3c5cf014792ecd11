"""A TOML file as a frozen model, or one error that names file, key and line."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from finops_lab.config._base import Model
from finops_lab.errors import ConfigError

__all__ = ["read", "validated"]

_Whole = TypeVar("_Whole", bound=Model)


def read(path: Path, model: type[_Whole], *, parse_float: Callable[[str], Any] = float) -> _Whole:
    """Read a TOML file as a model.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    model : type
        A `Model`.
    parse_float : callable
        What numbers with a point become; `decimal.Decimal` keeps them exact.

    Raises
    ------
    ConfigError
        When the file cannot be read, is not TOML, or holds an unknown or malformed key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", file=path) from None
    try:
        values = tomllib.loads(text, parse_float=parse_float)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"is not valid TOML: {error}", file=path) from None
    return validated(values, model, path, text)


def validated(values: Any, model: type[_Whole], path: Path | None = None, text: str = "") -> _Whole:
    """Make a model of values; an error names the key, and file and line where there are any."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _explain(error, model, path, text) from None


def _explain(error: ValidationError, model: type[Model], path: Path | None, text: str) -> ConfigError:
    # A misspelled key is told before the required key that it leaves missing.
    first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    location = first["loc"]
    key = ".".join(f"[{part + 1}]" if isinstance(part, int) else str(part) for part in location)
    key = key.replace(".[", "[")
    line = _line_of(text, location)
    hint = None
    if first["type"] == "extra_forbidden":
        message = f"unknown key {key!r}"
        close = difflib.get_close_matches(str(location[-1]), _known_keys(model, location[:-1]), n=1)
        hint = f"did you mean {close[0]!r}?" if close else "remove it"
    elif first["type"] == "missing":
        message = f"key {key!r} is missing"
    else:
        message = first["msg"].removeprefix("Value error, ")
        message = f"key {key!r}: {message}" if key else message  # of the whole file
    more = error.error_count() - 1
    message += f" (and {more} more problem{'s' if more > 1 else ''})" if more else ""
    return ConfigError(message, file=f"{path}, line {line}" if line else path, hint=hint)


def _known_keys(model: Any, location: tuple[int | str, ...]) -> list[str]:
    for part in location:
        if isinstance(part, int):
            continue
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            return []
        field = model.model_fields.get(part) or next(
            (f for f in model.model_fields.values() if f.alias == part), None
        )
        annotation = field.annotation if field else None
        model = next((a for a in getattr(annotation, "__args__", ()) if isinstance(a, type)), annotation)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return [f.alias or name for name, f in model.model_fields.items()]
    return []


def _line_of(text: str, location: tuple[int | str, ...]) -> int | None:
    """Find the line of a key: tomllib keeps no positions, so walk headers and keys."""
    names = [part for part in location if isinstance(part, str)]
    index = next((part for part in location if isinstance(part, int)), 0)
    best: int | None = None
    section: list[str] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*(\[\[?)\s*([^\]]+?)\s*\]", line)
        if header:
            section = [part.strip().strip("\"'") for part in header[2].split(".")]
            seen[header[2]] = seen.get(header[2], -1) + 1
            if names[: len(section)] == section and seen[header[2]] == index:
                best = number
            continue
        found = re.match(r"\s*[\"']?([\w.-]+?)[\"']?\s*=", line)
        here = not section or seen.get(".".join(section), 0) == index
        if found and here and names[: len(section) + 1] == [*section, found[1]]:
            return number
    return best
