"""What stores and databases say when they fail, in one line, without secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from finops_lab.config import Source
from finops_lab.errors import FinopsError, InputError

__all__ = ["optional", "place", "shown", "told"]

_LONGEST = 300
_SECRET = re.compile(r"key|secret|token|password|sas|credential|auth|header|uri", re.IGNORECASE)
_CODE = re.compile(r"<Code>(?P<code>[^<]+)</Code>(?:.*?<Message>(?P<message>[^<]*)</Message>)?", re.DOTALL)
_POSTGRES = re.compile(r"(?:ERROR|FATAL|Failed to connect): +(?P<message>[^\n]+)")
_COLOUR = re.compile(r"\x1b\[\d*m|\u21b3")
_STATUS = re.compile(r"status code: (?P<status>\d{3} [A-Za-z ]+)")

# What a failure looks like, and what helps; the first that is found.
_HINTS = (
    (r"169\.254\.169\.254|metadata\.google|token request|CredentialsNotLoaded|no valid .*credentials",
     "no credentials were found: give them as options of the source; a public bucket needs "
     'skip_signature = "true"'),
    (r"No files in log segment|not a delta table", "there is no Delta table at url"),
    (r"Account must be specified", "give the option azure_storage_account_name"),
    (r"NoSuchBucket|404 Not Found|NoSuchKey|not found|no such file|does not exist",
     "check the names in url"),
    (r"SignatureDoesNotMatch|InvalidAccessKeyId|AccessDenied|40[13] |authentication failed",
     "check the credentials of the source, and what they may read"),
    (r"scheme is not allowed|BadScheme|builder error",
     'an http address needs the option allow_http = "true"'),
    (r"error sending request|refused|timed out|dns error|translate host|error trying to connect",
     "check the address, and whether it can be reached from here"),
)  # fmt: skip


def shown(url: str) -> str:
    """Return a url without what may be secret: the user, the password, the query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "the url"
    user, _, host = parts.netloc.rpartition("@")
    # abfss://container@account: what stands before the @ is a name, not a secret.
    place = parts.netloc if user and parts.scheme in ("abfs", "abfss") else host
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def place(source: Source) -> str:
    """Say which source an error is about, and where that is."""
    return f"[[sources]] {source.name!r} ({shown(source.url)})"


def optional(source: Source, module: str, extra: str) -> Any:
    """Import a module of a package that only some sources need.

    Raises
    ------
    InputError
        When it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0].replace("_", "-")
        raise InputError(
            f"[[sources]] {source.name!r} needs the package {package}, which is not installed",
            hint=f"install finops-lab[{extra}]",
        ) from None


@contextmanager
def told(source: Source) -> Iterator[None]:
    """Turn what a foreign library raises in the block into one line about the source.

    Raises
    ------
    InputError
        In place of everything but our own errors and the wish to stop.
    """
    try:
        yield
    except FinopsError:
        raise
    except BaseException as error:
        # A panic of a Rust library is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        text = str(error) or type(error).__name__
        hint = next((help for seen, help in _HINTS if re.search(seen, text, re.IGNORECASE)), None)
        raise InputError(
            f"cannot be copied: {_line(text, source)}",
            file=place(source),
            hint=hint,
        ) from None


def _line(text: str, source: Source) -> str:
    if code := _CODE.search(text):
        text = ": ".join(part for part in code.group("code", "message") if part)
    elif said := _POSTGRES.search(text):
        text = said["message"]
    else:
        status = _STATUS.search(text)
        text = text.partition("\n\nDebug source:")[0].strip()
        text = f"{status['status'].strip()} ({text})" if status else text
    text = " ".join(_COLOUR.sub(" ", text).split())
    for secret in _secrets(source):
        text = text.replace(secret, "***")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."


def _secrets(source: Source) -> list[str]:
    """Return the values that no error may repeat, longest first."""
    values = [value for key, value in source.options.items() if _SECRET.search(key)]
    try:
        parts = urlsplit(source.url)
        values += [parts.password or "", parts.query]
    except ValueError:
        values.append(source.url)
    return sorted((value for value in values if len(value) > 3), key=len, reverse=True)
