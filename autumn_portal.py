# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Open an Autumn customer's Stripe billing portal, with the standard library alone.

    from autumn_portal import OpenCustomerPortalParams, open_customer_portal

    params = OpenCustomerPortalParams(
        customer_id="cus_123",  # from your session, never from the browser
        return_url="https://app.example.com/billing",
    )
    response = open_customer_portal(params)  # the key is in AUTUMN_SECRET_KEY
    # Redirect the browser to response.url with a 303. Do not log it: whoever
    # holds it is the customer.

Whatever goes wrong is an AutumnError: AutumnValidationError for a bad value,
AutumnAPIError for an answer without a portal in it, AutumnConnectionError for no
whole answer, and AutumnTimeoutError, one of those, for none in time.

build_request() and parse_response() are the same call without the network, for
use around another HTTP client. From a shell:

    AUTUMN_SECRET_KEY=am_sk_... python3 autumn_portal.py cus_123

The file is made to be copied: Python 3.9 or later, no dependencies, no other file. To
update a copy, compare __version__ and replace the file. What __all__ lists is stable;
the wording of messages is not.
"""

import copy
import http.client
import io
import ipaddress
import json
import os
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, Optional, Union, cast

__version__ = "1.1.0"

__all__ = [
    "API_VERSION",
    "DEFAULT_SERVER_URL",
    "AutumnAPIError",
    "AutumnConnectionError",
    "AutumnError",
    "AutumnTimeoutError",
    "AutumnValidationError",
    "OpenCustomerPortalParams",
    "OpenCustomerPortalResponse",
    "__version__",
    "build_request",
    "open_customer_portal",
    "parse_response",
]

API_VERSION = "2.2.0"
"""The x-api-version sent: an old one, as a server refuses those newer than itself."""

DEFAULT_SERVER_URL = "https://api.useautumn.com"
"""Autumn's own server."""

_PATH = "/v1/billing.open_customer_portal"
_MAX_TIMEOUT = 86_400  # seconds: a day
_MAX_ID = 1024  # characters; Autumn sets no limit, and longer ones are mistakes
_MAX_URL = 8192  # characters
_MAX_BODY = 1_048_576  # bytes: 1 MiB; Autumn's answers have some 150
_MAX_HEAD = 40_960  # bytes: 32 KiB of head, and 8 KiB of body read ahead with it
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_MAX_BRACKETS = 500  # in a body that is JSON
_TRANSIENT_STATUSES = frozenset({429, 500, 502, 503, 504})
_FIRST_BACKOFF = 0.25  # seconds; doubles with each retry
_CLOCK_TICK = 0.016  # seconds: how coarse time.monotonic() is on Windows before 3.13

# The wire's names, which are the fields' own, and those of the TypeScript type.
_TYPESCRIPT_NAMES = {
    "customer_id": "customerId",
    "configuration_id": "configurationId",
    "return_url": "returnUrl",
}

# An allow-list, because browsers and urlsplit() disagree on what the host of many
# other URLs is. The scheme is spelled out: re.IGNORECASE takes U+017F for an "s".
_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[!$-;=@-\[\]-~]*)?)"  # visible ASCII but " # < > ? \
    r"(?P<tail>(?:[?#][!#-;=?-~]*)?)"  # visible ASCII but " < >
)


class AutumnError(Exception):
    """Base of every error of this module; its str() is one printable line."""

    def __str__(self) -> str:
        return _one_line(super().__str__(), 500)


