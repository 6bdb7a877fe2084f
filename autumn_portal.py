# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Open an Autumn customer's Stripe billing portal, with the standard library alone.

    from autumn_portal import OpenCustomerPortalParams, open_customer_portal

    params = OpenCustomerPortalParams(
        customer_id="user_123",  # from your session, never from the browser
        return_url="https://app.example.com/billing",
    )
    portal = open_customer_portal(params)  # reads the key from AUTUMN_SECRET_KEY
    # Redirect the browser to portal.url with a 303. Do not log the URL: whoever has
    # it can use the portal page as this customer.

Catch AutumnError to handle every failure of a call: AutumnValidationError if an
argument is invalid, AutumnAPIError if the server's response has no portal session,
AutumnConnectionError if no complete response arrives, and its subclass
AutumnTimeoutError if none arrives in time. build_request() and parse_response() do
everything except network I/O, so you can use another HTTP client.

This file trusts your code to pass the right types, and Autumn's server, once TLS has
verified it, to be honest. It does not trust the network, which may stall, break or
respond in the server's place; the browser, which may have chosen the return URL; or
logs and error trackers, so its own words show no key, portal URL or proxy password.

Copy this file into your project. It needs only Python 3.9 or later. To update a copy,
compare __version__ and replace the file. The names in __all__ are stable; the wording
of messages is not.
"""

import base64
import dataclasses
import functools
import http.client
import io
import ipaddress
import json
import os
import random
import re
import socket
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, Optional, Union, cast

__version__ = "2.0.0"

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
"""The x-api-version. Deliberately old: a self-hosted server rejects newer versions."""

DEFAULT_SERVER_URL = "https://api.useautumn.com"
"""Autumn's own server."""


class AutumnError(Exception):
    """Base of all errors that this module raises. Its str() is one printable line."""

    def __str__(self) -> str:
        return _one_line(": ".join(map(str, self.args)), 500)


class AutumnValidationError(AutumnError, ValueError):
    """An argument is invalid. A call raises this before it sends anything.

    Attributes:
        field: The Python name of the argument.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)  # all arguments, for pickle and copy
        self.field = field


class AutumnAPIError(AutumnError):
    """The server responded, but not with a portal session.

    Attributes:
        status: The HTTP status. 200 means that the body could not be used, for example
            because it was cut short.
        message: The server's message, or the start of the body if it has none. For a
            2xx or 3xx, what is wrong with the response.
        code: Autumn's error code, such as "customer_not_found", or None.
        retry_after: Whole seconds to wait before another attempt, from the Retry-After
            header (RFC 9110, section 10.2.3). None if there is no such number.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: Optional[str] = None,
        retry_after: Optional[int] = None,
    ) -> None:
        super().__init__(status, message, code, retry_after)
        self.status = status
        self.message = message
        self.code = code
        self.retry_after = retry_after

    def __str__(self) -> str:
        code = f" {self.code}" if self.code else ""
        return _one_line(f"{self.status}{code}: {self.message}", 500)


class AutumnConnectionError(AutumnError):
    """No complete response arrived, for example because a connection was refused."""


class AutumnTimeoutError(AutumnConnectionError, TimeoutError):
    """No complete response arrived within the timeout."""


