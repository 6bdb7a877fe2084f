# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Open an Autumn customer's Stripe billing portal, using only the standard library.

Example::

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
time. Exceptions of other types pass through. build_request() and parse_response() do
everything except network I/O, so you can use another HTTP client.

This file trusts your code to pass the right types, and Autumn's server, once TLS has
verified it, to be honest. It does not trust the network, which may stall, break or
respond in the server's place; the browser, which may have chosen the return URL; or
logs and error trackers, so its errors show no key, portal URL or proxy password.

Copy this file into your project. It needs only Python 3.9 or later and CA certificates.
To update it, replace the file. The names in ``__all__`` are stable; the wording of
messages is not.
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
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional, Union, cast

if TYPE_CHECKING:
    from ssl import SSLContext
else:
    SSLContext = Any  # so that type hints resolve on a Python without ssl

__version__ = "2.2.0"

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

# The x-api-version header, unrelated to __version__. Deliberately old, because a
# self-hosted server rejects versions newer than its own.
API_VERSION = "2.2.0"

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
        super().__init__(field, problem)  # pickle and copy rebuild errors from args
        self.field = field


class AutumnAPIError(AutumnError):
    """The server responded, but not with a portal session.

    Attributes:
        status: The HTTP status. 200 means that the body could not be used, for example
            because it is not JSON.
        message: The server's message, or the start of the body if it has none. For a
            2xx or 3xx, it says what is wrong with the response. Anything that looks
            like a secret key is masked, as Autumn quotes the start of an unknown key.
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
    """The request could not be sent, or no complete response arrived."""


class AutumnTimeoutError(AutumnConnectionError, TimeoutError):
    """No complete response arrived in time."""


@dataclasses.dataclass(frozen=True)
class OpenCustomerPortalParams:
    """Parameters of a portal session. Mirrors the type of that name in Autumn's SDKs.

    Attributes:
        customer_id: Your ID for the customer, as given to Autumn: 1 to 1024 visible
            ASCII characters. Autumn's rule for new IDs is stricter, but it has changed
            twice, and customers with older IDs exist.
        configuration_id: Stripe billing portal configuration ID, from the Stripe
            dashboard: 1 to 1024 visible ASCII characters. None means the default one.
        return_url: http or https URL that the portal page's back button links to. None
            means the organization's success URL, by default https://useautumn.com.
            If it comes from the browser, check that it points to your application. For
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
        rule = "1 to 1024 visible ASCII characters"
        _check_text("customer_id", self.customer_id, 1024, rule)
        if self.configuration_id is not None:
            _check_text("configuration_id", self.configuration_id, 1024, rule)
        if self.return_url is not None:
            _parse_url("return_url", self.return_url)

    def to_dict(self) -> dict[str, str]:
        """Return the fields that are not None, named as in Autumn's TypeScript SDK.

        Do not send this dict: Autumn's HTTP API uses snake_case.
        """
        fields = {
            "customerId": self.customer_id,
            "configurationId": self.configuration_id,
            "returnUrl": self.return_url,
        }
        return {name: value for name, value in fields.items() if value is not None}


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
        if not isinstance(cast(Any, self.customer_id), (str, type(None))):
            raise _refusal("customer_id", "a str or None", self.customer_id)
        if _parse_url("url", self.url)["scheme"].lower() != "https":
            raise _refusal("url", "an https URL, not an http one", self.url)

    def to_dict(self) -> dict[str, Optional[str]]:
        """Return both fields, named as in Autumn's TypeScript SDK."""
        return {"customerId": self.customer_id, "url": self.url}