class AutumnValidationError(AutumnError, ValueError):
    """A value was refused before anything was sent.

    Attributes:
        field: The Python name of the refused parameter. For a name that from_dict()
            does not know, that name as ascii() shows it.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field

    def __str__(self) -> str:
        return _one_line(f"{self.field}: {self.args[1]}", 500)


class AutumnAPIError(AutumnError):
    """The server answered with something other than a portal.

    Attributes:
        status: The HTTP status, 200 too if the answer could not be used.
        message: What the server said, or why its 200 could not be used; one printable
            line of at most 400 characters.
        code: Autumn's error code, such as "customer_not_found", of at most 64
            characters; None if the answer had none.
        retry_after: Seconds to wait before another attempt, from the Retry-After
            header (RFC 9110, section 10.2.3); None without one in whole seconds.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: Optional[str] = None,
        retry_after: Optional[int] = None,
    ) -> None:
        self.status = status
        self.message = _one_line(message, 400)
        self.code = (_one_line(code, 64) or None) if code else None
        self.retry_after = retry_after
        super().__init__(status, self.message, self.code, retry_after)

    def __str__(self) -> str:
        code = f" {self.code}" if self.code else ""
        return _one_line(f"{self.status}{code}: {self.message}", 500)


class AutumnConnectionError(AutumnError):
    """No whole answer came: the connection failed, broke or did not speak HTTP."""


class AutumnTimeoutError(AutumnConnectionError, TimeoutError):
    """The time allowed for the call ran out before a whole answer came."""


@dataclass(frozen=True)
class OpenCustomerPortalParams:
    """Whose portal to open, and how: OpenCustomerPortalParams of @useautumn/sdk.

    Attributes:
        customer_id: The ID of the customer to open the billing portal for: 1 to 1024
            visible ASCII characters. Autumn's rule for new IDs is narrower, but has
            changed; customers with older IDs exist.
        configuration_id: Stripe billing portal configuration ID, created in the
            Stripe dashboard: 1 to 1024 visible ASCII characters. None for Stripe's
            default configuration.
        return_url: http or https URL that the portal's back button leads to. None
            for the organisation's success URL, by default https://useautumn.com.

    Raises:
        AutumnValidationError: A value is not of that form.
    """

    customer_id: str
    """The ID of the customer to open the billing portal for."""

    configuration_id: Optional[str] = None
    """Stripe billing portal configuration ID; None for Stripe's default."""

    return_url: Optional[str] = None
    """URL that the portal's back button leads to; None for the organisation's."""

    def __post_init__(self) -> None:
        _check_id("customer_id", self.customer_id)
        if self.configuration_id is not None:
            _check_id("configuration_id", self.configuration_id)
        if self.return_url is not None:
            _check_url("return_url", self.return_url)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are set under the TypeScript type's names.

        This is not the body of the request: the wire has names in snake_case.
        """
        return {
            theirs: getattr(self, ours)
            for ours, theirs in _TYPESCRIPT_NAMES.items()
            if getattr(self, ours) is not None
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "OpenCustomerPortalParams":
        """Make params from the TypeScript type's names; the inverse of to_dict().

        Args:
            mapping: customerId, and optionally configurationId and returnUrl. A value
                of None counts as absent.

        Raises:
            AutumnValidationError: A name is unknown, customerId is missing, or a value
                is not valid.
        """
        _check_type("params", mapping, Mapping, "a mapping")
        for name in mapping:
            if name not in _TYPESCRIPT_NAMES.values():
                known = ", ".join(_TYPESCRIPT_NAMES.values())
                raise AutumnValidationError(
                    _one_line(ascii(name), 100), f"expected one of {known}"
                )
        values: dict[str, Any] = {
            ours: mapping.get(theirs) for ours, theirs in _TYPESCRIPT_NAMES.items()
        }
        return cls(**values)


@dataclass(frozen=True)
class OpenCustomerPortalResponse:
    """An open portal.

    Attributes:
        customer_id: The customer's ID as your application knows it, which need not be
            the one sent; None for a customer who has only Autumn's internal ID. Any
            str, since the portal is open whatever the ID looks like.
        url: The https URL of the portal session. A short-lived credential, so repr()
            leaves it out: redirect the customer to it, keep it out of logs.

    Raises:
        AutumnValidationError: A value is not of that form.
    """

    customer_id: Optional[str]
    """The customer's ID as your application knows it; None if there is none."""

    url: str = field(repr=False)
    """The https URL of the portal session: a credential."""

    def __post_init__(self) -> None:
        if self.customer_id is not None:
            _check_type("customer_id", self.customer_id, str, "a str or None")
        if _check_url("url", self.url)["scheme"].lower() != "https":
            raise AutumnValidationError("url", "expected an https URL; got an http one")

    def to_dict(self) -> dict[str, Optional[str]]:
        """Return both fields under the TypeScript type's names."""
        return {"customerId": self.customer_id, "url": self.url}


