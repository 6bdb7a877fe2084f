# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Open an Autumn customer's Stripe billing portal, with the standard library alone.

    from autumn_portal import OpenCustomerPortalParams, open_customer_portal

    params = OpenCustomerPortalParams(
        customer_id="cus_123",  # from your session, never from the browser
        return_url="https://app.example.com/billing",
    )
    portal = open_customer_portal(params)  # reads the key from AUTUMN_SECRET_KEY
    # Redirect the browser to portal.url with a 303. Do not log the URL: whoever has
    # it can use the portal as this customer.

Every failure of a call is an AutumnError: AutumnValidationError for a bad value,
AutumnAPIError for a response without a portal, AutumnConnectionError if no complete
response came, and its subclass AutumnTimeoutError if none came in time.

build_request() and parse_response() are the two halves of a call without the network,
for use with another HTTP client. From a shell:

    AUTUMN_SECRET_KEY=am_sk_... python3 autumn_portal.py cus_123

This file is made to be copied, and needs only Python 3.9 or later. To update a copy,
compare __version__ and replace the file. The names in __all__ are stable; the wording
of messages is not.
"""

import copy
import dataclasses
import http.client
import io
import ipaddress
import json
import os
import random
import re
import socket
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
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
"""The x-api-version. Old on purpose: a server rejects versions newer than its own."""

DEFAULT_SERVER_URL = "https://api.useautumn.com"
"""Autumn's own server."""

_MAX_ID = 1024  # characters; Autumn has no limit, so this only catches mistakes
_MAX_URL = 8192  # characters
_MAX_TIMEOUT = 86_400  # seconds: a day
_MAX_BODY = 1_048_576  # bytes: 1 MiB; a normal response has about 150
_MAX_BRACKETS = 500  # in a JSON body; see _parse_json_object()
_READ_AHEAD = 8192  # bytes that may be read before they are needed
_MAX_HEADERS = 32_768 + _READ_AHEAD  # bytes; the read-ahead may hold some of the body
_RETRIED_STATUSES = frozenset({429, 500, 502, 503, 504})
_FIRST_BACKOFF = 0.25  # seconds; doubles with each retry
_CLOCK_TICK = 0.016  # seconds by which Windows may end a timeout early, up to 3.12

# From the names in Python and in the HTTP API to those of the TypeScript type.
_TYPESCRIPT_NAMES = {
    "customer_id": "customerId",
    "configuration_id": "configurationId",
    "return_url": "returnUrl",
}


class AutumnError(Exception):
    """Base of all errors that this module raises. Its str() is one printable line."""

    def __str__(self) -> str:
        return _one_line(super().__str__(), 500)


class AutumnValidationError(AutumnError, ValueError):
    """A value was refused. open_customer_portal() does so before it sends anything.

    Attributes:
        field: The Python name of the refused parameter. For a name that from_dict()
            does not know, the ascii() of that name.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)  # every argument, for pickle and copy
        self.field = field

    def __str__(self) -> str:
        return _one_line(f"{self.field}: {self.args[1]}", 500)


class AutumnAPIError(AutumnError):
    """The server sent a response without a portal.

    Attributes:
        status: The HTTP status. 200 means that the body could not be used.
        message: The server's message or the start of its body, or what is wrong with
            a 200: one printable line of at most 400 characters.
        code: Autumn's error code, such as "customer_not_found": at most 64 characters.
            None if the response had none.
        retry_after: Seconds to wait before another attempt, from the Retry-After
            header (RFC 9110, section 10.2.3). None if absent or not in whole seconds.
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
    """No complete response came: for example, the connection failed or broke."""


class AutumnTimeoutError(AutumnConnectionError, TimeoutError):
    """No complete response came within the timeout."""


