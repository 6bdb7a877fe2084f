# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Open an Autumn customer's Stripe billing portal, with the standard library alone.

    from autumn_portal import OpenCustomerPortalParams, open_customer_portal

    params = OpenCustomerPortalParams(
        customer_id="user_123",  # from your session, never from the browser
        return_url="https://app.example.com/account",
    )
    portal = open_customer_portal(params)  # reads the key from AUTUMN_SECRET_KEY
    # Redirect the browser to portal.url with a 303. Do not log the URL: whoever has
    # it can use the portal page as this customer.

Catch AutumnError to handle invalid arguments and every failure that the network, a
proxy or the server can cause: AutumnValidationError if an argument is invalid,
AutumnAPIError if the server's response has no portal session, AutumnConnectionError if
no complete response arrives, and its subclass AutumnTimeoutError if none arrives in
time. What your own process raises, such as an ImportError because Python has no ssl
module, passes through unchanged. build_request() and parse_response() do everything
except network I/O, so you can use another HTTP client.

This file trusts your code to pass the right types, and Autumn's server, once TLS has
verified it, to be honest. It does not trust the network, which may stall, break or
respond in the server's place; the browser, which may have chosen the return URL; or
logs and error trackers, so its errors show no key, portal URL or proxy password.

Copy this file into your project. It needs only Python 3.9 or later and CA certificates.
To update it, replace the file. The names in __all__ are stable; the wording of messages
is not.
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
import types
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union, cast

if TYPE_CHECKING:
    from ssl import SSLContext
else:
    SSLContext = Any  # so that type hints resolve on a Python without ssl

__version__ = "2.1.0"

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
    "build_request",
    "open_customer_portal",
    "parse_response",
]

# The x-api-version header. Deliberately old, because a self-hosted server rejects
# versions newer than its own.
API_VERSION = "2.2.0"

# Autumn's own server.
DEFAULT_SERVER_URL = "https://api.useautumn.com"


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
            because it is not JSON.
        message: The server's message, or the start of the body if it has none. For a
            2xx or 3xx, what is wrong with the response. Anything that looks like a
            secret key is masked, because Autumn quotes the start of an unknown key.
        code: Autumn's error code, such as "customer_not_found", or None. Also masked.
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
    """No complete response arrived within the timeout, or a signal handler's limit."""


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
            If it comes from the browser, check that it leads to your application. For
            a URL that this class has accepted, browsers and Python agree where the host
            ends, so url.startswith("https://app.example.com/") checks its origin. A
            longer prefix does not check a path: browsers resolve /a/../b and %2e%2e.

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
            _parse_url("return_url", self.return_url)

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
            if you never gave the customer an ID.
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
        if _parse_url("url", self.url)["scheme"].lower() != "https":
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
        AutumnValidationError: An argument is invalid, or there is no key. No local
            variable in the error's traceback holds the key.
    """
    fields = _without_none(**dataclasses.asdict(params))  # Autumn rejects null
    try:
        _check_server_url(server_url, allow_http)
        authorization = "Bearer " + _get_secret_key(secret_key)
    except AutumnValidationError as exc:
        secret_key = None
        raise exc.with_traceback(None)
    request = urllib.request.Request(
        server_url.rstrip("/") + "/v1/billing.open_customer_portal",
        data=json.dumps(fields).encode(),
        headers={
            "Accept": "application/json",
            "Content-Type": "application/json",
            # Cloudflare rejects urllib's default with 403, "error code: 1010":
            # https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-1xxx-errors/error-1010/
            "User-Agent": f"autumn-portal/{__version__}",
            "X-Api-Version": API_VERSION,
        },
        method="POST",
    )
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
    text = str(body, "utf-8-sig", "replace")  # a TypeError if body is a str
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    code = None
    if status == 200 and not isinstance(value, dict):
        message = "no portal session: the body is not a JSON object"
    elif status == 200 and fields.get("url") is None:
        message = "no portal session: the JSON has no url"
    elif status == 200:
        try:
            return OpenCustomerPortalResponse(fields.get("customer_id"), fields["url"])
        except AutumnValidationError as exc:
            message = f"no portal session: {exc}"
    elif 200 <= status < 300:  # never quoted: the body may contain the portal URL
        message = "not a portal session: expected status 200"
    elif 300 <= status < 400:
        message = "redirects are not followed"
    else:
        message = _clean(fields.get("message"), 400) or _clean(text, 400)
        message = message or "the body is empty"
        code = _clean(fields.get("code"), 64) or None
    lower = {name.lower(): header for name, header in headers.items()}
    seconds = re.fullmatch(r"\s*([0-9]{1,9})\s*", lower.get("retry-after", ""))
    retry_after = int(seconds[1]) if seconds else None
    # Outside `except`, so that `__context__` cannot keep frames with the portal URL.
    raise AutumnAPIError(status, message, code, retry_after)


def open_customer_portal(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: str = DEFAULT_SERVER_URL,
    timeout: float = 10.0,
    max_retries: int = 2,
    context: Optional[SSLContext] = None,
    allow_http: bool = False,
) -> OpenCustomerPortalResponse:
    """Open a portal session for a customer. Thread-safe.

    Each call creates a new portal session, so a retry is safe. Redirects are not
    followed. Calls over https use the proxy that urllib finds, which must be an http://
    one. Calls over http, or to this machine, use none.

    Args:
        params: The customer, and optionally a return URL and a configuration.
        secret_key: Autumn secret key (am_sk_...). None means the environment variable
            AUTUMN_SECRET_KEY.
        server_url: URL of the Autumn server, without /v1. It must be https, because
            the request carries the key, or http to localhost, 127.0.0.0/8 or [::1].
        timeout: Seconds for the whole call, with its retries and the waits between
            them: above 0 and at most 86,400. Name resolution may take longer.
        max_retries: Maximum number of retries after a 429, a 5xx or a failed
            connection. Timeouts, and errors that a retry cannot fix, are raised at
            once. 0 disables retries.
        context: An ssl.SSLContext, for example with a private CA. None means a context
            with the system's CAs, created once and kept for further calls.
        allow_http: True allows http to any host. Use it only for a self-hosted Autumn on
            a network you trust, because the key crosses it unencrypted.

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
        _check_limits(timeout, max_retries)
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
    _check_text(name, value, 1024, "1 to 1024 visible ASCII characters")


