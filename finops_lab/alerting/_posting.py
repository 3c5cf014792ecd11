"""JSON posted to a server: no redirects, a limit of time, a few tries, and no secret in an error."""

from __future__ import annotations

import http.client
import ipaddress
import json
import time
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from finops_lab.config import Sink
from finops_lab.config.alerts import check_url
from finops_lab.errors import FinopsError, InputError, printable

__all__ = ["Address", "NotDelivered", "address_of", "post"]

_SAID = 200  # bytes of a server's words that an error repeats
_LONGEST_PAUSE_S = 30.0
# What a server does not like about one message.
_THIS_ONE = frozenset({400, 413, 414, 415, 422})
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class NotDelivered(FinopsError):
    """A sink did not take an alert; nothing in the message is secret.

    Parameters
    ----------
    message, file, hint
        As of `FinopsError`.
    others : bool
        Whether the sink may take other alerts.
    """

    def __init__(
        self, message: str, *, file: str | Path | None = None, hint: str | None = None, others: bool = False
    ) -> None:
        super().__init__(message, file=file, hint=hint)
        self.others = others


class Address:
    """Where a sink is: never shown, since it may be a secret."""

    def __init__(self, url: str, headers: Mapping[str, str], *, secret: bool) -> None:
        self.url, self.headers, self.secret = url, dict(headers), secret

    def __repr__(self) -> str:
        return "Address(...)"


def address_of(sink: Sink, environ: Mapping[str, str]) -> Address:
    """Take address and headers of a sink, secrets from the environment.

    Raises
    ------
    InputError
        A variable is not set, or holds no address.
    """

    def variable(name: str, what: str) -> str:
        value = environ.get(name, "").strip()
        if not value:
            hint = f"set {name} to the {what}, where this runs"
            raise InputError(f"sink {sink.name!r}: the environment has no {name}", hint=hint)
        if not value.isascii() or not value.isprintable():
            raise InputError(f"sink {sink.name!r}: {name} holds what no {what} has", hint="set it anew")
        return value

    url = sink.url if sink.url is not None else variable(sink.url_env or "", "address")
    headers = {header: variable(name, "value of a header") for header, name in sink.headers_env.items()}
    try:
        check_url(url)
    except ValueError:
        raise InputError(
            f"sink {sink.name!r}: {sink.url_env} holds no address of a server",
            hint="it begins with https:// or http://, and has no credentials before the host",
        ) from None
    if sink.kind == "alertmanager":
        url = url.rstrip("/").removesuffix("/api/v2/alerts") + "/api/v2/alerts"
    return Address(url, headers, secret=sink.url_env is not None or bool(headers))


def post(sink: Sink, address: Address, body: Any, key: str, pause_s: float = 1.0) -> None:
    """Post JSON; where the server is busy or away, again after a pause, at most `sink.retries` times.

    Parameters
    ----------
    sink : Sink
        ``timeout_s`` and ``retries``.
    address : Address
        From `address_of`.
    body : object
        What JSON can hold.
    key : str
        Sent as ``Idempotency-Key``: the same for the same message.
    pause_s : float
        Before the second try; doubled each time, or what the server asks for, up to 30 s.

    Raises
    ------
    NotDelivered
        The server refused, or gave no answer.
    """
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    sent = {"Content-Type": "application/json", "User-Agent": "finops-lab", "Idempotency-Key": key}
    request = Request(address.url, data=data, headers=sent | address.headers, method="POST")
    others = False
    opener, pause = _opener(address.url), pause_s
    for attempt in range(sink.retries + 1):
        if attempt:
            time.sleep(min(pause, _LONGEST_PAUSE_S))
        pause = pause_s * 2**attempt
        try:
            # What it answers besides is of no interest, and may never end.
            opener.open(request, timeout=sink.timeout_s).close()
            return
        except HTTPError as error:
            told = _words(error)
            asked = error.headers.get("Retry-After") or ""
            pause = float(asked) if asked.isdecimal() else pause
            said, again = _refusal(error.code, told, address), error.code in _AGAIN
            others = error.code in _THIS_ONE
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, URLError) else error
            late = isinstance(reason, TimeoutError)
            words = getattr(reason, "strerror", None) or type(reason).__name__
            said = f"no answer in {sink.timeout_s:g} s" if late else f"cannot be reached: {words}"
            again, others = True, False
        if not again:
            break
    tries = f" ({attempt + 1} tries)" if attempt else ""
    raise NotDelivered(f"{said}{tries}", others=others)


def _words(error: HTTPError) -> bytes:
    with error:
        try:
            return error.read(_SAID) if error.code >= 400 else b""
        except (OSError, http.client.HTTPException):
            return b""


def _refusal(code: int, told: bytes, address: Address) -> str:
    if 300 <= code < 400:
        return f"answers with a redirect (HTTP {code}), which is not followed"
    if code in (401, 403):
        return f"refuses access (HTTP {code})"
    # A page of a server may repeat the address that it was asked by.
    words = "" if address.secret else told.decode(errors="replace").strip()
    return printable(f"answers with HTTP {code}{f': {words}' if words else ''}").replace("\n", " ")


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow none: an alert is for the server that was named."""


def _opener(url: str) -> OpenerDirector:
    host = urlsplit(url).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    # A proxy cannot reach this machine's own servers.
    return build_opener(_NoRedirect, ProxyHandler({})) if local else build_opener(_NoRedirect)