@dataclasses.dataclass(frozen=True)
class OpenCustomerPortalParams:
    """Whose portal to open, and how. The type of this name in @useautumn/sdk.

    Attributes:
        customer_id: The ID of the customer to open the billing portal for: 1 to 1024
            visible ASCII characters. Autumn's rule for new IDs is stricter, but it has
            changed, and customers with older IDs exist.
        configuration_id: Stripe billing portal configuration ID, created in the
            Stripe dashboard: 1 to 1024 visible ASCII characters. None for Stripe's
            default configuration.
        return_url: http or https URL that the portal's back button leads to. None
            for the organisation's success URL, by default https://useautumn.com.

    Raises:
        AutumnValidationError: A value is not valid.
    """

    customer_id: str
    configuration_id: Optional[str] = None
    return_url: Optional[str] = None

    def __post_init__(self) -> None:
        _check_id("customer_id", self.customer_id)
        if self.configuration_id is not None:
            _check_id("configuration_id", self.configuration_id)
        if self.return_url is not None:
            _check_url("return_url", self.return_url)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are not None, by their camelCase names.

        Do not send this: the HTTP API uses snake_case names.
        """
        return {
            typescript_name: getattr(self, name)
            for name, typescript_name in _TYPESCRIPT_NAMES.items()
            if getattr(self, name) is not None
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> "OpenCustomerPortalParams":
        """Make params from a mapping with camelCase names; the inverse of to_dict().

        Args:
            mapping: customerId, and optionally configurationId and returnUrl. A value
                of None counts as absent.

        Raises:
            AutumnValidationError: A name is unknown, or a value is missing or invalid.
        """
        _check_type("params", mapping, Mapping, "a mapping")
        known = _TYPESCRIPT_NAMES.values()
        for name in mapping:
            if name not in known:
                problem = f"expected one of {', '.join(known)}"
                raise AutumnValidationError(_one_line(ascii(name), 100), problem)
        values: dict[str, Any] = {
            name: mapping.get(typescript_name)
            for name, typescript_name in _TYPESCRIPT_NAMES.items()
        }
        return cls(**values)


@dataclasses.dataclass(frozen=True)
class OpenCustomerPortalResponse:
    """A portal session.

    Attributes:
        customer_id: The customer's ID in your application: any str, which may differ
            from the one sent. None for a customer who has only Autumn's internal ID.
        url: The https URL of the portal session. It is a short-lived credential, so
            repr() omits it: redirect the customer to it, and keep it out of logs.

    Raises:
        AutumnValidationError: A value is not valid.
    """

    customer_id: Optional[str]
    url: str = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if self.customer_id is not None:
            _check_type("customer_id", self.customer_id, str, "a str or None")
        if _check_url("url", self.url)["scheme"].lower() != "https":
            raise AutumnValidationError("url", "expected an https URL; got an http one")

    def to_dict(self) -> dict[str, Optional[str]]:
        """Return both fields, by their camelCase names."""
        return {"customerId": self.customer_id, "url": self.url}


def build_request(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: str = DEFAULT_SERVER_URL,
    allow_http: bool = False,
) -> urllib.request.Request:
    """Build the request that opens a portal, without sending it.

    To send it with another HTTP client, use its get_method(), full_url, header_items()
    and data. Turn redirects off, and pass the response to parse_response().

    Args:
        params, secret_key, server_url, allow_http: As in open_customer_portal().

    Returns:
        The request, with the key in a header that urllib does not send to a redirect.

    Raises:
        AutumnValidationError: An argument is not valid, or there is no key.
    """
    expected = "an OpenCustomerPortalParams of this module"
    _check_type("params", params, OpenCustomerPortalParams, expected)
    _check_server_url(server_url, allow_http)
    key = _get_secret_key(secret_key)
    fields = {name: getattr(params, name) for name in _TYPESCRIPT_NAMES}
    # Autumn rejects null, so leave absent fields out.
    fields = {name: value for name, value in fields.items() if value is not None}
    request = urllib.request.Request(
        server_url.rstrip("/") + "/v1/billing.open_customer_portal",
        data=json.dumps(fields).encode(),
        headers={
            "Accept": "application/json",
            "Content-Type": "application/json",
            # Cloudflare rejects urllib's default with 403, "error code: 1010".
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
        status: The HTTP status.
        headers: The headers, with names in any case. Any that are not str are ignored.
        body: The body, already decompressed.

    Raises:
        AutumnAPIError: The response is not a 200 with a portal.
        AutumnValidationError: An argument has the wrong type.
    """
    _check_type("status", status, int, "an int")
    mappings = (Mapping, http.client.HTTPMessage)
    _check_type("headers", headers, mappings, "a mapping or an HTTPMessage")
    _check_type("body", body, (bytes, bytearray, memoryview), "bytes")
    body = bytes(body)
    content = body.removeprefix(b"\xef\xbb\xbf")  # the byte order mark
    fields = _parse_json_object(content)
    if status == 200:
        if len(body) > _MAX_BODY:
            problem = "it is over 1 MiB"
        elif fields is None:
            problem = f"it is not a JSON object, or has over {_MAX_BRACKETS} brackets"
        else:
            url: Any = fields.get("url")
            try:
                return OpenCustomerPortalResponse(fields.get("customer_id"), url)
            except AutumnValidationError as exc:
                problem = str(exc)
        # Never quote the body: it may contain the portal URL.
        raise AutumnAPIError(status, f"the response cannot be used: {problem}")

    if fields is None:
        # Nor quote another 2xx that is not a JSON object: it may be part of a portal.
        is_2xx = 200 <= status < 300
        fields = {} if is_2xx else {"message": content.decode(errors="replace")}
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
    """Open a customer's billing portal. Thread-safe.

    Each call creates a new portal session, so calling again does no harm. Redirects are
    not followed. https uses the proxy that urllib finds, if any. http and loopback use
    none.

    Args:
        params: Whose portal to open, and how.
        secret_key: Autumn secret key (am_sk_...). None reads the environment variable
            AUTUMN_SECRET_KEY.
        server_url: Where Autumn runs, without the /v1. It must be https, because the
            request carries the key; or http to localhost, 127.0.0.0/8 or [::1].
        timeout: Seconds for the whole call, with its retries and the waits between
            them: above 0 and at most 86,400. Only name resolution may take longer.
        max_retries: How many retries the call may make, after a connection that failed
            or broke or a status 429, 500, 502, 503 or 504. 0 for none.
        context: An ssl.SSLContext, for example with a private CA. None for a context
            with the system's CAs, which is kept for further calls.
        allow_http: Whether server_url may be http to any host. Only for a self-hosted
            Autumn on a network you trust, because the key crosses it unencrypted.

    Raises:
        AutumnValidationError: An argument is not valid, or there is no key.
        AutumnAPIError: The server sent a response without a portal.
        AutumnConnectionError: No complete response came.
        AutumnTimeoutError: No complete response came within the timeout.
    """
    request = build_request(
        params, secret_key=secret_key, server_url=server_url, allow_http=allow_http
    )
    _check_options(timeout, max_retries, context)
    deadline = time.monotonic() + timeout
    attempts = 0
    while True:
        attempts += 1
        # urllib writes a proxy's address and password into a request and its headers.
        # Each attempt has a deep copy, so that neither reaches the next one.
        outgoing = copy.deepcopy(request)
        error: AutumnError
        try:
            return parse_response(*_exchange(outgoing, deadline, context))
        except AutumnAPIError as exc:
            error, may_retry = exc, exc.status in _RETRIED_STATUSES
        except _EXCHANGE_EXCEPTIONS as exc:
            route = _describe_route(request, outgoing.host, attempts)
            error, may_retry = _explain_exception(exc, route, deadline)
        wait = _draw_wait(attempts, error)
        in_time = time.monotonic() + wait < deadline
        if not (may_retry and attempts <= max_retries and in_time):
            # Raised outside `except`. Inside, __context__ would keep an exception that
            # _explain_exception() hides because it may quote the key or the portal URL.
            raise error
        _log_retry(attempts, error, wait)
        time.sleep(wait)