def build_request(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: str = DEFAULT_SERVER_URL,
    allow_http: bool = False,
) -> urllib.request.Request:
    """Build the request that opens a portal; nothing is sent.

    To send it with another HTTP client, take its method, full_url, header_items() and
    data, leave redirects off, and give the answer to parse_response().

    Args:
        params: Whose portal to open, and how.
        secret_key: Autumn secret key (am_sk_...). None reads the environment variable
            AUTUMN_SECRET_KEY.
        server_url: Where Autumn runs, without the /v1. https; http only for localhost,
            127.0.0.0/8 and [::1], since the key travels in the request.
        allow_http: Whether server_url may be http for any host: for a self-hosted
            Autumn on a network that you trust, which sees the key.

    Returns:
        The request, its key in a header that urllib does not send on to a redirect.

    Raises:
        AutumnValidationError: An argument is not valid, or there is no key.
    """
    expected = "an OpenCustomerPortalParams of this module"
    _check_type("params", params, OpenCustomerPortalParams, expected)
    _check_server_url(server_url, allow_http)
    key = _find_key(secret_key)
    body = {name: getattr(params, name) for name in _TYPESCRIPT_NAMES}
    request = urllib.request.Request(
        server_url.rstrip("/") + _PATH,
        # Autumn refuses null: an absent optional is left out.
        data=json.dumps({k: v for k, v in body.items() if v is not None}).encode(),
        headers={
            "Accept": "application/json",
            "Content-Type": "application/json",
            # Cloudflare answers urllib's own with 403, "error code: 1010".
            "User-Agent": f"autumn-portal/{__version__}",
            "X-Api-Version": API_VERSION,
        },
        method="POST",
    )
    request.add_unredirected_header("Authorization", "Bearer " + key)
    return request


def parse_response(
    status: int,
    headers: Union[Mapping[str, str], http.client.HTTPMessage],
    body: Union[bytes, bytearray, memoryview],
) -> OpenCustomerPortalResponse:
    """Turn an HTTP response into a portal, or raise AutumnAPIError.

    Args:
        status: The response's HTTP status.
        headers: The response's headers, their names in any case. A header that is not
            a str counts as absent.
        body: The response's body, decompressed if it was compressed.

    Raises:
        AutumnAPIError: The response is not a 200 with a portal in it.
        AutumnValidationError: An argument is of another type.
    """
    _check_type("status", status, int, "an int")
    mappings = (Mapping, http.client.HTTPMessage)
    _check_type("headers", headers, mappings, "a mapping or an HTTPMessage")
    _check_type("body", body, (bytes, bytearray, memoryview), "bytes")
    body = bytes(body)
    text = body.removeprefix(_BYTE_ORDER_MARK)
    fields = _parse_json_object(text)
    if status == 200:
        if len(body) > _MAX_BODY:
            problem = "it is over 1 MiB"
        elif fields is None:
            problem = f"no JSON object, or one with over {_MAX_BRACKETS} brackets"
        else:
            portal: dict[str, Any] = {
                name: fields.get(name) for name in ("customer_id", "url")
            }
            try:
                return OpenCustomerPortalResponse(**portal)
            except AutumnValidationError as exc:
                problem = str(exc)
        # Never quote the body: it may contain the portal URL.
        raise AutumnAPIError(status, f"the response cannot be used: {problem}")

    # Nor any other 2xx's: it may be a portal cut short.
    if fields is None and not 200 <= status < 300:
        fields = {"message": text.decode(errors="replace")}
    fields = fields or {}
    message, code = fields.get("message"), fields.get("code")
    message = _one_line(message, 400) if isinstance(message, str) else ""
    message = message or "the response has no message"
    if 300 <= status < 400:
        message = f"redirects are not followed: {message}"
    code = code if isinstance(code, str) else None
    raise AutumnAPIError(status, message, code, _parse_retry_after(headers))