def _check_text(name: str, value: Any, limit: int, rule: str) -> None:
    """Check that a value is a str of 1 to `limit` visible ASCII characters."""
    if not _is_str(value):
        raise _refusal(name, f"a str: {rule}", value)
    if not (len(value) <= limit and re.fullmatch("[!-~]+", value)):
        raise _refusal(name, rule, value)


def _is_str(value: object) -> bool:
    # Not isinstance(), which is True for lazy proxies of a str, such as Werkzeug's
    # LocalProxy. Those fail later, in json or re.
    return issubclass(type(value), str)


def _refusal(name: str, rule: str, value: Any) -> AutumnValidationError:
    """Return the error for an invalid value. Only the value of a number is shown."""
    actual = f"of type {type(value).__name__}"
    if _is_str(value):
        actual = f"a str of length {len(value)}"
    elif type(value) in (int, float):
        actual = str(value)
    return AutumnValidationError(name, f"must be {rule}; it is {actual}")


# In the URLs that match, browsers and Python agree where the host begins and ends. They
# disagree about many others.
_URL = re.compile(
    r"""
    (?P<scheme> https? ) ://
    (?P<host> [a-z0-9_-]+ (?: \. [a-z0-9_-]+ )* \.? | \[ [0-9a-f:.]+ ] )
    (?: : (?P<port> [0-9]{1,5} ) )?
    (?P<path> (?: / [^\\?#"<>]* )? )
    (?P<query> (?: [?#] [^"<>]* )? )  # or a fragment
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,  # without ASCII, "s" also matches U+017F
)


def _parse_url(name: str, url: Any) -> re.Match[str]:
    """Return the parts of a valid URL, or raise AutumnValidationError."""
    rule = (
        "an http or https URL of at most 8192 visible ASCII characters, with a host and"
        " perhaps a port of at most 65535, and without a user name, double quotes, angle"
        " brackets, or a backslash in the path"
    )
    _check_text(name, url, 8192, rule)
    match = _URL.fullmatch(url)
    is_bad_ip = (
        match and match["host"][0] == "[" and ":" not in _parse_ip(match["host"])
    )
    if not match or is_bad_ip or int(match["port"] or 0) > 65_535:
        raise _refusal(name, rule, url)
    return match


def _parse_ip(host: str) -> str:
    """Return the IP address that a host is, or "" for a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return ""


def _without_none(**fields: Optional[str]) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value is not None}