# The public part ends here. Private: the exchange.


def _exchange(
    request: urllib.request.Request, deadline: float, context: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request and return the response's status, headers and body."""
    # Without urllib's other handlers, no redirect is followed and no status is raised.
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_DeadlineHandler(deadline, context))
    # Over http a proxy would see the key. Over https it sees only encrypted traffic.
    if request.type == "https" and not _is_loopback(request.full_url):
        opener.add_handler(urllib.request.ProxyHandler())
    with opener.open(request) as response:
        body = b""
        while len(body) <= _MAX_BODY and (chunk := response.read(65_536)):
            body += chunk
        if len(body) <= _MAX_BODY and response.length:  # the bytes still missing
            raise _BrokenResponseError("the response broke off")
        return response.status, response.headers, body


# A socket's timeout limits each wait, not their sum, so a server that sends a byte now
# and then could keep a call for hours. These three classes limit the whole exchange.
# They use undocumented parts of the standard library, which are the same from Python
# 3.6 to 3.15: AbstractHTTPHandler.do_open(), HTTPConnection._create_connection and
# response_class, and HTTPResponse.begin(), fp, headers and length.


class _DeadlineHandler(urllib.request.AbstractHTTPHandler):
    """Opens http and https URLs, and connects before a deadline."""

    def __init__(self, deadline: float, context: Any) -> None:
        # http.client's debug output shows the key, and may be enabled globally.
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
        def make_connection(host: str, **more_options: Any) -> Any:
            connection = connection_class(host, **more_options)
            connection._create_connection = self._connect
            connection.response_class = partial(_BoundedResponse, self._deadline)
            return connection

        return self.do_open(make_connection, request, **options)

    def _connect(self, address: tuple[str, int], *_: object) -> socket.socket:
        """Try a host's addresses in turn, each for an equal share of the time left."""
        # socket.create_connection() with a name would give all of it to each address.
        error = OSError("the host name has no address")
        # Called as socket.create_connection() calls it, for those who replace it.
        infos: list[Any] = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
        for index, info in enumerate(infos):
            host, port, *ipv6 = info[4]
            if any(ipv6[1:]):  # the scope of a link-local address
                host = f"{host}%{ipv6[1]}"
            try:
                share = _time_left(self._deadline) / (len(infos) - index)
                connection = socket.create_connection((host, port), share)
            except OSError as exc:
                error = exc
            else:
                # CONNECT or the TLS handshake is next, and may take all the time left.
                # Never 0, which would make the socket non-blocking.
                connection.settimeout(max(self._deadline - time.monotonic(), 0.001))
                return connection
        raise error