def open_customer_portal(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: str = DEFAULT_SERVER_URL,
    timeout: float = 10.0,
    max_retries: int = 2,
    context: Any = None,
    allow_http: bool = False,
) -> OpenCustomerPortalResponse:
    """Open a customer's billing portal. Safe to call from many threads at once.

    Each call makes a new portal session, so calling again does no harm. Redirects are
    not followed. Proxy variables are honoured for https, but not for a server on
    loopback.

    Args:
        params: Whose portal to open, and how.
        secret_key: Autumn secret key (am_sk_...). None reads the environment variable
            AUTUMN_SECRET_KEY.
        server_url: Where Autumn runs, without the /v1. https; http only for localhost,
            127.0.0.0/8 and [::1], since the key travels in the request.
        timeout: Seconds for the whole call, retries and waits between them included:
            above 0, at most 86,400. Only name resolution is not bounded by it.
        max_retries: How many more attempts may follow a failed connection or a status
            429, 500, 502, 503 or 504; 0 for none.
        context: An ssl.SSLContext, such as one with a private CA. None for the
            system's CAs, read once per process.
        allow_http: Whether server_url may be http for any host: for a self-hosted
            Autumn on a network that you trust, which sees the key.

    Raises:
        AutumnValidationError: An argument is not valid, or there is no key.
        AutumnAPIError: The server answered with something other than a portal.
        AutumnConnectionError: No whole answer came.
        AutumnTimeoutError: No whole answer came in time.
    """
    request = build_request(
        params, secret_key=secret_key, server_url=server_url, allow_http=allow_http
    )
    _check_options(timeout, max_retries, context)
    deadline = time.monotonic() + timeout
    attempts = 0
    while True:
        attempts += 1
        # A deep copy, because ProxyHandler writes the proxy's address and password into
        # the request and its headers. Neither may reach the next attempt.
        sent = copy.deepcopy(request)
        error: AutumnError
        try:
            return parse_response(*_exchange(sent, deadline, context))
        except AutumnAPIError as exc:
            error, transient = exc, exc.status in _TRANSIENT_STATUSES
        except _EXCHANGE_EXCEPTIONS as exc:
            source = _describe_source(request, sent, attempts)
            error, transient = _explain_exception(exc, source, deadline)
        wait = _draw_wait(attempts, error)
        # Raised outside `except`, so that __context__ cannot keep a hidden exception.
        if (
            not transient
            or attempts > max_retries
            or time.monotonic() + wait >= deadline
        ):
            raise error
        _log_retry(attempts, error, wait)
        time.sleep(wait)


# Public so far; what follows is private.


def _refusal(field: str, expected: str, value: object) -> AutumnValidationError:
    """The error for a value that is not what was expected; it tells only its kind."""
    if value is None:
        kind = "None"
    elif isinstance(value, str) and not value:
        kind = "an empty str"
    elif isinstance(value, str):
        visible = "" if _is_visible_ascii(value) else ", not all of it visible ASCII"
        kind = f"a str of length {len(value)}{visible}"
    else:
        kind = f"a value of type {type(value).__name__}"
    return AutumnValidationError(field, f"expected {expected}; got {kind}")


def _is_visible_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _check_type(field: str, value: object, types: Any, expected: str) -> None:
    # A bool is an int, but no status, no number of seconds and no number of retries.
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise _refusal(field, expected, value)


def _check_id(field: str, value: object) -> None:
    if not (
        isinstance(value, str)
        and 1 <= len(value) <= _MAX_ID
        and _is_visible_ascii(value)
    ):
        expected = f"a str of 1 to {_MAX_ID} visible ASCII characters"
        raise _refusal(field, expected, value)


def _check_url(field: str, value: object) -> re.Match[str]:
    """Match a URL that every browser and library reads alike, or refuse it."""
    expected = "an http or https URL such as https://app.example.com/billing"
    if not isinstance(value, str) or not value:
        raise _refusal(field, expected, value)
    match = _match_url(value)
    if match is None:
        problem = f"expected {expected}; got {_explain_url_refusal(value)}"
        raise AutumnValidationError(field, problem)
    return match