def _check_server_url(server_url: Any, allow_http: Any) -> None:
    match = _parse_url("server_url", server_url)
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
    ip = _parse_ip(host)
    return host.lower() == "localhost" or ip == "::1" or ip.startswith("127.")


def _get_secret_key(key: Optional[str]) -> str:
    """Return the key, from the argument or the environment. No message shows it."""
    rule, source = "an Autumn secret key (am_sk_...)", "it"
    if key is None:
        source, key = "AUTUMN_SECRET_KEY", os.environ.get("AUTUMN_SECRET_KEY")
    if key is None:
        problem = "is not set"
    elif not _is_str(key):
        rule = f"a str: {rule}"
        problem = f"is of type {type(key).__name__}"
    elif not key:
        problem = "is empty"
    elif not re.fullmatch("[!-~]+", key):
        problem = (
            "contains white space, a newline or a character that is not visible ASCII"
        )
    elif key.startswith("am_pk"):
        problem = "is a publishable key (am_pk_...)"
    else:
        return key
    raise AutumnValidationError("secret_key", f"must be {rule}; {source} {problem}")


def _clean(text: Any, limit: int) -> str:
    """Return a server's text as one line that holds no key, or "" if there is none."""
    line = _one_line(text, limit) if isinstance(text, str) else ""
    return re.sub(r"am_sk\S*", "am_sk***", line)  # last, because a cut may split a key


def _check_limits(timeout: Any, max_retries: Any) -> None:
    # isinstance() would accept a bool.
    if type(timeout) not in (int, float) or not 0 < timeout <= 86_400:
        raise _refusal("timeout", "a number above 0 and at most 86400", timeout)
    if type(max_retries) is not int or max_retries < 0:
        raise _refusal("max_retries", "an int of 0 or more", max_retries)


# Internals: sending. From top to bottom: a call with its retries, the proxy, a connection,
# a request and its response, deadlines, and errors.
#
# A socket's timeout applies to each operation, not to their sum. So each operation gets
# the time left until the deadline:
# - connecting to an address: an equal share of it (_connect)
# - sending a request over http, or CONNECT to a proxy: all of it (_connect)
# - the TLS handshake, and then sending the request: all of it (_start_tls)
# - each read: all of it, and after the deadline a TimeoutError (_BoundedFile)
#
# Not documented, but the same from Python 3.9 to 3.15, are do_open() and three attributes
# of an http.client connection: _create_connection, _context and response_class. Tools use
# these places too: tracing agents replace OpenerDirector.open() or do_open(), VCR.py the
# connection classes, mock libraries the functions of socket and SSLContext.wrap_socket().

_FIRST_BACKOFF = 0.25  # seconds; doubles with each retry
_MAX_RESPONSE_BYTES = 1_048_576  # 1 MiB, headers included; a normal one is under 1 KiB

# Reported as an AutumnConnectionError. OverflowError and MemoryError come from an absurd
# Content-Length or chunk size, LookupError from a Python without the codec for host names.
# Others are bugs or come from your own process, such as the RuntimeError of Pyodide's ssl
# module, and pass through: https://pyodide.org/en/stable/usage/wasm-constraints.html
_FAILURES = (
    OSError,
    ValueError,
    LookupError,
    OverflowError,
    MemoryError,
    http.client.HTTPException,
)

_TIMEOUTS = (TimeoutError, socket.timeout)  # the same class since Python 3.10


def _send_with_retries(
    request: urllib.request.Request, timeout: float, max_retries: int, context: Any
) -> OpenCustomerPortalResponse:
    deadline = time.monotonic() + timeout
    proxy = _find_proxy(request)
    through = f" through the proxy {proxy[0]}" if proxy else ""
    route = f"{request.type}://{request.host}{through}"
    attempts = 0
    while True:
        attempts += 1
        retry_after = 0
        try:
            connection = _make_connection(request, proxy, deadline, context)
            return parse_response(*_exchange(request, connection))
        except AutumnAPIError as exc:
            error: AutumnError = exc
            # Cloudflare, which Autumn's API is behind, adds 520 to 524:
            # https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/
            may_retry = exc.status == 429 or 500 <= exc.status < 600
            retry_after = exc.retry_after or 0
        except _FAILURES as exc:
            error, may_retry = _explain(exc, route, attempts)
        # Not random's shared generator: processes that Lambda SnapStart starts from one
        # snapshot, which includes it, would all wait equally long.
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
        backoff = _FIRST_BACKOFF * 2 ** (attempts - 1)
        delay = retry_after + backoff * random.SystemRandom().uniform(0.5, 1)
        in_time = time.monotonic() + delay < deadline
        if not (may_retry and attempts <= max_retries and in_time):
            raise error
        time.sleep(delay)