@dataclasses.dataclass(frozen=True)
class OpenCustomerPortalParams:
    """Parameters of a portal session. Mirrors the type of that name in Autumn's SDKs.

    Attributes:
        customer_id: Your ID for the customer, as given to Autumn: 1 to 1024 visible
            ASCII characters. Autumn's rule for new IDs is stricter, but it has changed
            twice, and customers with older IDs exist.
        configuration_id: Stripe billing portal configuration ID, from the Stripe
            dashboard: 1 to 1024 visible ASCII characters. None means the default one.
        return_url: http or https URL that the portal page's back button leads to. None
            means the organization's success URL, by default https://useautumn.com.
            If it comes from the browser, check that it leads to your application:
            url.startswith("https://app.example.com/") is enough after this class has
            accepted it, because browsers and Python then agree where the host ends.

    Raises:
        AutumnValidationError: A value is invalid.
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
        """Return the fields that are not None, as a dict with camelCase keys.

        Do not send this dict: the HTTP API uses snake_case.
        """
        return _without_none(
            customerId=self.customer_id,
            configurationId=self.configuration_id,
            returnUrl=self.return_url,
        )


@dataclasses.dataclass(frozen=True)
class OpenCustomerPortalResponse:
    """A portal session.

    Attributes:
        customer_id: Your ID for the customer, which may differ from the ID sent. None
            for a customer who has only Autumn's internal ID.
        url: The portal URL, always https. It is a short-lived credential, so repr()
            omits it: redirect the customer to it, and keep it out of logs.

    Raises:
        AutumnValidationError: A value is invalid.
    """

    customer_id: Optional[str]
    url: str = dataclasses.field(repr=False)

    def __post_init__(self) -> None:
        if not (self.customer_id is None or _is_str(self.customer_id)):
            raise _refusal("customer_id", "a str or None", self.customer_id)
        if _check_url("url", self.url)["scheme"].lower() != "https":
            raise _refusal("url", "an https URL, not an http one", self.url)

    def to_dict(self) -> dict[str, Optional[str]]:
        """Return both fields, as a dict with camelCase keys."""
        return {"customerId": self.customer_id, "url": self.url}


def build_request(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: str = DEFAULT_SERVER_URL,
    allow_http: bool = False,
) -> urllib.request.Request:
    """Return the HTTP request that opens a portal session, without sending it.

    To send it with another HTTP client, use its get_method(), full_url, header_items()
    and data. Turn redirects off, and pass the response to parse_response().

    Args:
        params, secret_key, server_url, allow_http: As in open_customer_portal().

    Returns:
        The request. If urllib follows a redirect, it does not send the key again.

    Raises:
        AutumnValidationError: An argument is invalid, or there is no key.
    """
    _check_server_url(server_url, allow_http)
    fields = _without_none(**dataclasses.asdict(params))  # Autumn rejects null
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
    authorization = "Bearer " + _get_secret_key(secret_key)
    request.add_unredirected_header("Authorization", authorization)
    return request


def parse_response(
    status: int,
    headers: Union[Mapping[str, str], http.client.HTTPMessage],
    body: bytes,
) -> OpenCustomerPortalResponse:
    """Return the portal session in an HTTP response, or raise AutumnAPIError.

    Args:
        status: The HTTP status.
        headers: The headers, with names in any case.
        body: The body, already decompressed.

    Raises:
        AutumnAPIError: The response is not a 200 with a portal session.
    """
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    message, code = fields.get("message"), fields.get("code")
    if 200 <= status < 400:  # never quoted: the body may contain the portal URL
        message, code = "not a portal session", None
    if 300 <= status < 400:
        message = "redirects are not followed"
    if status == 200:
        try:
            url: Any = fields.get("url")
            return OpenCustomerPortalResponse(fields.get("customer_id"), url)
        except AutumnValidationError as exc:
            message = f"the response has no portal session: {exc}"
    if not (isinstance(message, str) and message.strip()):
        message = body.decode("utf-8-sig", "replace").strip() or "the body is empty"
    code = (_one_line(code, 64) or None) if isinstance(code, str) else None
    lower = {name.lower(): value for name, value in headers.items()}
    seconds = re.fullmatch(r"\s*([0-9]{1,9})\s*", lower.get("retry-after", ""))
    retry_after = int(seconds[1]) if seconds else None
    # Outside `except`: `__context__` would keep frames that hold the portal URL.
    raise AutumnAPIError(status, _one_line(message, 400), code, retry_after)


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
    """Open a portal session for a customer. Thread-safe.

    Each call creates a new portal session, so a retry is safe. Redirects are not
    followed. An https call uses the proxy that urllib finds, which must be an http://
    one. A call over http, or to this machine, uses no proxy.

    Args:
        params: The customer, and optionally a return URL and a configuration.
        secret_key: Autumn secret key (am_sk_...). None means the environment variable
            AUTUMN_SECRET_KEY.
        server_url: URL of the Autumn server, without /v1. It must be https, because
            the request carries the key, or http to localhost, 127.0.0.0/8 or [::1].
        timeout: Seconds for the whole call, with its retries and the waits between
            them: above 0 and at most 86,400. Only name resolution may take longer.
        max_retries: How often to try again after a status 429 or 5xx, or after a
            connection that fails or breaks, unless a retry cannot help. 0 means never.
        context: An ssl.SSLContext, for example with a private CA. None means a context
            with the system's CAs, made once and kept for further calls.
        allow_http: True allows http to any host. Only for a self-hosted Autumn on a
            network you trust, because the key crosses it unencrypted.

    Raises:
        AutumnValidationError: An argument is invalid, or there is no key.
        AutumnAPIError: The server responded, but not with a portal session.
        AutumnConnectionError: No complete response arrived.
        AutumnTimeoutError: No complete response arrived within the timeout.
    """
    try:
        request: Any = build_request(
            params, secret_key=secret_key, server_url=server_url, allow_http=allow_http
        )
        return _send_with_retries(request, timeout, max_retries, context)
    except AutumnError as exc:
        # Error trackers print the local variables of every frame in a traceback. So the
        # error drops the frames below this one, and this one drops the key.
        request = secret_key = None
        raise exc.with_traceback(None)


# The public part ends here. Internals: errors, validation and parsing.


def _one_line(text: str, limit: int) -> str:
    """Return a text as one printable line of at most `limit` characters."""
    line = " ".join(text.strip()[: 10 * limit].split())
    line = line if len(line) <= limit else line[: limit - 3] + "..."
    return "".join(char if char.isprintable() else "?" for char in line)


def _check_id(name: str, value: Any) -> None:
    if not (_is_str(value) and re.fullmatch("[!-~]{1,1024}", value)):
        raise _refusal(name, "a str of 1 to 1024 visible ASCII characters", value)


def _is_str(value: object) -> bool:
    # Not isinstance(), which is True for lazy proxies of a str, such as Werkzeug's
    # LocalProxy. Those fail later, in json or re.
    return issubclass(type(value), str)


def _refusal(name: str, rule: str, value: Any) -> AutumnValidationError:
    """Return the error for an invalid value. Its message never shows the value."""
    is_str, type_name = _is_str(value), type(value).__name__
    kind = f"a str of length {len(value)}" if is_str else f"of type {type_name}"
    return AutumnValidationError(name, f"must be {rule}; it is {kind}")


_HOST = r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f]*:[0-9A-Fa-f:.]*\]"
_PORT = "[0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

# In the URLs that match, browsers and Python agree where the host begins and ends. They
# disagree about many others. No flag ignores case: with it, "s" also matches U+017F.
_URL = re.compile(
    r"(?P<scheme>[Hh][Tt][Tt][Pp][Ss]?)://"
    rf"(?P<host>{_HOST})(?::(?:{_PORT}))?"
    r'(?P<path>(?:/(?:(?!["#<>?\\])[!-~])*)?)'
    r'(?P<query>(?:[?#](?:(?!["<>])[!-~])*)?)'  # or a fragment
)


def _check_url(name: str, url: Any) -> re.Match[str]:
    """Return the match of a valid URL, or raise AutumnValidationError."""
    match = _URL.fullmatch(url) if _is_str(url) and len(url) <= 8192 else None
    if not match or (match["host"].startswith("[") and not _parse_ip(match["host"])):
        rule = (
            "an http or https URL of at most 8192 visible ASCII characters, with a host"
            " and perhaps a port of at most 65535, and without a user name, double"
            " quotes, angle brackets, or a backslash in the path"
        )
        raise _refusal(name, rule, url)
    return match


def _parse_ip(host: str) -> Any:
    """Return the IP address that a host is, or None."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