def _match_url(url: str) -> Optional[re.Match[str]]:
    match = _URL.fullmatch(url) if len(url) <= _MAX_URL else None
    if match and int(match["port"] or 0) <= 65535 and _is_host(match["host"]):
        return match
    return None


def _is_host(host: str) -> bool:
    """Tell whether a host that _URL let in is a name, or an address written plainly."""
    last_label = host.rstrip(".").rpartition(".")[2].lower()
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif last_label.isdigit() or (
            last_label.startswith("0x") and not last_label[2:].strip("0123456789abcdef")
        ):
            # Python 3.9.2 reads 010.0.0.1 as 10.0.0.1, and browsers as 8.0.0.1.
            return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
    return True


def _explain_url_refusal(url: str) -> str:
    """Say which rule a URL breaks that _match_url() refused, without quoting it."""
    if len(url) > _MAX_URL:
        return f"more than {_MAX_URL} characters"
    scheme = re.match("[Hh][Tt][Tt][Pp][Ss]?://", url)
    before_query = re.split("[?#]", url[scheme.end() :] if scheme else "")[0]
    authority = before_query.partition("/")[0]
    if any(char < " " or char == "\x7f" for char in url):
        return "a control character"
    if " " in url:
        return "a space"
    if not url.isascii():
        return (
            "a character beyond ASCII: write a host in punycode, and percent-encode"
            " the rest"
        )
    if not scheme:
        return "no http or https scheme followed by ://"
    if "@" in authority:
        return "a user name"
    if "\\" in before_query:
        return "a backslash"
    if any(char in url for char in '"<>'):
        return "a quote or angle bracket"
    # All that is left is the host and the port, and the host alone may be good.
    if _match_url("https://" + authority.rpartition(":")[0]):
        return "a bad port"
    return "a bad host"


def _check_server_url(server_url: object, allow_http: object) -> None:
    _check_type("allow_http", allow_http, bool, "a bool")
    match = _check_url("server_url", server_url)
    if not (
        match["scheme"].lower() == "https" or allow_http or _is_loopback(match.string)
    ):
        problem = (
            "expected https, since the key travels in the request; got http to another"
            " host than localhost, 127.0.0.0/8 or [::1], which needs allow_http=True"
            " (--allow-http) and a network that you trust"
        )
    elif match["tail"]:
        problem = "expected no query and no fragment; got one"
    elif match["path"].rstrip("/").endswith("/v1"):
        problem = "expected the URL without /v1, which is added; got it with /v1"
    else:
        return
    raise AutumnValidationError("server_url", problem)


def _is_loopback(url: str) -> bool:
    """Tell whether the host of a URL that _match_url() let in is this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    in_127 = host.startswith("127.") and not host.strip("0123456789.")
    return in_127 or host in ("localhost", "::1")


def _find_key(secret_key: object) -> str:
    """Return the key given, else the environment's; no message tells any of it."""
    where = ""
    if secret_key is None:
        secret_key = os.environ.get("AUTUMN_SECRET_KEY")
        where = " in AUTUMN_SECRET_KEY"
    if secret_key is None:
        problem = "expected a key; got none, and AUTUMN_SECRET_KEY is not set"
    elif not isinstance(secret_key, str):
        problem = f"expected a str; got a value of type {type(secret_key).__name__}"
    elif not secret_key:
        problem = f"expected a key; got an empty str{where}"
    elif secret_key.endswith(("\n", "\r")):
        problem = f"expected visible ASCII; got a trailing newline{where}: strip it"
    elif not _is_visible_ascii(secret_key):
        problem = f"expected visible ASCII; got other characters{where}"
    elif secret_key.startswith("am_pk"):
        problem = f"expected a secret key (am_sk...); got a publishable one{where}"
    else:
        return secret_key
    raise AutumnValidationError("secret_key", problem)