def _find_proxy(request: urllib.request.Request) -> Optional[tuple[str, str]]:
    """Return the address and user info of the proxy in urllib's settings, or None."""
    proxy = urllib.request.getproxies().get("https", "").strip()
    host = urllib.parse.urlsplit(request.full_url).hostname or ""
    # Over http, a proxy would see the key.
    is_direct = request.type == "http" or _is_loopback(host)
    if is_direct or not proxy or urllib.request.proxy_bypass(request.host):
        return None
    # For example "http://user:p@ss/word@proxy.example:3128/". A password may contain any
    # character, so the host begins after the last "@".
    start = re.match("(?:([a-z][a-z0-9+.-]*):)?//", proxy, re.IGNORECASE)  # "http://"
    scheme = (start and start[1]) or "http"
    userinfo, _, rest = proxy[start.end() if start else 0 :].rpartition("@")
    try:  # rest is "proxy.example:3128/"
        url = _parse_url("proxy", "http://" + rest)
        address = f"{url['host']}:{url['port'] or 80}"
    except AutumnValidationError:
        address = ""
    if address and scheme.lower() == "http":
        return address, userinfo
    raise AutumnConnectionError(
        f"could not get a response from https://{request.host} through"
        f" {f'the proxy {address}' if address else 'a proxy'}: only http:// proxies are"
        " supported, with a valid host and port"
    )


def _make_connection(
    request: urllib.request.Request,
    proxy: Optional[tuple[str, str]],
    deadline: float,
    context: Any,
) -> Any:
    """Return an http.client connection that is not connected yet."""
    client: Any = http.client  # Any, because of the attributes that are set below
    if request.type == "http":
        connection = client.HTTPConnection(request.host)
    else:
        context = _default_context() if context is None else context
        address = proxy[0] if proxy else request.host
        connection = client.HTTPSConnection(address, context=context)
    if proxy:
        userinfo = proxy[1] if ":" in proxy[1] else proxy[1] + ":"
        # In os.environ, surrogates stand for bytes that are not UTF-8.
        raw = urllib.parse.unquote_to_bytes(userinfo.encode(errors="surrogateescape"))
        credentials = base64.b64encode(raw).decode()
        headers = {"Proxy-Authorization": f"Basic {credentials}"} if proxy[1] else {}
        connection.set_tunnel(request.host, headers=headers)
    connection._create_connection = functools.partial(_connect, deadline)
    # Of _context, connect() uses only wrap_socket(). The one put there calls that of the
    # real context, which verifies the certificate and the host name.
    start_tls = functools.partial(_start_tls, context, deadline)
    connection._context = types.SimpleNamespace(wrap_socket=start_tls)
    connection.response_class = functools.partial(_Response, deadline)
    return connection


# No lock: a child forked while another thread held it would hang. The first threads may
# each create a context, which does no harm.
@functools.cache
def _default_context() -> SSLContext:
    """Return the process's TLS context. Creating it takes more CPU than a whole call."""
    import ssl  # missing from some Pythons

    return ssl.create_default_context()