class _BoundedResponse(http.client.HTTPResponse):
    """Reads a response through a _BoundedStream, and skips interim responses."""

    def __init__(self, deadline: float, sock: socket.socket, **options: Any) -> None:
        super().__init__(sock, **options)
        self._stream = _BoundedStream(self.fp.detach(), sock, deadline)
        self.fp = io.BufferedReader(self._stream, _READ_AHEAD)

    def begin(self) -> None:
        """Read the status and headers of the final response."""
        super().begin()
        while 102 <= self.status < 200:  # http.client itself skips only 100
            self.headers: Any = None  # or begin() would return at once
            super().begin()
        if self._stream.ended:  # http.client accepts headers that break off
            raise _BrokenResponseError("the response broke off")
        self._stream.budget = 2 * _MAX_BODY  # twice, for what chunks add


class _BoundedStream(io.RawIOBase):
    """Reads from a socket, until a deadline and up to a limit.

    Without the limit, http.client would take seconds to parse some megabytes of
    headers, and would read a chunk of size -1 without end.

    Attributes:
        budget: How many more bytes are allowed.
        ended: Whether the server has closed its side.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline
        self.budget = _MAX_HEADERS
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_time_left(self._deadline))
        count: int = self._raw.readinto(buffer)  # never None on a socket with a timeout
        # Set again for the TLS handshake, if this was the response to CONNECT.
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
    """A response broke off or is too long. The text does not quote it."""


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


# This has no lock: a child forked while another thread held one would hang. First calls
# at the same time may each make a context, which does no harm.
@cache
def _default_context() -> Any:
    """Return the process's TLS context. Making it takes more CPU than a whole call."""
    import ssl  # not at the top, because some Pythons have none

    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


# What urllib, http.client, ssl and the platforms below them raise. Not Exception: what
# a signal handler raises must pass, such as Celery's SoftTimeLimitExceeded.
_EXCHANGE_EXCEPTIONS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    Warning,  # malformed headers can cause one, and -W error raises it
    http.client.HTTPException,
)


def _describe_route(request: urllib.request.Request, peer: str, attempts: int) -> str:
    """Name the server, the proxy if there is one, and the number of attempts."""
    route = _one_line(f"from {request.type}://{request.host}", 200)
    if peer != request.host:  # urllib has replaced the host with the proxy's
        match = _match_url(f"http://{peer}")
        is_host = match and not match["path"] + match["query"]
        proxy = _one_line(f"the proxy {peer}", 100) if is_host else "a proxy"
        route += f" through {proxy}"
    return f"{route}, {attempts} attempt{'' if attempts == 1 else 's'}"