def _check_options(timeout: Any, max_retries: Any, context: object) -> None:
    expected = f"seconds above 0 and at most {_MAX_TIMEOUT}, int or float"
    _check_type("timeout", timeout, (int, float), expected)
    if not 0 < timeout <= _MAX_TIMEOUT:
        raise _refusal("timeout", expected, timeout)
    _check_type("max_retries", max_retries, int, "an int of 0 or more")
    if max_retries < 0:
        raise _refusal("max_retries", "an int of 0 or more", max_retries)
    # Not isinstance(): gevent, eventlet and truststore replace ssl.SSLContext, so that a
    # context made before is no instance of it.
    wraps = callable(getattr(type(context), "wrap_socket", None))
    if context is not None and not wraps:
        raise _refusal("context", "an ssl.SSLContext or None", context)


def _exchange(
    request: urllib.request.Request, deadline: float, context: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request, and read the response: its status, headers and body."""
    # With these handlers alone, no redirect is followed and no status raises.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_DeadlineHandler(deadline, context))
    # A proxy would see the key in plain http; over https it sees only encrypted traffic.
    if request.type == "https" and not _is_loopback(request.full_url):
        opener.add_handler(urllib.request.ProxyHandler())
    with opener.open(request) as response:
        body = b""
        while len(body) <= _MAX_BODY and (piece := response.read(65_536)):
            body += piece
        if len(body) <= _MAX_BODY and response.length:  # the bytes still missing
            raise _BrokenResponseError("the response broke off")
        return response.status, response.headers, body


class _DeadlineHandler(urllib.request.AbstractHTTPHandler):
    """urllib's handler of http and https, with one deadline for the whole exchange."""

    def __init__(self, deadline: float, context: Any) -> None:
        # Others may have raised http.client's debug level, whose output has the key.
        super().__init__(debuglevel=0)
        self._deadline = deadline
        self._context = context

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self._open(http.client.HTTPConnection, request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        if not hasattr(http.client, "HTTPSConnection"):
            raise RuntimeError("TLS is missing: this Python has no ssl module")
        context = _default_context() if self._context is None else self._context
        return self._open(http.client.HTTPSConnection, request, context=context)

    def _open(
        self, connection_class: Any, request: urllib.request.Request, **options: Any
    ) -> http.client.HTTPResponse:
        def make_connection(host: str, **more: Any) -> Any:
            connection = connection_class(host, **more)
            connection._create_connection = self._connect
            connection.response_class = partial(_BoundedResponse, self._deadline)
            return connection

        return self.do_open(make_connection, request, **options)

    def _connect(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Connect to the first address of a host that accepts.

        Each address gets an equal share of the time left, so that one that never
        responds leaves time for the next. socket.create_connection() would give each
        all of it.
        """
        error = OSError("the host name has no address")
        # Positional, as socket.create_connection() calls it: people replace both.
        infos: list[Any] = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
        for number, info in enumerate(infos):
            host, port, *ipv6 = info[4]
            if any(ipv6[1:]):  # the scope of a link-local address
                host = f"{host}%{ipv6[1]}"
            try:
                share = _time_left(self._deadline) / (len(infos) - number)
                connection = socket.create_connection((host, port), share)
            except OSError as exc:
                error = exc
            else:
                # For CONNECT or the TLS handshake: all the time left, but never 0,
                # which would mean not to wait.
                left = self._deadline - time.monotonic()
                connection.settimeout(max(left, 0.001))
                return connection
        raise error


class _BoundedResponse(http.client.HTTPResponse):
    """A response that is read before the deadline, and only up to a size."""

    def __init__(self, deadline: float, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self._stream = _BoundedStream(self.fp.detach(), sock, deadline)
        # 8192 is Python 3.13's default. What is read ahead counts as headers.
        self.fp = io.BufferedReader(self._stream, 8192)

    def begin(self) -> None:
        """Read the status and headers, past interim responses such as 103.

        http.client passes over 100 alone, and takes headers that are cut short for
        whole.
        """
        super().begin()
        while 102 <= self.status < 200:
            self.headers: Any = None  # else http.client takes the response for read
            super().begin()
        if self._stream.ended:
            raise _BrokenResponseError("the response broke off")
        self._stream.budget = 2 * _MAX_BODY  # twice, for the chunks' own lines


class _BoundedStream(io.RawIOBase):
    """What a socket receives, until the deadline or a limit is reached.

    A socket's timeout bounds one wait: a server that sends a byte now and then never
    meets it. The limit is there for headers that take seconds to parse, and for a chunk
    of size -1, with which http.client reads all that the server sends.

    Attributes:
        budget: How many more bytes may come.
        ended: Whether the server has closed its side.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self.budget = _MAX_HEAD
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_time_left(self._deadline))
        count: int = self._raw.readinto(buffer)  # with a timeout, it is never None
        # Anew, for the TLS handshake that follows a proxy's response to CONNECT.
        self._sock.settimeout(_time_left(self._deadline))
        self.ended = count == 0
        self.budget -= count
        if self.budget < 0:
            raise _BrokenResponseError("the response is too long")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _BrokenResponseError(http.client.HTTPException):
    """A response broke off or is too long; the text is ours, and shows nothing of it."""


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


# Without a lock: one that is held while another thread forks would hang the child. First
# calls that race may each make a context, and that does no harm.
@cache
def _default_context() -> Any:
    """Return the process's one TLS context; making it costs more than a call."""
    import ssl

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


# All that urllib, http.client, ssl and the platforms below them raise. Not Exception:
# others must pass, such as Celery's SoftTimeLimitExceeded, raised by a signal handler.
_EXCHANGE_EXCEPTIONS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,  # an error under -W error, and raised for some headers
    http.client.HTTPException,
)


def _explain_exception(
    exc: Exception, source: str, deadline: float
) -> tuple[AutumnConnectionError, bool]:
    """Return the error that an exception becomes, and whether a retry may help."""
    # urllib wraps what fails before the response.
    if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, Exception):
        exc = exc.reason
    # Python 3.9's socket.timeout is no TimeoutError. A platform's own timeout, such as
    # ETIMEDOUT, may come early: that is a failed connection like any other.
    timed_out = isinstance(exc, (TimeoutError, socket.timeout))
    if timed_out and time.monotonic() >= deadline - _CLOCK_TICK:
        error: AutumnConnectionError = AutumnTimeoutError(
            f"no response in time {source}"
        )
        error.__cause__ = exc
        return error, False

    # An unverified certificate is a ValueError too. Of other ValueErrors, and of
    # TypeErrors and the like, a second attempt would make as many.
    transient = isinstance(exc, (OSError, http.client.HTTPException)) and not (
        isinstance(exc, (ValueError, http.client.InvalidURL))
    )
    shown = isinstance(exc, (ImportError, OSError, RuntimeError, _BrokenResponseError))
    if shown:
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    else:
        reason = _locate(exc)
    error = AutumnConnectionError(f"no response {source}: {reason}")
    error.__cause__ = exc if shown else None
    return error, transient