def _without_none(**fields: Optional[str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _check_server_url(server_url: Any, allow_http: Any) -> None:
    match = _check_url("server_url", server_url)
    is_https = match["scheme"].lower() == "https"
    # Only True allows http: the "false" of an environment variable is truthy.
    if not (is_https or allow_http is True or _is_loopback(match["host"])):
        rule = (
            "https, because the request carries the key; http needs allow_http=True,"
            " except to localhost, 127.0.0.0/8 and [::1]"
        )
        raise _refusal("server_url", rule, server_url)
    if match["query"] or match["path"].rstrip("/").endswith("/v1"):
        rule = "a URL without a query, a fragment, or the /v1 that is added to it"
        raise _refusal("server_url", rule, server_url)


def _is_loopback(host: str) -> bool:
    ip = str(_parse_ip(host))  # "None" for a name
    return host.lower() == "localhost" or ip == "::1" or ip.startswith("127.")


def _get_secret_key(key: Optional[str]) -> str:
    """Return the key, from the argument or the environment. No message shows it."""
    source = "it"
    if key is None:
        source, key = "AUTUMN_SECRET_KEY", os.environ.get("AUTUMN_SECRET_KEY")
    if not key:
        problem = "is not set" if key is None else "is empty"
    elif not _is_str(key):
        problem = f"is of type {type(key).__name__}"
    elif not re.fullmatch("[!-~]+", key):
        problem = (
            "contains white space, a newline or a character that is not visible ASCII"
        )
    elif key.startswith("am_pk"):
        problem = "is a publishable key (am_pk_...)"
    else:
        return key
    rule = "must be an Autumn secret key (am_sk_...)"
    raise AutumnValidationError("secret_key", f"{rule}; {source} {problem}")


# Internals: sending.

# What becomes an AutumnConnectionError. Exceptions of other types are bugs, or come
# from signal handlers, and pass as they are. ImportError means that TLS is missing.
# Pyodide's ssl module raises a plain RuntimeError during the TLS handshake.
_FAILURES = (OSError, ValueError, http.client.HTTPException, ImportError, RuntimeError)


def _send_with_retries(
    request: urllib.request.Request, timeout: Any, max_retries: int, context: Any
) -> OpenCustomerPortalResponse:
    is_number = isinstance(timeout, (int, float)) and timeout is not True
    if not (is_number and 0 < timeout <= 86_400):
        raise _refusal("timeout", "a number above 0 and at most 86400", timeout)
    deadline = time.monotonic() + timeout
    proxy = _find_proxy(request)
    through = f" through the proxy {proxy[0]}" if proxy else ""
    route = f"{request.type}://{request.host}{through}"
    attempts = 0
    while True:
        attempts += 1
        try:
            connection = _make_connection(request, proxy, deadline, context)
            return parse_response(*_exchange(request, connection))
        except AutumnAPIError as exc:
            error: AutumnError = exc
            may_retry = exc.status == 429 or 500 <= exc.status < 600
        except _FAILURES as exc:
            if isinstance(exc, RuntimeError) and (
                type(exc) is not RuntimeError or request.type == "http"
            ):
                raise
            error, may_retry = _explain(exc, route, attempts, deadline)
        # Lambda SnapStart starts many processes from one snapshot. With random's shared
        # generator, which is part of it, all of them would wait equally long.
        backoff = random.SystemRandom().uniform(0.5, 1) * 0.25 * 2 ** (attempts - 1)
        delay = (getattr(error, "retry_after", None) or 0) + backoff
        in_time = time.monotonic() + delay < deadline
        if not (may_retry and attempts <= max_retries and in_time):
            raise error
        time.sleep(delay)


def _find_proxy(request: urllib.request.Request) -> Optional[tuple[str, str]]:
    """Return the address and user info of the proxy in urllib's settings, or None."""
    server = urllib.parse.urlsplit(request.full_url)
    proxy = urllib.request.getproxies().get("https", "").strip()
    # Over http, a proxy would see the key.
    is_direct = server.scheme == "http" or _is_loopback(server.hostname or "")
    if is_direct or not proxy or urllib.request.proxy_bypass(request.host):
        return None
    scheme = re.match("(?:([A-Za-z][A-Za-z0-9+.-]*):)?//", proxy)
    # A password may contain any character, so the host begins after the last "@".
    userinfo, _, rest = proxy[scheme.end() if scheme else 0 :].rpartition("@")
    match = re.fullmatch(rf"({_HOST})(?::({_PORT}))?(?:/.*)?", rest)
    address = f"{match[1]}:{match[2] or 80}" if match else ""
    if match and (not scheme or (scheme[1] or "http").lower() == "http"):
        return address, userinfo
    raise AutumnConnectionError(
        f"could not get a response from {server.scheme}://{request.host} through"
        f" {f'the proxy {address}' if address else 'a proxy'} after 0 attempts: only"
        " http:// proxies are supported, with a valid host and port"
    )


def _make_connection(
    request: urllib.request.Request,
    proxy: Optional[tuple[str, str]],
    deadline: float,
    context: Any,
) -> Any:
    """Return an http.client connection that is not connected yet."""
    if request.type == "http":
        connection: Any = http.client.HTTPConnection(request.host)
    else:
        from http.client import HTTPSConnection  # missing from a Python without ssl

        context = _default_context() if context is None else context
        address = proxy[0] if proxy else request.host
        connection = HTTPSConnection(address, context=context)
    if proxy:
        userinfo = urllib.parse.unquote(proxy[1]) + ("" if ":" in proxy[1] else ":")
        credentials = base64.b64encode(userinfo.encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {credentials}"} if proxy[1] else {}
        connection.set_tunnel(request.host, headers=headers)
    # A socket's timeout limits each read, not their sum. These two attributes put
    # connecting and every read under one deadline. They are not documented, but the
    # same from Python 3.9 to 3.15, as is do_open() below.
    connection._create_connection = functools.partial(_connect, deadline)
    make_response: Any = http.client.HTTPResponse
    connection.response_class = lambda sock, *args, **options: make_response(
        _BoundedFile(sock, deadline), *args, **options
    )
    return connection


# No lock: a child forked while another thread held it would hang. The first threads may
# each make a context, which does no harm.
@functools.cache
def _default_context() -> Any:
    """Return the process's TLS context. Making it takes more CPU than a whole call."""
    import ssl  # missing from some Pythons

    return ssl.create_default_context()


def _exchange(
    request: urllib.request.Request, connection: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request and return the response's status, headers and body."""
    # Tracing agents hook into OpenerDirector.open(), which calls default_open(), and
    # into do_open(), which connects, sends and closes. Without urllib's other handlers,
    # no redirect is followed. debuglevel=0, because the debug output shows the key.
    handler: Any = urllib.request.AbstractHTTPHandler(debuglevel=0)
    # do_open() takes a class, and calls it with the host and a timeout. http.client
    # then adds the headers Host and Content-Length.
    handler.default_open = functools.partial(
        handler.do_open, lambda *_args, **_options: connection
    )
    opener = urllib.request.OpenerDirector()
    opener.add_handler(handler)
    with opener.open(request) as response:
        return response.status, response.headers, response.read()


def _connect(deadline: float, address: tuple[str, int], *_: object) -> socket.socket:
    """Try a host's addresses in turn, each for an equal share of the time left."""
    # Mock libraries replace these two functions of socket, and expect the arguments
    # that the standard library passes.
    infos: list[Any] = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
    for index, info in enumerate(infos):
        try:
            share = _time_left(deadline) / (len(infos) - index)
            sock = socket.create_connection(info[4][:2], share, None)
            # For CONNECT, for the whole TLS handshake, and for the request, which fits
            # into the socket's buffer. Not _time_left(), which could raise and leave
            # the socket open. Not 0, which would make it non-blocking.
            sock.settimeout(max(deadline - time.monotonic(), 0.001))
            return sock
        except OSError:
            if index == len(infos) - 1:
                raise
    raise OSError("the host name has no address")


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _BoundedFile(io.RawIOBase):
    """The file that HTTPResponse reads from. It ends at a deadline and at 1 MiB."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        # do_open() closes the socket, which stays open until this file is closed too.
        self._file = sock.makefile("rb", 0)
        self._deadline = deadline
        self._bytes_left = 1_048_576  # 1 MiB; a normal response has under 1 KiB

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)  # which reads through readinto() below

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_time_left(self._deadline))
        count: int = self._file.readinto(buffer)
        # After the last read of a response to CONNECT comes the TLS handshake, which
        # uses the timeout that was set last.
        self._sock.settimeout(_time_left(self._deadline))
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise OSError("the response is over 1 MiB")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _explain(
    exc: Any, route: str, attempts: int, deadline: float
) -> tuple[AutumnConnectionError, bool]:
    """Return the error to raise for an exception, and whether to try again."""
    # do_open() wraps an OSError in a URLError. The reason of an SSLError is a str.
    if isinstance(getattr(exc, "reason", None), OSError):
        exc = exc.reason
    may_retry = not (
        # An unverified certificate is a ValueError as well as an OSError.
        isinstance(exc, (ValueError, ImportError, RuntimeError))
        # A file of the TLS setup, such as the one that SSLKEYLOGFILE names.
        or getattr(exc, "filename", None) is not None
        # The proxy refuses. Offering a wrong password again can lock an account.
        or str(exc).startswith("Tunnel connection failed: 4")
    )
    reason = type(exc).__name__  # its text may quote the response
    if isinstance(exc, (ImportError, RuntimeError)):
        reason = "this Python has no working TLS"
    elif isinstance(exc, OSError):
        # If there is a file name, str() shows it.
        reason = (not exc.filename and exc.strerror) or str(exc) or reason
    # Windows may end a wait 16 ms early.
    is_late = time.monotonic() > deadline - 0.016
    error = (AutumnTimeoutError if is_late else AutumnConnectionError)(
        f"could not get a response from {route} after {attempts}"
        f" attempt{'s' if attempts > 1 else ''}: {reason}"
    )
    if isinstance(exc, OSError):
        exc.__cause__ = exc.__context__ = None
        error.__cause__ = exc.with_traceback(None)
    return error, may_retry