def _explain_exception(
    exc: Exception, route: str, deadline: float
) -> tuple[AutumnConnectionError, bool]:
    """Return the error to raise for an exception, and whether to try again."""
    # urllib wraps an OSError from before the response in a URLError.
    if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, Exception):
        exc = exc.reason

    # In Python 3.9, socket.timeout is not a TimeoutError. A timeout before the deadline
    # is the platform's own, such as ETIMEDOUT, and counts as a failed connection.
    is_timeout = isinstance(exc, (TimeoutError, socket.timeout))
    if is_timeout and time.monotonic() >= deadline - _CLOCK_TICK:
        timeout_error = AutumnTimeoutError(f"no complete response in time {route}")
        timeout_error.__cause__ = exc
        return timeout_error, False

    # Do not retry after an unverified certificate, which is an OSError but a ValueError
    # too, nor after a bug on this side, such as a TypeError.
    is_network = isinstance(exc, (OSError, http.client.HTTPException))
    is_permanent = isinstance(exc, (ValueError, http.client.InvalidURL))

    # The text of these is safe to show. Others may quote the response or the key.
    if isinstance(exc, (ImportError, OSError, RuntimeError, _BrokenResponseError)):
        reason = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
        error = AutumnConnectionError(f"no complete response {route}: {reason}")
        error.__cause__ = exc
    else:
        error = AutumnConnectionError(f"no complete response {route}: {_locate(exc)}")
    return error, is_network and not is_permanent


def _locate(exc: Exception) -> str:
    """Name an exception's type, and the file and line that raised it."""
    name, tb = type(exc).__name__, exc.__traceback__
    while tb and tb.tb_next:
        tb = tb.tb_next
    if tb is None:
        return name
    return (
        f"{name} at {os.path.basename(tb.tb_frame.f_code.co_filename)}:{tb.tb_lineno}"
    )


def _draw_wait(attempts: int, error: AutumnError) -> float:
    """Return the seconds to wait: Retry-After, then a random backoff."""
    backoff = _FIRST_BACKOFF * 2.0 ** (attempts - 1) * random.uniform(0.5, 1)
    return (getattr(error, "retry_after", None) or 0) + backoff


def _log_retry(attempts: int, error: AutumnError, wait: float) -> None:
    # Never be the first to import logging: a child forked during the import could hang.
    # If nobody has imported it, nobody would see the line.
    if "logging" in sys.modules:
        import logging

        # Not the error itself: its text may be the server's, which may quote the key.
        status = getattr(error, "status", None)
        logging.getLogger(__name__).info(
            "Attempt %d to open a portal failed (%s); the next one starts in %.2f s",
            attempts,
            f"status {status}" if status else "no complete response",
            wait,
        )


# Private: validation and parsing.


def _check_id(field: str, value: Any) -> None:
    expected = f"a str of 1 to {_MAX_ID} visible ASCII characters"
    _check_type(field, value, str, expected)
    if not (1 <= len(value) <= _MAX_ID and _is_visible_ascii(value)):
        raise _refusal(field, expected, value)


def _is_visible_ascii(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _refusal(field: str, expected: str, value: object) -> AutumnValidationError:
    """Make the error for a value that is not as expected, without showing the value."""
    if value is None:
        actual = "None"
    elif isinstance(value, str) and not value:
        actual = "an empty str"
    elif isinstance(value, str):
        visible = "" if _is_visible_ascii(value) else ", not all of it visible ASCII"
        actual = f"a str of length {len(value)}{visible}"
    else:
        actual = f"a value of type {type(value).__name__}"
    return AutumnValidationError(field, f"expected {expected}; got {actual}")


def _check_type(field: str, value: object, types: Any, expected: str) -> None:
    # A bool is an int, but never a valid status, timeout or number of retries.
    if not isinstance(value, types) or (isinstance(value, bool) and types is not bool):
        raise _refusal(field, expected, value)


def _check_url(field: str, value: object) -> re.Match[str]:
    expected = "an http or https URL such as https://app.example.com/billing"
    if not isinstance(value, str) or not value:
        raise _refusal(field, expected, value)
    match = _match_url(value)
    if match is None:
        problem = f"expected {expected}; got {_explain_bad_url(value)}"
        raise AutumnValidationError(field, problem)
    return match


# Matches only URLs in which every browser and urlsplit() see the same host. They differ
# about many others. re.IGNORECASE is not used, because it takes U+017F for an "s".
_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    r"(?P<host>[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[!$-;=@-\[\]-~]*)?)"  # visible ASCII except " # < > ? \
    r"(?P<query>(?:[?#][!#-;=?-~]*)?)"  # or fragment: visible ASCII except " < >
)