def _locate(exc: Exception) -> str:
    """Name an exception by type, file and line: its text may quote the response."""
    name = place = type(exc).__name__
    step = exc.__traceback__
    while step:
        file = os.path.basename(step.tb_frame.f_code.co_filename)
        place = f"{name} at {file}:{step.tb_lineno}"
        step = step.tb_next
    return place


def _describe_source(
    request: urllib.request.Request, sent: urllib.request.Request, attempts: int
) -> str:
    """Name the server, the proxy if there is one, and the number of attempts."""
    source = _one_line(f"from {request.type}://{request.host}", 200)
    if sent.host != request.host:  # then ProxyHandler has put in the proxy's
        match = _match_url(f"http://{sent.host}")
        is_host = match and not match["path"] + match["tail"]
        source += " through " + (
            _one_line(f"the proxy {sent.host}", 100) if is_host else "a proxy"
        )
    return f"{source}, {attempts} attempt{'' if attempts == 1 else 's'}"


def _draw_wait(attempts: int, error: AutumnError) -> float:
    """Draw the seconds to wait, at random, so that callers do not retry in step."""
    import random

    backoff = _FIRST_BACKOFF * 2.0 ** (attempts - 1) * random.uniform(0.5, 1)
    return backoff + (getattr(error, "retry_after", None) or 0)