def _exchange(
    request: urllib.request.Request, connection: Any
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request and return the response's status, headers and body."""
    # OpenerDirector.open() calls default_open(), and do_open() connects, sends and
    # closes. Without urllib's other handlers, no redirect is followed. debuglevel=0,
    # because the debug output shows the key.
    handler: Any = urllib.request.AbstractHTTPHandler(debuglevel=0)
    # do_open() takes a class, and calls it with the host and a timeout. http.client then
    # adds the headers Host, Content-Length and "Accept-Encoding: identity".
    handler.default_open = functools.partial(
        handler.do_open, lambda *_args, **_options: connection
    )
    opener = urllib.request.OpenerDirector()
    opener.add_handler(handler)
    with opener.open(request) as response:
        return response.status, response.headers, response.read()


def _connect(deadline: float, address: tuple[str, int], *_: object) -> Any:
    """Try a host's addresses in turn, each for an equal share of the time left."""
    # Mock libraries replace these two functions of socket, and expect the arguments that
    # the standard library passes. The second gets a numeric address, and looks up no name.
    infos: list[Any] = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
    for index, info in enumerate(infos):
        try:
            share = _time_left(deadline) / (len(infos) - index)
            sock = socket.create_connection(info[4][:2], share, None)
            return _with_time_left(sock, deadline)
        except OSError as exc:
            # After a socket's "timed out" or the system's ETIMEDOUT comes the next address.
            # Any other TimeoutError is the time limit of a signal handler.
            is_limit = isinstance(exc, _TIMEOUTS) and not exc.errno
            if index == len(infos) - 1 or (is_limit and str(exc) != "timed out"):
                raise
    raise OSError("the host name has no address")


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _with_time_left(sock: Any, deadline: float) -> Any:
    """Return a socket, after setting its timeout to the time left, or to 1 ms."""
    # 0 would mean non-blocking, and an error here would leave the socket open.
    sock.settimeout(max(deadline - time.monotonic(), 0.001))
    return sock


def _start_tls(context: Any, deadline: float, sock: Any, **options: Any) -> Any:
    sock = context.wrap_socket(_with_time_left(sock, deadline), **options)
    return _with_time_left(sock, deadline)


class _Response(http.client.HTTPResponse):
    def __init__(self, deadline: float, sock: Any, *args: Any, **options: Any) -> None:
        file: Any = _BoundedFile(sock, deadline)
        super().__init__(file, *args, **options)

    def begin(self) -> None:
        try:
            super().begin()
        except (TypeError, RecursionError):
            # The email package, which parses the headers, fails on some hostile ones.
            raise http.client.HTTPException from None


class _BoundedFile(io.RawIOBase):
    """The file that HTTPResponse reads from. It ends at a deadline and at 1 MiB."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        # do_open() closes the socket, which stays open until this file is closed too.
        self._file = sock.makefile("rb", 0)
        self._deadline = deadline
        self._bytes_left = _MAX_RESPONSE_BYTES

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)  # which reads through readinto() below

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(_time_left(self._deadline))
        count: int = self._file.readinto(buffer)  # never None: the timeout is above 0
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise OSError("the response is over 1 MiB")
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _explain(
    exc: Exception, route: str, attempts: int
) -> tuple[AutumnConnectionError, bool]:
    """Return the error to raise for an exception, and whether a retry may help."""
    # do_open() wraps an OSError in a URLError.
    if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, OSError):
        exc = exc.reason
    error_type, cause = AutumnConnectionError, None
    # Only an OSError is quoted: others may hold the response.
    reason = type(exc).__name__
    may_retry = True
    # Such as an impossible host name, or an unverified certificate.
    if isinstance(exc, (ValueError, LookupError)):
        may_retry = False
    # No time is left, or a signal handler has ended the call.
    if isinstance(exc, _TIMEOUTS):
        error_type, may_retry = AutumnTimeoutError, False
    if isinstance(exc, OSError):
        cause = exc.with_traceback(None)
        cause.__cause__ = cause.__context__ = None
        # str() includes the file name, if there is one.
        reason = (not exc.filename and exc.strerror) or str(exc) or reason
        if exc.filename is not None:  # a file of the TLS setup, such as SSLKEYLOGFILE's
            may_retry = False
        if isinstance(exc, ValueError):  # an SSLCertVerificationError
            # The CAs may have been renewed, or may have been unreadable when the process
            # was out of file descriptors.
            _default_context.cache_clear()
        refusal = re.match("Tunnel connection failed: ([0-9]+)", str(exc))
        if refusal:  # the rest of its text may echo the proxy password
            reason, cause = f"the proxy responded with status {refusal[1]}", None
            # Repeated wrong passwords can lock an account.
            may_retry = not refusal[1].startswith("4")
    error = error_type(
        f"could not get a response from {route} after {attempts}"
        f" attempt{'s' if attempts > 1 else ''}: {reason}"
    )
    error.__cause__ = cause
    return error, may_retry