def _match_url(url: str) -> Optional[re.Match[str]]:
    match = _URL.fullmatch(url) if len(url) <= _MAX_URL else None
    if not match or int(match["port"] or 0) > 65535:
        return None
    return match if _is_unambiguous_host(match["host"]) else None


def _is_unambiguous_host(host: str) -> bool:
    """Tell whether a host that fits _URL is a name or a canonical IP address."""
    last_label = host.rstrip(".").rpartition(".")[2].lower()
    try:
        if host.startswith("["):
            ipaddress.IPv6Address(host[1:-1])
        elif last_label.isdigit() or (
            last_label.startswith("0x") and not last_label[2:].strip("0123456789abcdef")
        ):
            # Browsers read a host with such a last label as an IPv4 address. It must be
            # canonical: Python 3.9.2 reads 010.0.0.1 as 10.0.0.1, browsers as 8.0.0.1.
            return str(ipaddress.IPv4Address(host)) == host
    except ValueError:
        return False
    return True


def _explain_bad_url(url: str) -> str:
    """Say why a URL does not match, without quoting it."""
    if len(url) > _MAX_URL:
        return f"more than {_MAX_URL} characters"
    scheme = re.match("[Hh][Tt][Tt][Pp][Ss]?://", url)
    before_query = re.split("[?#]", url[scheme.end() :] if scheme else "")[0]
    authority = before_query.partition("/")[0]
    reasons = {
        "a control character": any(char < " " or char == "\x7f" for char in url),
        "a space": " " in url,
        "a character beyond ASCII: write a host in punycode, and percent-encode the"
        " rest": not url.isascii(),
        "no http or https scheme followed by ://": not scheme,
        "a user name": "@" in authority,
        "a backslash": "\\" in before_query,
        "a quote or angle bracket": any(char in url for char in '"<>'),
        # By now the host or the port is bad. If the host alone matches, it is the port.
        "a bad port": _match_url("https://" + authority.rpartition(":")[0]),
    }
    return next((reason for reason, holds in reasons.items() if holds), "a bad host")


def _check_server_url(server_url: object, allow_http: object) -> None:
    _check_type("allow_http", allow_http, bool, "a bool")
    match = _check_url("server_url", server_url)
    is_https = match["scheme"].lower() == "https"
    if not (is_https or allow_http or _is_loopback(match.string)):
        problem = (
            "expected https, because the request carries the key; got http, which needs"
            " allow_http=True (--allow-http) and a network you trust, except to"
            " localhost, 127.0.0.0/8 and [::1]"
        )
    elif match["query"]:
        problem = "expected no query and no fragment; got one"
    elif match["path"].rstrip("/").endswith("/v1"):
        problem = "expected the URL without /v1, which is added; got it with /v1"
    else:
        return
    raise AutumnValidationError("server_url", problem)


def _is_loopback(url: str) -> bool:
    """Tell whether a URL that matches _URL leads to this machine."""
    host = urllib.parse.urlsplit(url).hostname or ""
    is_127 = host.startswith("127.") and not host.strip("0123456789.")
    return is_127 or host in ("localhost", "::1")


def _get_secret_key(secret_key: object) -> str:
    """Return the key, from the argument or the environment. No message shows it."""
    source = ""
    if secret_key is None:
        secret_key = os.environ.get("AUTUMN_SECRET_KEY")
        source = " in AUTUMN_SECRET_KEY"
    if secret_key is None:
        problem = "expected a key; got none, and AUTUMN_SECRET_KEY is not set"
    elif not isinstance(secret_key, str):
        problem = f"expected a str; got a value of type {type(secret_key).__name__}"
    elif not secret_key:
        problem = f"expected a key; got an empty str{source}"
    elif secret_key.endswith(("\n", "\r")):
        problem = f"expected visible ASCII; got a trailing newline{source}: strip it"
    elif not _is_visible_ascii(secret_key):
        problem = f"expected visible ASCII; got other characters{source}"
    elif secret_key.startswith("am_pk"):
        problem = f"expected a secret key (am_sk...); got a publishable one{source}"
    else:
        return secret_key
    raise AutumnValidationError("secret_key", problem)