def _log_retry(attempts: int, error: AutumnError, wait: float) -> None:
    # Nobody who has not imported logging sees the line. An import here could also hang
    # a child that another thread forks meanwhile.
    if "logging" not in sys.modules:
        return
    import logging

    # Of the error only what no server can word: its text may quote the answer.
    status = f"status {error.status}" if isinstance(error, AutumnAPIError) else None
    logging.getLogger(__name__).info(
        "Attempt %d to open a portal failed (%s), the next is in %.2f s",
        attempts,
        status or "no response",
        wait,
    )


def _parse_json_object(text: bytes) -> Optional[dict[str, Any]]:
    """Return the JSON object that a text is, None for any other text.

    No exception gets out: json's own holds the body, and the body a credential.
    """
    # JSON nested deep is a RecursionError, but ends CPython in WebAssembly (seen with
    # 4,000 levels) and in threads with small stacks. Autumn's answers have one level.
    if text.count(b"[") + text.count(b"{") > _MAX_BRACKETS:
        return None
    try:
        # float(), as no number is used: int() takes seconds over a megabyte of digits,
        # or refuses them, which would spoil a good portal.
        value: Any = json.loads(text.decode(), parse_int=float)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _parse_retry_after(headers: Any) -> Optional[int]:
    for name, value in headers.items():
        if (
            isinstance(name, str)
            and name.lower() == "retry-after"
            and isinstance(value, str)
            and value.isascii()
            and value.isdigit()
            and len(value) <= 9
        ):
            return int(value)
    return None


def _one_line(text: str, limit: int) -> str:
    """Make one printable line of a text, and cut it to a number of characters."""
    line = " ".join(text[: 20 * limit].split())  # of 1 MiB, split() makes 20
    line = line if len(line) <= limit else line[: limit - 3] + "..."
    return "".join(char if char.isprintable() else "?" for char in line)


def _main() -> int:
    """Print a portal URL; return 1 if there is none, 2 for bad usage."""
    import argparse

    parser = argparse.ArgumentParser(
        description="Print the URL of a new Stripe billing portal session for an"
        " Autumn customer. The secret key is read from AUTUMN_SECRET_KEY.",
        allow_abbrev=False,
    )
    parser.add_argument("customer_id", help="the customer's ID, such as cus_123")
    parser.add_argument(
        "--configuration-id", metavar="ID", help="Stripe portal configuration"
    )
    parser.add_argument(
        "--return-url", metavar="URL", help="where the portal's back button leads"
    )
    parser.add_argument("--server-url", metavar="URL", default=DEFAULT_SERVER_URL)
    parser.add_argument(
        "--allow-http", action="store_true", help="send the key over plain http"
    )
    parser.add_argument("--timeout", metavar="SECONDS", default="10")
    parser.add_argument(
        "--version", action="version", version=f"autumn_portal {__version__}"
    )
    # The key is no argument, for arguments show in process lists; and no message is to
    # show it, as argparse's would.
    if any(re.search("(?<![A-Za-z0-9])am_sk_", given) for given in sys.argv[1:]):
        parser.error("the key goes into AUTUMN_SECRET_KEY, not into an argument")
    args, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"unknown arguments: {len(unknown)}")
    try:
        params = OpenCustomerPortalParams(
            args.customer_id, args.configuration_id, args.return_url
        )
        response = open_customer_portal(
            params,
            server_url=args.server_url,
            timeout=_parse_seconds(args.timeout),
            allow_http=args.allow_http,
        )
    except AutumnError as exc:
        print(f"autumn_portal: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, AutumnValidationError) else 1
    print(response.url)
    return 0


def _parse_seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _refusal("timeout", "a number of seconds", text) from None


if __name__ == "__main__":
    sys.exit(_main())