def build_request(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: Optional[str] = None,
    allow_http: bool = False,
) -> urllib.request.Request:
    """Return the HTTP request that opens a portal session, without sending it.

    To send it with another HTTP client, use the request's get_method(), full_url,
    header_items() and data. Turn off redirects, and pass the response to parse_response().

    Args:
        params, secret_key, server_url, allow_http: As in open_customer_portal().

    Returns:
        The request. If urllib follows a redirect, it does not send the key again.

    Raises:
        AutumnValidationError: An argument is invalid, or there is no key. No frame of
            this file in the error's traceback holds the key.
    """
    # Autumn rejects null.
    fields = {k: v for k, v in dataclasses.asdict(params).items() if v is not None}
    try:
        server_url = _get_server_url(server_url, allow_http)
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
    text = str(body, "utf-8-sig", "replace")  # raises TypeError if body is a str
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    code = None
    if status == 200 and fields.get("url") is None:
        message = "no portal session: the body is not a JSON object with a url"
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
    # Raised outside `except`, so that the error has no `__context__`.
    raise AutumnAPIError(status, message, code, retry_after)


def open_customer_portal(
    params: OpenCustomerPortalParams,
    *,
    secret_key: Optional[str] = None,
    server_url: Optional[str] = None,
    timeout: float = 10.0,
    max_retries: int = 2,
    context: Optional[SSLContext] = None,
    allow_http: bool = False,
) -> OpenCustomerPortalResponse:
    """Open a portal session for a customer. Thread-safe.

    Each call creates a new portal session, so a retry is safe. Redirects are not
    followed. Calls over https use the proxy that urllib finds, which must be an HTTP proxy.
    Calls over http, or to this machine, use none.

    Args:
        params: The customer, and optionally a return URL and a configuration.
        secret_key: Autumn secret key, which begins with ``am_sk_``. None means the
            environment variable AUTUMN_SECRET_KEY.
        server_url: URL of the Autumn server, without /v1. It must be https, because
            the request carries the key, or http to localhost, 127.0.0.0/8 or [::1].
            None means the environment variable AUTUMN_SERVER_URL or, if that is not set
            or empty, DEFAULT_SERVER_URL.
        timeout: Seconds for the whole call, with its retries and the waits between
            them: above 0 and at most 86,400. It does not bound DNS look-ups.
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
        AutumnConnectionError: The request could not be sent, or no complete response
            arrived. Its subclass AutumnTimeoutError means that none arrived in time.
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
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 3] + "..."
    return "".join(char if char.isprintable() else "?" for char in line)


def _check_text(
    name: str, value: Any, limit: int, rule: str, source: str = "it"
) -> None:
    """Check that a value is a str of 1 to `limit` visible ASCII characters."""
    if not isinstance(value, str):
        raise _refusal(name, f"a str: {rule}", value, source)
    if not re.fullmatch(f"[!-~]{{1,{limit}}}", value):
        raise _refusal(name, rule, value, source)


def _refusal(
    name: str, rule: str, value: Any, source: str = "it"
) -> AutumnValidationError:
    """Return the error for an invalid value. It quotes only numbers."""
    actual = f"of type {type(value).__name__}"
    if isinstance(value, str):
        actual = f"a str of length {len(value)}"
    elif isinstance(value, (int, float)):
        actual = f"the {type(value).__name__} {value}"
    return AutumnValidationError(name, f"must be {rule}; {source} is {actual}")


# Accept only URLs whose host browsers and Python parse alike. Double quotes and angle
# brackets are refused because a page that does not escape such a URL would let it break
# out of a double-quoted HTML attribute.
_URL = re.compile(
    r"""
    (?P<scheme> https? ) ://
    (?P<host> [a-z0-9_-]+ ( \. [a-z0-9_-]+ )* \.? | \[ [0-9a-f.]* : [0-9a-f:.]* ] )
    ( : (?P<port> [0-9]{1,5} ) )?
    (?P<path> ( / [^\\?#"<>]* )? )
    (?P<query> ( [?#] [^"<>]* )? )  # or a fragment
    """,
    re.VERBOSE | re.IGNORECASE,
)


def _parse_url(name: str, url: Any, source: str = "it") -> re.Match[str]:
    """Return the parts of a valid URL, or raise AutumnValidationError."""
    rule = (
        "a full http or https URL, such as https://app.example.com/account, of at most"
        " 8192 visible ASCII characters, without a user name, a port above 65535, double"
        " quotes, angle brackets, or a backslash in the path"
    )
    _check_text(name, url, 8192, rule, source)
    match = _URL.fullmatch(url)
    if (
        not match
        or (match["host"].startswith("[") and not _parse_ip(match["host"]))
        or int(match["port"] or 0) > 65_535
    ):
        raise _refusal(name, rule, url, source)
    return match


def _parse_ip(host: str) -> str:
    """Return the IP address in a URL's host, or "" if it is a name."""
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return ""


def _get_server_url(url: Optional[str], allow_http: bool) -> str:
    """Return the server's URL, from the argument, the environment or the default."""
    source = "it"
    if url is None:
        source = "AUTUMN_SERVER_URL"
        url = os.environ.get(source) or DEFAULT_SERVER_URL
    match = _parse_url("server_url", url, source)
    is_https = match["scheme"].lower() == "https"
    # Only True allows http: the "false" of an environment variable is truthy.
    if not (is_https or allow_http is True or _is_loopback(match["host"])):
        rule = (
            "https, because the request carries the key; http needs allow_http=True,"
            " except to localhost, 127.0.0.0/8 and [::1]"
        )
        raise _refusal("server_url", rule, url, source)
    if match["query"] or match["path"].rstrip("/").endswith("/v1"):
        rule = "a URL without a query, a fragment or a final /v1"
        raise _refusal("server_url", rule, url, source)
    return url


def _is_loopback(host: str) -> bool:
    ip = _parse_ip(host)
    return host.lower() == "localhost" or ip == "::1" or ip.startswith("127.")


def _get_secret_key(key: Optional[str]) -> str:
    """Return the key, from the argument or the environment. No message shows it."""
    source = "it"
    if key is None:
        source, key = "AUTUMN_SECRET_KEY", os.environ.get("AUTUMN_SECRET_KEY")
    if not key:
        problem = "is not set or is empty"
    elif not re.fullmatch("[!-~]+", key):
        problem = "contains white space or a character that is not visible ASCII"
    elif not key.startswith("am_") or key.startswith("am_pk"):  # publishable
        problem = "does not begin with am_sk"
    else:
        return key
    rule = "must be an Autumn secret key (am_sk_...)"
    raise AutumnValidationError("secret_key", f"{rule}; {source} {problem}")


def _clean(text: Any, limit: int) -> str:
    """Return a server's text as one line that holds no key, or "" if there is none."""
    line = _one_line(text, limit) if isinstance(text, str) else ""
    # In raw JSON, a quote or a backslash ends a key.
    return re.sub(r"am_(sk|oauth|jwt)_[^\s\"'<>\\]*", r"am_\1_***", line)


def _check_limits(timeout: Any, max_retries: Any) -> None:
    if not (isinstance(timeout, (int, float)) and 0 < timeout <= 86_400):
        raise _refusal("timeout", "a number above 0 and at most 86400", timeout)
    if not (isinstance(max_retries, int) and max_retries >= 0):
        raise _refusal("max_retries", "an int of 0 or more", max_retries)


# Internals: sending.
#
# A socket's timeout applies to each operation, not to their sum. So it is set several
# times, each time to what is left until the deadline:
# - before connecting to an address, but to an equal share of that (_connect)
# - once connected, for CONNECT to a proxy, the TLS handshake and sending (_connect)
# - before each read, and after it, for a TLS handshake that follows CONNECT (_BoundedFile)
#
# do_open() and two attributes of an http.client connection, _create_connection and
# response_class, are undocumented, but unchanged from Python 3.9 to 3.15. Other tools hook
# in here too: tracing agents replace OpenerDirector.open() or do_open(), VCR.py replaces
# the connection classes, and mock libraries replace functions of socket.

_FIRST_BACKOFF = 0.25  # seconds; doubles with each retry
_MAX_RESPONSE_BYTES = 1_048_576  # 1 MiB, headers included

# Reported as an AutumnConnectionError. ValueError may come from an impossible host name,
# OverflowError and MemoryError from an impossible length. Other exceptions pass through.
_FAILURES = (OSError, http.client.HTTPException, ValueError, OverflowError, MemoryError)


def _send_with_retries(
    request: urllib.request.Request, timeout: float, max_retries: int, context: Any
) -> OpenCustomerPortalResponse:
    deadline = time.monotonic() + timeout
    proxy = _find_proxy(request)
    through = f" through the proxy {proxy[0]}" if proxy else ""
    route = f"{request.type}://{request.host}{through}"
    opener = urllib.request.OpenerDirector()  # has no handlers for redirects or proxies
    opener.add_handler(_Handler(proxy, deadline, context))
    attempts = 0
    while True:
        attempts += 1
        retry_after = 0
        try:
            with opener.open(request) as response:
                body = response.read()
            # Not in the with block, where VCR.py's response would swallow the error.
            return parse_response(response.status, response.headers, body)
        except AutumnAPIError as exc:
            error: AutumnError = exc
            may_retry = exc.status == 429 or 500 <= exc.status < 600
            retry_after = exc.retry_after or 0
        except _FAILURES as exc:
            error, may_retry = _explain(exc, route, attempts)
        # AWS SnapStart restores random's state, so all copies would wait equally long:
        # https://docs.aws.amazon.com/lambda/latest/dg/snapstart-uniqueness.html
        jitter = random.SystemRandom().uniform(0.5, 1)
        delay = retry_after + jitter * _FIRST_BACKOFF * 2 ** (attempts - 1)
        in_time = time.monotonic() + delay < deadline
        if not (may_retry and attempts <= max_retries and in_time):
            raise error
        time.sleep(delay)


def _find_proxy(request: urllib.request.Request) -> Optional[tuple[str, str]]:
    """Return the address and user info of the proxy in urllib's settings, or None."""
    host = urllib.parse.urlsplit(request.full_url).hostname or ""
    # Over http, a proxy would see the key. This check comes first, because getproxies()
    # can kill a forked process on macOS.
    if request.type == "http" or _is_loopback(host):
        return None
    setting = urllib.request.getproxies().get("https", "").strip()
    if not setting or urllib.request.proxy_bypass(request.host):
        return None
    return _parse_proxy(setting)


def _parse_proxy(setting: str) -> tuple[str, str]:
    """Return the address and user info in a proxy setting.

    In "http://user:p@ss/word@proxy.example:3128/", these are "proxy.example:3128" and
    "user:p@ss/word": a password may contain any character.
    """
    if setting.startswith("//"):
        setting = "http:" + setting
    elif not re.match("[a-z][a-z0-9+.-]*://", setting, re.IGNORECASE):
        setting = "http://" + setting
    scheme, _, rest = setting.partition("://")
    userinfo, _, rest = rest.rpartition("@")
    try:
        match = _parse_url("proxy", "http://" + rest)
    except AutumnValidationError:
        match = None
    if not match:  # raised outside `except`, so that the error has no `__context__`
        raise AutumnConnectionError("the proxy setting has no valid host and port")
    address = urllib.parse.urlsplit(match[0]).netloc
    if scheme.lower() != "http":
        raise AutumnConnectionError(
            f"cannot use the proxy {address}: only http:// proxies are supported"
        )
    return address if match["port"] else f"{address}:80", userinfo


class _Handler(urllib.request.AbstractHTTPHandler):
    """Sends a request. OpenerDirector.open() calls its default_open()."""

    def __init__(
        self, proxy: Optional[tuple[str, str]], deadline: float, context: Any
    ) -> None:
        super().__init__(debuglevel=0)  # http.client's debug output shows the key
        self._proxy = proxy
        self._deadline = deadline
        self._context = context

    def default_open(self, request: urllib.request.Request) -> Any:
        # do_open() connects, sends the request and reads the response's headers. It and
        # http.client add the headers Host, Content-Length, Accept-Encoding and Connection.
        make_connection = functools.partial(self._make_connection, request.type)
        return self.do_open(make_connection, request)

    def _make_connection(self, scheme: str, host: str, **_: object) -> Any:
        """Return an http.client connection that is not connected yet."""
        client: Any = http.client  # Any, because of the attributes that are set below
        address, userinfo = self._proxy or (host, "")
        if scheme == "http":
            connection = client.HTTPConnection(address)
        else:
            context = _default_context() if self._context is None else self._context
            connection = client.HTTPSConnection(address, context=context)
        if self._proxy:
            connection.set_tunnel(host, headers=_authorization(userinfo))
        connection._create_connection = self._connect
        connection.response_class = self._make_response
        return connection

    def _connect(self, address: tuple[str, int], *_: object) -> Any:
        """Try a host's addresses in turn, each for an equal share of the time left."""
        # Mock libraries replace these two socket functions, and expect the arguments
        # that the standard library passes. The second gets an IP address to connect to.
        infos: list[Any] = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
        error = OSError("the host name has no address")
        for index, info in enumerate(infos):
            try:
                share = _time_left(self._deadline) / (len(infos) - index)
                sock = socket.create_connection(info[4][:2], share, None)
            except OSError as exc:
                error = exc.with_traceback(None)  # it keeps this frame alive
            else:
                # 0 would mean non-blocking. Raising here would leave the socket open.
                sock.settimeout(max(self._deadline - time.monotonic(), 0.001))
                return sock
        raise error

    def _make_response(self, sock: Any, **options: Any) -> http.client.HTTPResponse:
        file: Any = _BoundedFile(sock, self._deadline)
        return http.client.HTTPResponse(file, **options)


# No lock: a process forked while a thread held it would hang. The first threads may each
# create a context, which is harmless.
@functools.cache
def _default_context() -> SSLContext:
    """Return the process's TLS context. Creating it takes more CPU than a whole call."""
    import ssl  # missing from some Pythons

    return ssl.create_default_context()


def _authorization(userinfo: str) -> dict[str, str]:
    """Return the Proxy-Authorization header as a dict, empty without user info."""
    if not userinfo:
        return {}
    userinfo = userinfo if ":" in userinfo else userinfo + ":"
    # In os.environ, surrogates stand for bytes that are not UTF-8.
    raw = urllib.parse.unquote_to_bytes(userinfo.encode(errors="surrogateescape"))
    return {"Proxy-Authorization": "Basic " + base64.b64encode(raw).decode()}


def _time_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


class _BoundedFile(io.RawIOBase):
    """The file that HTTPResponse reads from. Reading fails after a deadline or 1 MiB."""

    def __init__(self, sock: Any, deadline: float) -> None:
        self._sock = sock
        # Keeps the socket open after do_open() closes it, until this file is closed.
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
        self._sock.settimeout(_time_left(self._deadline))  # for TLS after CONNECT
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
    # do_open() may wrap an OSError in a URLError.
    if isinstance(exc, urllib.error.URLError) and isinstance(exc.reason, OSError):
        exc = exc.reason
    is_timeout = isinstance(exc, (TimeoutError, socket.timeout))
    if not isinstance(exc, OSError):
        # Only the type is quoted, because the text may hold a header or the response.
        reason, cause = type(exc).__name__, None
        # A retry cannot fix an impossible host name, Content-Length or chunk size.
        may_retry = isinstance(exc, http.client.HTTPException)
    elif refused := re.match("Tunnel connection failed: ([0-9]+)", str(exc)):
        # Only the status is quoted, because the rest may echo the proxy password.
        reason, cause = f"the proxy responded with status {refused[1]}", None
        # Repeated wrong passwords can lock an account.
        may_retry = not refused[1].startswith("4")
    else:
        reason, cause = str(exc) or type(exc).__name__, exc.with_traceback(None)
        cause.__cause__ = cause.__context__ = None
        if isinstance(exc, ValueError):  # an SSLCertVerificationError
            # The next call reads the CAs again, in case they were renewed.
            _default_context.cache_clear()
        may_retry = not (is_timeout or isinstance(exc, ValueError))
    error_type = AutumnTimeoutError if is_timeout else AutumnConnectionError
    error = error_type(
        f"could not get a response from {route} after {attempts}"
        f" attempt{'s' if attempts > 1 else ''}: {reason}"
    )
    error.__cause__ = cause
    return error, may_retry