def _check_options(timeout: Any, max_retries: Any, context: object) -> None:
    expected = f"an int or float of seconds above 0 and at most {_MAX_TIMEOUT}"
    _check_type("timeout", timeout, (int, float), expected)
    if not 0 < timeout <= _MAX_TIMEOUT:
        raise AutumnValidationError("timeout", f"expected {expected}; got another")
    expected = "an int of 0 or more"
    _check_type("max_retries", max_retries, int, expected)
    if max_retries < 0:
        raise AutumnValidationError("max_retries", f"expected {expected}; got less")
    # Not isinstance(): gevent, eventlet and truststore replace ssl.SSLContext, and a
    # context made before that is not an instance of the replacement.
    has_wrap_socket = callable(getattr(type(context), "wrap_socket", None))
    if context is not None and not has_wrap_socket:
        raise _refusal("context", "an ssl.SSLContext or None", context)


def _parse_json_object(content: bytes) -> Optional[dict[str, Any]]:
    """Return a JSON object, or None. Raises nothing: json's errors hold the text."""
    # Deeply nested JSON crashes CPython in WebAssembly (seen at 4,000 levels) and in
    # threads with small stacks. Autumn's responses have one level.
    if content.count(b"[") + content.count(b"{") > _MAX_BRACKETS:
        return None
    try:
        # The numbers are not used, so read them as floats: int() takes seconds for a
        # megabyte of digits, or refuses them.
        value: Any = json.loads(content.decode(), parse_int=float)
    except (ValueError, RecursionError):
        return None
    return cast(dict[str, Any], value) if isinstance(value, dict) else None


def _parse_retry_after(headers: Any) -> Optional[int]:
    for name, value in headers.items():
        if (
            isinstance(name, str)
            and isinstance(value, str)
            and name.lower() == "retry-after"
            and re.fullmatch("[0-9]{1,9}", value)
        ):
            return int(value)
    return None


def _one_line(text: str, limit: int) -> str:
    """Make one printable line of at most `limit` characters."""
    # Cut first: splitting 1 MiB of text takes over 20 MiB of memory.
    line = " ".join(text[: 20 * limit].split())
    line = line if len(line) <= limit else line[: limit - 3] + "..."
    return "".join(char if char.isprintable() else "?" for char in line)


def _main() -> int:
    """Print a portal URL. Return 1 if there is none, 2 for bad usage."""
    import argparse

    parser = argparse.ArgumentParser(
        description="Print the URL of a new Stripe billing portal session for an"
        " Autumn customer. The secret key is read from AUTUMN_SECRET_KEY.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("customer_id", help="the customer's ID, such as cus_123")
    add("--configuration-id", metavar="ID", help="Stripe portal configuration")
    add("--return-url", metavar="URL", help="where the portal's back button leads")
    add("--server-url", metavar="URL", default=DEFAULT_SERVER_URL)
    add("--allow-http", action="store_true", help="allow http to any host")
    add("--timeout", metavar="SECONDS", type=float, default=10.0)
    add("--version", action="version", version=f"autumn_portal {__version__}")
    # Never take the key as an argument: process lists show arguments. If someone passes
    # it anyway, argparse's own message would show it again.
    if any(re.search("(?<![A-Za-z0-9])am_sk_", text) for text in sys.argv[1:]):
        parser.error("the key goes into AUTUMN_SECRET_KEY, not into an argument")
    args, unknown = parser.parse_known_args()
    if unknown:
        parser.error(f"unknown arguments: {len(unknown)}")
    try:
        fields = (args.customer_id, args.configuration_id, args.return_url)
        portal = open_customer_portal(
            OpenCustomerPortalParams(*fields),
            server_url=args.server_url,
            timeout=args.timeout,
            allow_http=args.allow_http,
        )
    except AutumnError as exc:
        print(f"autumn_portal: {exc}", file=sys.stderr)
        return 2 if isinstance(exc, AutumnValidationError) else 1
    print(portal.url)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
