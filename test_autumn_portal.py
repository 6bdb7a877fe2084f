# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of autumn_portal, and a local stand-in for Autumn to develop against.

    python3 -m unittest                        runs the tests
    python3 test_autumn_portal.py demo         opens portal sessions on the stand-in
    python3 test_autumn_portal.py serve        runs the stand-in until Ctrl-C (see --help)

All three need nothing but Python and autumn_portal.py, and send nothing beyond 127.0.0.1.
The stand-in and the demo come first, then helpers, then tests in the order of the module,
and at the end tests of vendored copies.
"""

import argparse
import base64
import contextlib
import copy
import dataclasses
import enum
import errno
import gc
import html
import http.client
import http.server
import io
import itertools
import json
import os
import pathlib
import pickle
import re
import secrets
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import traceback
import types
import unittest
import urllib.request
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import autumn_portal
from autumn_portal import (
    AutumnAPIError,
    AutumnConnectionError,
    AutumnError,
    AutumnTimeoutError,
    AutumnValidationError,
    OpenCustomerPortalParams,
    OpenCustomerPortalResponse,
    build_request,
    open_customer_portal,
    parse_response,
)

MODULE = pathlib.Path(autumn_portal.__file__).resolve()

# No error may show either of these. assert_raises_clean() looks for SENTINEL.
KEY = "am_sk_test_SENTINEL"
PORTAL_URL = "https://billing.stripe.com/p/session/test_SENTINEL"

PARAMS = OpenCustomerPortalParams(
    customer_id="cus_123", return_url="https://useautumn.com"
)

# A self-signed certificate for 127.0.0.1, valid from 2020 to 2120, and its private key.
# They are here because the standard library cannot create any, and are useless elsewhere.
TEST_CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBazCCARKgAwIBAgIBATAKBggqhkjOPQQDAjAUMRIwEAYDVQQDDAkxMjcuMC4w
LjEwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBQxEjAQBgNVBAMM
CTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABFzKqbBYbJNg11ml
/Bb6S5bxgNdTYNNBVmsrvUf44+arUbJrFSopAiCewe1R3mje0IUzx3j528qJ6gmr
oEsS8XCjUzBRMA8GA1UdEwEB/wQFMAMBAf8wDgYDVR0PAQH/BAQDAgKEMA8GA1Ud
EQQIMAaHBH8AAAEwHQYDVR0OBBYEFP162X9dXVQ2XNgDv3MN+ce06IllMAoGCCqG
SM49BAMCA0cAMEQCIEfYC0FjkEpr+ftjRM8/7JnH1MesCL7LNAG0Ycav53EaAiBd
UdBt0owj65rSxnETNcETrA0EB1dikqUk0BOVfVmgIQ==
-----END CERTIFICATE-----
"""
TEST_PRIVATE_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgBK5O/51ziRTqCiwt
6J7trzT3aQMb0qixQtfEdkKLZZ+hRANCAARcyqmwWGyTYNdZpfwW+kuW8YDXU2DT
QVZrK71H+OPmq1GyaxUqKQIgnsHtUd5o3tCFM8d4+dvKieoJq6BLEvFw
-----END PRIVATE KEY-----
"""


# --- Stand-in for Autumn ---


class Server(socketserver.ThreadingTCPServer):
    """A local server. Not an HTTPServer, because that looks up its own host name."""

    request_queue_size = 128
    # On Windows, this would let a second server use the same port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, handler, scheme="http", host="127.0.0.1", port=0):
        super().__init__((host, port), handler)
        self.port = self.server_address[1]
        self.url = f"{scheme}://{host}:{self.port}"

    def __enter__(self):
        # poll_interval: how soon shutdown() takes effect.
        run = threading.Thread(target=self.serve_forever, args=(0.005,), daemon=True)
        run.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """Ignore clients that hang up, as browsers do."""


class StandIn(Server):
    """A server that responds as Autumn's was observed to, and serves portal pages.

    Every customer has a portal, except those whose ID begins with "unknown" (404), "busy"
    (429) or "slow" (no response).

    Attributes:
        key: The only secret key that is accepted.
        behavior: "unknown", "busy" or "slow" makes every customer behave that way.
        exchanges: For each request to Autumn: its first line, headers and body, and the
            status and body of the response.
        portal_url: The portal URL of every session. None means a new one for each,
            whose portal page is on the StandIn `portal_server`.
        sessions: The request fields of each session, by the path of its portal page.
        log: A function that is called with one line for each request.
    """

    daemon_threads = True

    def __init__(self, context=None, **address):
        scheme = "https" if context else "http"
        super().__init__(_StandInHandler, scheme, **address)
        if context:
            self.socket = context.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.key = KEY
        self.behavior = None
        self.exchanges = []
        self.portal_url = PORTAL_URL
        self.portal_server = self
        self.sessions = {}
        self.log = lambda line: None

    def open_session(self, fields):
        """Return the portal URL of a new session."""
        if self.portal_url:
            return self.portal_url
        path = f"/p/session/{secrets.token_hex(8)}"
        self.portal_server.sessions[path] = fields
        return self.portal_server.url + path


class _StandInHandler(http.server.BaseHTTPRequestHandler):
    PORTAL_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<title>Portal</title>
<h1>Billing portal</h1>
<p>This page stands in for Stripe's. The customer is <b>{customer_id}</b>.</p>
<p>{link}</p>
"""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = json.loads(body)
        status, content = self.respond(fields)
        about = f"{fields.get('customer_id')!a} {self.path.rpartition('/')[2]}"
        self.server.log(f"{status or 'no response'} {about}")
        is_text = isinstance(content, str)
        sent = (content if is_text else json.dumps(content)).encode()
        exchange = (self.requestline, dict(self.headers), body, status, sent)
        self.server.exchanges.append(exchange)
        if status is None:
            self.rfile.read(1)  # returns when the client closes the connection
            return
        more = {"Retry-After": "1"} if status == 429 else {}
        self.send(status, "text/plain" if is_text else "application/json", sent, more)

    def do_GET(self):
        fields = self.server.sessions.get(self.path)
        if fields is None:
            self.send(404, "text/plain", b"There is no such portal session.")
            return
        customer_id = html.escape(fields["customer_id"])
        return_url = fields.get("return_url", "https://useautumn.com")
        link = html.escape(return_url)
        # Escaping does not stop javascript: URLs.
        if return_url.startswith(("http://", "https://")):
            link = f'<a href="{link}">Return to {link}</a>'
        page = self.PORTAL_PAGE.format(customer_id=customer_id, link=link)
        self.server.log(f"200 {fields['customer_id']!a} (the portal page)")
        self.send(200, "text/html; charset=utf-8", page.encode())

    def respond(self, fields):
        """Return the status, or None for no response, and the body as a str or a dict."""
        key = self.headers.get("Authorization", "")[len("Bearer ") :]
        customer_id = fields.get("customer_id")
        is_creation = self.path == "/v1/customers.get_or_create"
        if not is_creation and self.path != "/v1/billing.open_customer_portal":
            return self.make_error(401, "no_auth_header", "Unauthorized")
        if not key.startswith("am_sk"):
            message = "Invalid authorization token prefix"
            return self.make_error(401, "invalid_request", message)
        if key != self.server.key:
            message = f"Invalid secret key: {key[:15]}***"
            return self.make_error(401, "invalid_secret_key", message)
        if not isinstance(customer_id, str):
            message = "customer_id: must be a string (received undefined)"
            return self.make_error(400, "invalid_inputs", message)
        behavior = self.server.behavior or customer_id
        if behavior.startswith("busy"):
            return 429, "Too many requests, please try again later."
        if behavior.startswith("slow"):
            return None, ""
        if is_creation:
            about = {name: fields.get(name) for name in ("name", "email")}
            return 200, {"id": customer_id, **about, "env": "sandbox"}
        if behavior.startswith("unknown"):
            message = f"Customer {customer_id} not found"
            return self.make_error(404, "customer_not_found", message)
        url = self.server.open_session(fields)
        return 200, {"customer_id": customer_id, "url": url}

    def make_error(self, status, code, message):
        return status, {"message": message, "code": code, "env": "sandbox"}

    def send(self, status, media_type, content, headers=types.MappingProxyType({})):
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def serve(arguments):
    """Run the stand-in for Autumn, and portal pages, until Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="test_autumn_portal.py serve",
        description="Run a local stand-in for Autumn, to develop against.",
    )
    add = parser.add_argument
    add("port", nargs="?", type=int, default=8080, help="8080 by default; 0: any free")
    add("--host", default="127.0.0.1", help="0.0.0.0 lets containers connect")
    add(
        "--all",
        choices=["unknown", "busy", "slow"],
        help="make every customer unknown (404), busy (429) or slow (no response)",
    )
    args = parser.parse_args(arguments)
    try:
        autumn = StandIn(host=args.host, port=args.port)
    except (OSError, OverflowError) as error:
        sys.exit(f"Cannot listen on port {args.port} of {args.host}: {error}")
    # The browser is on this machine, so the portal pages are on 127.0.0.1.
    with autumn, StandIn(server_context()) as portal_server:
        autumn.key, autumn.behavior = "am_sk_test_stand_in", args.all
        autumn.portal_url, autumn.portal_server = None, portal_server
        # Each line is one write, so that threads do not mix their lines.
        autumn.log = lambda line: print(f"{line}\n", end="", flush=True)
        portal_server.log = autumn.log
        print("This is a stand-in for Autumn. Set these for your application:\n")
        print(f"AUTUMN_SERVER_URL={autumn.url.replace('0.0.0.0', '127.0.0.1')}")
        print(f"AUTUMN_SECRET_KEY={autumn.key}\n")
        if args.all:
            print(f"Every customer is {args.all}.")
        else:
            print("Every customer has a portal page, except those whose ID begins with")
            print('"unknown" (404), "busy" (429) or "slow" (no response).')
        end = "Your browser will warn of the page's certificate. Ctrl-C ends this."
        print(f"{end}\n\n", end="", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            while True:
                time.sleep(1)


# --- The demo ---

DEMO_PORTAL_URL = "https://billing.stripe.com/p/session/test_YWNjdF8xTWFkZVVwU2Vzc2lvbg"
DEMO_SCRIPT = """\
from autumn_portal import AutumnError, OpenCustomerPortalParams, open_customer_portal

params = OpenCustomerPortalParams(
    "{customer_id}", return_url="https://app.example.com/account"
)
try:
    portal = open_customer_portal(params)
except AutumnError as error:
    print(type(error).__name__, error, sep=": ")
else:
    print("Redirect the customer to", portal.url)
"""


def demo():
    """Open portal sessions on the stand-in. Return 0 if all is as it should be."""
    print("The server is a local stand-in for Autumn. Nothing leaves this machine.")
    runs = (
        ("A customer", KEY, "user_123"),
        ("A customer whom Autumn does not know", KEY, "unknown_user"),
        ("A Stripe key by mistake", "sk_test_of_stripe", "user_123"),
    )
    results = []
    with StandIn() as autumn:
        autumn.portal_url = DEMO_PORTAL_URL
        for title, key, customer_id in runs:
            autumn.exchanges.clear()
            code = DEMO_SCRIPT.format(customer_id=customer_id)
            print(f"\n=== {title}\n\n{textwrap.indent(code, '    ')}")
            variables = {"AUTUMN_SERVER_URL": autumn.url, "AUTUMN_SECRET_KEY": key}
            done = run_python("-c", code, cwd=MODULE.parent, **variables)
            print_exchanges(autumn.exchanges, key)
            print(f"{done.stdout}{done.stderr}exit status {done.returncode}")
            is_shown = DEMO_PORTAL_URL in done.stdout
            results.append((done.returncode, is_shown, len(autumn.exchanges)))
    is_right = results == [(0, True, 1), (0, False, 1), (0, False, 0)]
    print("\nAll as it should be." if is_right else "\nNOT as it should be.")
    return 0 if is_right else 1


def print_exchanges(exchanges, key):
    for line, headers, body, status, content in exchanges:
        print(f"    > {line}")
        for name, value in headers.items():
            print(f"    > {name}: {value.replace(key, key[:6] + '***')}")
        print(f"    > {body.decode()}")
        print(f"    < {status} {content.decode()}\n")
    if not exchanges:
        print("    (nothing was sent)\n")


def run_python(*arguments, cwd=None, **environment):
    """Run this Python with arguments. In an ASCII locale, its output may be escaped."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=60,
        check=False,
    )


# --- Shared helpers ---

RESET = object()  # in a script: cut the connection off with a TCP reset
TLS = object()  # in a script: start TLS as a server, and receive the next request
BODY = json.dumps({"customer_id": "cus_123", "url": PORTAL_URL}).encode()


def http_response(status=200, body=BODY, *headers):
    """Return a complete HTTP response."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Peer(Server):
    """A server that plays a script on each connection, to do what StandIn never does.

    The last script is used for all further connections. Each step is bytes to send,
    seconds to pause, RESET or TLS.

    Attributes:
        requests: What each connection received before its script began, and after TLS.
    """

    def __init__(self, test, *scripts, context=None):
        super().__init__(None, "https" if context else "http")
        last = itertools.repeat(scripts[-1] if scripts else [])
        self.scripts = itertools.chain(scripts[:-1], last)
        self.context = context
        self.requests = []
        self.closing = threading.Event()
        self.__enter__()
        test.addCleanup(self.close)

    def close(self):
        self.closing.set()
        self.__exit__()

    def finish_request(self, connection, client_address):
        script = next(self.scripts)
        connection.settimeout(5)
        # The client may close the connection at any step.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.context:
                connection = self.context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
            self.requests.append(self.receive(connection))
            for step in script:
                if step is RESET:
                    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                if step is TLS:
                    connection = server_context().wrap_socket(connection, True)
                    stack.callback(connection.close)
                    self.requests.append(self.receive(connection))
                elif isinstance(step, bytes):
                    connection.sendall(step)
                else:
                    self.closing.wait(step)

    def receive(self, connection):
        request = connection.recv(65536)
        while request.startswith((b"POST", b"CONNECT")):
            headers, blank_line, body = request.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", headers)
            if blank_line and len(body) >= int(length[1] if length else 0):
                break
            request += connection.recv(65536)
        return request


def drip(text, pause):
    """Script steps that send a text a byte at a time."""
    return [step for byte in text for step in (bytes([byte]), pause)]


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "server.pem")
        path.write_text(TEST_CERTIFICATE + TEST_PRIVATE_KEY, encoding="ascii")
        context.load_cert_chain(str(path))  # PyPy takes no Path
    return context


def client_context():
    return ssl.create_default_context(cadata=TEST_CERTIFICATE)


class Clock:
    """Replaces the time module in autumn_portal. Time passes only in sleep()."""

    def __init__(self):
        self.now = 1000.0
        self.sleeps = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.sleeps.append(round(seconds, 6))
        self.now += seconds


class TestCase(unittest.TestCase):
    def setUp(self):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy")
        }
        environment["AUTUMN_SECRET_KEY"] = KEY
        environment.pop("AUTUMN_SERVER_URL", None)
        # Without it, urllib looks for a proxy in the settings of macOS or Windows.
        environment["no_proxy"] = "*"
        # Tests may change os.environ, which is restored after each.
        self.enter(mock.patch.dict(os.environ, environment, clear=True))
        # Whatever the module does, no name is looked up in DNS.
        resolve, is_ip = socket.getaddrinfo, socket.AI_NUMERICHOST
        self.patch("socket.getaddrinfo", lambda *args: resolve(*args[:4], 0, is_ip))

    def enter(self, context):
        """Enter a context until the end of the test."""
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def patch(self, target, *args, **kwargs):
        """Patch the object of a dotted name until the end of the test."""
        return self.enter(mock.patch(target, *args, **kwargs))

    def start_stand_in(self):
        return self.enter(StandIn())

    def patch_resolver(self, *addresses):
        """Make every name resolve to addresses: pairs of an IP address and a port."""
        infos = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", address)
            for address in addresses
        ]
        return self.patch("socket.getaddrinfo", return_value=infos)

    def refusing_address(self):
        """Return an address at which nothing is listening."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()

    def stop_clock(self):
        """Stop time, and make the random part of each wait as long as possible."""
        self.patch("random.SystemRandom.uniform", lambda _, low, high: high)
        return self.patch("autumn_portal.time", Clock())

    def assert_raises_clean(self, error_type, call, *args, **kwargs):
        """Make a call that must fail, and return its error.

        It must have exactly that type, show no secret and survive pickle and copy.
        """
        try:
            result = call(*args, **kwargs)
        except AutumnError as exc:
            error = exc
        else:
            self.fail(f"no error, but {result!r}")
        self.assertIs(type(error), error_type, error)
        self.assertLessEqual(len(str(error)), 500)
        self.assertTrue(str(error).isprintable(), ascii(str(error)))
        self.assert_shows_no_secret(error)
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            self.assertIs(type(twin), error_type)
            self.assertEqual(twin.args, error.args)
            self.assertEqual(vars(twin), vars(error))
            self.assertEqual(str(twin), str(error))
        return error

    def assert_shows_no_secret(self, error):
        shown = [repr(pickle.dumps(error))]
        shown += traceback.format_exception(type(error), error, error.__traceback__)
        for exc in chain_of(error):  # also contexts that a traceback does not show
            shown += [str(exc), repr(exc), repr(exc.args), repr(vars(exc))]
        for text in shown:
            self.assertNotIn("SENTINEL", text)

    def assert_refused(self, field, call, *args, **kwargs):
        """Make a call that must refuse the value of a field; return the error."""
        error = self.assert_raises_clean(AutumnValidationError, call, *args, **kwargs)
        self.assertEqual(error.field, field)
        self.assertTrue(str(error).startswith(f"{field}: "), error)
        return error

    def call(self, **options):
        return open_customer_portal(PARAMS, **options)

    def assert_call_raises(self, error_type, url, **options):
        """Call a server that must fail the call, and return the error."""
        options["server_url"] = url
        return self.assert_raises_clean(error_type, self.call, **options)

    def assert_attempts(self, number, error):
        """Check the number of attempts in an AutumnConnectionError's message."""
        s = "" if number == 1 else "s"
        self.assertIn(f" after {number} attempt{s}: ", str(error))


def chain_of(error):
    """Return an error, its causes and its contexts."""
    if error is None:
        return []
    return [error, *chain_of(error.__cause__), *chain_of(error.__context__)]


# --- Errors ---


class ErrorTests(TestCase):
    def test_errors_keep_their_attributes_when_copied(self):
        for error, base, *attributes, text in (
            (AutumnValidationError("url", problem="a"), ValueError, "url", "url: a"),
            (AutumnAPIError(5, message="m"), Exception, 5, "m", None, None, "5: m"),
            (AutumnAPIError(5, "m", "c", 7), AutumnError, 5, "m", "c", 7, "5 c: m"),
            (AutumnConnectionError("m"), AutumnError, "m"),
            (AutumnTimeoutError("m"), TimeoutError, "m"),
            (AutumnTimeoutError("m"), AutumnConnectionError, "m"),
        ):
            with self.subTest(error=error):
                self.assert_raises_clean(type(error), mock.Mock(side_effect=error))

                self.assertIsInstance(error, base)
                self.assertEqual(list(vars(error).values()), attributes)
                self.assertEqual(str(error), text)

    def test_str_is_one_printable_line_of_500_characters(self):
        dirty, clean = "a\r\n\tb\x1b[31m\u2028c\u202ed\ud800\x00", "a b?[31m c?d??"
        for error, text in (
            (AutumnAPIError(500, dirty), f"500: {clean}"),
            (AutumnTimeoutError(dirty), clean),
            (AutumnConnectionError("x" * 500), "x" * 500),
            (AutumnConnectionError("x" * 501), "x" * 497 + "..."),
            (AutumnAPIError(1, "x" * 999), f"1: {'x' * 494}..."),
        ):
            self.assertEqual(str(error), text)


# --- Params and response ---


class ParamsTests(TestCase):
    def test_any_visible_ascii_id_passes(self):
        """Autumn's rule for new IDs has changed twice: older IDs must still pass."""
        visible = "".join(map(chr, range(0x21, 0x7F)))
        for value in ("a", "jane.doe@example.com", visible, "x" * 1024):
            params = OpenCustomerPortalParams(value, configuration_id=value)

            self.assertEqual(params, OpenCustomerPortalParams(value, value, None))

    def test_other_ids_are_refused_and_not_shown(self):
        """The message names the field and describes the value, but quotes no text."""
        rows = [
            ("", "a str of length 0"),
            ("x" * 1025, "a str of length 1025"),
            (b"SENTINEL", "of type bytes"),
            (["SENTINEL"], "of type list"),
            (True, "the bool True"),
            (7, "the int 7"),
            (0.5, "the float 0.5"),
        ]
        for invisible in "\x00 \n\x7f\x80\u017f\u2028\ud800":
            for value in (f"SENTINEL{invisible}", f"{invisible}SENTINEL"):
                rows.append((value, "a str of length 9"))
        fields = ("customer_id", "configuration_id")
        for (value, actual), field in itertools.product(rows, fields):
            with self.subTest(field=field, actual=actual):
                values = {"customer_id": "a", field: value}

                error = self.assert_refused(field, OpenCustomerPortalParams, **values)

                a_str = "" if isinstance(value, str) else "a str: "
                rule = f"must be {a_str}1 to 1024 visible ASCII characters"
                self.assertEqual(str(error), f"{field}: {rule}; it is {actual}")
        self.assert_refused("customer_id", OpenCustomerPortalParams, None)

    def test_a_lazy_str_is_a_type_error(self):
        """Werkzeug, Django and wrapt have such lazy proxies."""
        lazy = type("Lazy", (), {"__class__": property(lambda self: str)})()
        for values in ((lazy,), ("a", lazy), ("a", None, lazy)):
            with self.assertRaises(TypeError):
                OpenCustomerPortalParams(*values)

    def test_to_dict_has_the_names_of_the_sdk(self):
        full = {"customerId": "c", "configurationId": "b", "returnUrl": "https://x"}
        params = OpenCustomerPortalParams("c", "b", "https://x")

        self.assertEqual(list(params.to_dict().items()), list(full.items()))
        self.assertEqual(OpenCustomerPortalParams("c").to_dict(), {"customerId": "c"})

    def test_params_and_responses_are_frozen_values(self):
        for value in (PARAMS, OpenCustomerPortalResponse("c", PORTAL_URL)):
            with self.assertRaises(dataclasses.FrozenInstanceError):
                value.customer_id = "d"
            self.assertEqual(value, pickle.loads(pickle.dumps(value)))


class URLTests(TestCase):
    GOOD = r"""
        https://useautumn.com http://localhost:3000/billing https://[2001:DB8::a]
        http://[::1]:5173/#/billing?x=1 https://127.0.0.1/ HTTPS://Example.COM hTtP://x?y
        https://x# https://x.:0/ https://x:65535/!$%&'()*+,-./:;=@[]^_`{|}~
        https://x?!#$%&'()*+,-./:;=?@[\]^_`{|}~ https://a_b.example/?x={y}|z\ https://x#\?#
        https://[ABCD::E]/ https://-a-.example. https://a.b-c.d_e/ https://x:00080/ https://[::ffff:1.2.3.4]:1
    """
    BAD = r"""
        undefined/dashboard javascript:alert(1) ftp://x/ https:/x https:x //x/ httpss://x/
        ://x/ xhttp://x https://good.example@evil.example/ https://@x/
        https://user:SENTINEL@good.example/ https://good.example\@evil.example/
        https://x\y https://x/\y https://x\/?y https:\\x/
        https://x/<y https://x/>y https://x/"y https://x/?< https://x/?> https://x/#"
        https://x:/ https://x:65536/ https://[::1]:99999 https://127.0.0.1:99999
        https://x:000080/ https://x:-1/ https://x:+1/ https://x:8a/ https://x:1:2/
        https://[::1]:x/ https:// https:///x https://?x https://:80/ https://a%2eb/ https://a,b:80/ https://<x>/
        https://[::1 https://::1/ https://[]/ https://[:]/ https://[:::] https://[::g]:80/
        https://[1:2:3]/ https://[fe80::1%25eth0]/ https://[fe80::1%eth0]/ https://[::1]x/
        https://[v1.x]/ https://[127.0.0.1]/ https://[1.2.3.4:80]/
        https://. https://.. https://.x https://a..b https://x.. https://a..:80/
    """
    INVISIBLE = " \t\n\x00\x7f\x80\u00e9\u017f\u0663\u2028\ufeff\ud800"

    def test_good_urls_pass_unchanged(self):
        for url in (*self.GOOD.split(), "https://" + "a" * 8184):
            self.assertEqual(OpenCustomerPortalParams("a", None, url).return_url, url)

    def test_bad_urls_are_refused_everywhere(self):
        urls = [*self.BAD.split(), "", "https://" + "a" * 8185, "http\u017f://x"]
        for char in self.INVISIBLE:
            urls += [f"{char}https://x", f"https://x{char}", f"https://x{char}y:1"]
            urls += [f"https://x/{char}", f"https://x:{char}/", f"https://x?#{char}y"]
        for url in urls:
            for field, call in (
                ("return_url", lambda v: OpenCustomerPortalParams("a", None, v)),
                ("url", lambda v: OpenCustomerPortalResponse(None, v)),
                ("server_url", lambda v: build_request(PARAMS, server_url=v)),
            ):
                with self.subTest(field=field, url=ascii(url)[:99]):
                    self.assert_refused(field, call, url)

    def test_the_message_begins_with_what_to_write(self):
        """Web frameworks have URL classes, and str() of their objects would pass."""
        rule = (
            "a full http or https URL, such as https://app.example.com/account, of at"
            " most 8192 visible ASCII characters, without a user name, a port above"
            " 65535, double quotes, angle brackets, or a backslash in the path"
        )
        for value, text in (
            ("/SENTINEL", f"{rule}; it is a str of length 9"),
            (pathlib.PurePath("x"), f"a str: {rule}; it is of type "),
            (5, f"a str: {rule}; it is the int 5"),
        ):
            values = (OpenCustomerPortalParams, "a", None, value)

            error = self.assert_refused("return_url", *values)

            self.assertTrue(str(error).startswith(f"return_url: must be {text}"))


class ResponseTests(TestCase):
    def test_the_customer_id_is_any_str_or_none(self):
        """The portal session exists by then, so an old ID must not make the call fail."""
        for customer_id in (None, "", "Jos\u00e9 P.", "x" * 5000, "a\0b\ud800"):
            response = OpenCustomerPortalResponse(customer_id, PORTAL_URL)

            fields = [("customerId", customer_id), ("url", PORTAL_URL)]
            self.assertEqual(list(response.to_dict().items()), fields)
        for bad in (5, b"SENTINEL", ["SENTINEL"]):
            arguments = (OpenCustomerPortalResponse, bad, PORTAL_URL)

            error = self.assert_refused("customer_id", *arguments)

            self.assertIn("must be a str or None; it is ", str(error))

    def test_the_url_is_https(self):
        self.assertEqual(OpenCustomerPortalResponse(None, "HTTPS://x").url, "HTTPS://x")
        for url in ("http://SENTINEL", "HTTP://SENTINEL"):
            error = self.assert_refused("url", OpenCustomerPortalResponse, None, url)

            self.assertIn("url: must be an https URL, not an http one", str(error))

    def test_repr_omits_the_url(self):
        response = OpenCustomerPortalResponse("cus_123", PORTAL_URL)

        text = "OpenCustomerPortalResponse(customer_id='cus_123')"
        self.assertEqual((repr(response), str(response)), (text, text))


# --- build_request ---


class BuildRequestTests(TestCase):
    PATH = "/v1/billing.open_customer_portal"

    def refuse(self, field, **options):
        return self.assert_refused(field, build_request, PARAMS, **options)

    def test_the_request_that_autumn_expects(self):
        fields = {
            "customer_id": "cus_123",
            "configuration_id": "bpc_1",
            "return_url": "https://useautumn.com",
        }
        self.patch("autumn_portal.API_VERSION", "2.3.0")

        request = build_request(OpenCustomerPortalParams(**fields))
        short = build_request(OpenCustomerPortalParams("c"))

        self.assertEqual(request.get_method(), "POST")
        self.assertEqual(request.full_url, "https://api.useautumn.com" + self.PATH)
        self.assertIsInstance(request.data, bytes)
        self.assertEqual(json.loads(request.data), fields)
        self.assertEqual(json.loads(short.data), {"customer_id": "c"})
        self.assertEqual(
            {name.lower(): value for name, value in request.header_items()},
            {
                "authorization": f"Bearer {KEY}",
                "accept": "application/json",
                "content-type": "application/json",
                "user-agent": f"autumn-portal/{autumn_portal.__version__}",
                "x-api-version": "2.3.0",
            },
        )

    def test_the_key_is_an_argument_or_a_variable(self):
        """The key is in a header that redirects drop."""
        for argument, key in (
            (None, KEY),
            ("am_sk_live_x", "am_sk_live_x"),
            ("am_oauth_x", "am_oauth_x"),
            ("am_jwt_x", "am_jwt_x"),
        ):
            request = build_request(PARAMS, secret_key=argument)

            headers = {"Authorization": f"Bearer {key}"}
            self.assertEqual(request.unredirected_hdrs, headers)
            self.assertNotIn("Authorization", request.headers)

    def test_other_keys_are_refused_and_not_shown(self):
        """Another company's key must not be sent to Autumn."""
        not_set = "is not set or is empty"
        not_ascii = "contains white space or a character that is not visible ASCII"
        not_autumn = "does not begin with am_sk"
        rows = [("", not_set), (f" {KEY}", not_ascii)]
        for suffix in ("\n", "\r\n", " ", "\nX-Other: 1", "\u00e9", "\x7f"):
            rows.append((KEY + suffix, not_ascii))
        for start in ("sk_live_", "rk_test_", "AM_SK_", "am-sk_", "am_pk", '"am_sk_'):
            rows.append((f"{start}SENTINEL", not_autumn))
        rule = "secret_key: must be an Autumn secret key (am_sk_...); "
        for key, problem in rows:
            with self.subTest(key=ascii(key)):
                error = self.refuse("secret_key", secret_key=key)

                self.assertEqual(str(error), f"{rule}it {problem}")

                # Not os.environ, which cannot hold some characters in some locales.
                with mock.patch("os.environ", {"AUTUMN_SECRET_KEY": key}):
                    error = self.refuse("secret_key")
                self.assertEqual(str(error), f"{rule}AUTUMN_SECRET_KEY {problem}")
        del os.environ["AUTUMN_SECRET_KEY"]
        self.assertIn(f"AUTUMN_SECRET_KEY {not_set}", str(self.refuse("secret_key")))

    def test_server_urls_that_pass(self):
        urls = """
            https://x.example HTTPS://x.example https://x.example/
            https://x.example/autumn// https://x.example/v1/autumn https://x.example/av1
            http://localhost:8080 HTTP://LocalHost http://127.255.0.1 http://[::1]:80/
        """
        for server_url in urls.split():
            request = build_request(PARAMS, server_url=server_url)

            self.assertEqual(request.full_url, server_url.rstrip("/") + self.PATH)

    def test_server_urls_that_are_refused(self):
        insecure = (
            "must be https, because the request carries the key; http needs"
            " allow_http=True, except to localhost, 127.0.0.0/8 and [::1]; it is"
        )
        extra = "must be a URL without a query, a fragment or a final /v1; it is"
        not_loopback = """
            http://autumn:8080 http://api.useautumn.com http://localhost. http://127.1
            http://localhost.evil.example http://127.evil.example http://128.0.0.1
            http://0.0.0.0 http://[::2] http://[::ffff:127.0.0.1] HTTP://SENTINEL
            http://notlocalhost http://[127::1]
        """
        with_extra = """
            https://api.useautumn.com/v1 https://api.useautumn.com/v1//
            https://x.example/autumn/v1/ https://x.example/?SENTINEL https://x.example#
            https://x.example/#SENTINEL https://x.example? http://127.0.0.1/v1
        """
        for problem, urls in ((insecure, not_loopback), (extra, with_extra)):
            for server_url in urls.split():
                with self.subTest(server_url=server_url):
                    error = self.refuse("server_url", server_url=server_url)

                    self.assertIn(f"server_url: {problem}", str(error))

    def test_the_server_is_argument_variable_or_default(self):
        """The variable is read at each call: an .env file may be loaded after import."""
        for argument, variable, server_url in (
            (None, None, "https://api.useautumn.com"),
            (None, "", "https://api.useautumn.com"),
            (None, "http://127.0.0.1:8080/", "http://127.0.0.1:8080"),
            ("https://x.example", "http://127.0.0.1:8080", "https://x.example"),
            ("https://x.example", "not a URL", "https://x.example"),
        ):
            with self.subTest(argument=argument, variable=variable):
                if variable is not None:
                    os.environ["AUTUMN_SERVER_URL"] = variable

                request = build_request(PARAMS, server_url=argument)

                self.assertEqual(request.full_url, server_url + self.PATH)

    def test_a_bad_server_variable_is_named(self):
        for value in ("autumn:8080", "http://autumn:8080", "https://autumn/v1"):
            os.environ["AUTUMN_SERVER_URL"] = value

            error = self.refuse("server_url")

            end = f"; AUTUMN_SERVER_URL is a str of length {len(value)}"
            self.assertTrue(str(error).endswith(end), error)

    def test_only_true_allows_http(self):
        """The "false" of an environment variable is truthy."""
        for server_url in ("http://autumn:8080", "HTTP://[fd00::1]:80/autumn"):
            request = build_request(PARAMS, server_url=server_url, allow_http=True)
            self.assertEqual(request.full_url, server_url + self.PATH)

            for value in (False, None, "false", "True", 1, ["SENTINEL"]):
                with self.subTest(value=value):
                    self.refuse("server_url", server_url=server_url, allow_http=value)
        for server_url in ("http://autumn:8080/v1", "ftp://autumn", "http://a@b"):
            self.refuse("server_url", server_url=server_url, allow_http=True)


# --- parse_response ---


class ParseResponseTests(TestCase):
    def parse_error(self, status, body, headers=types.MappingProxyType({})):
        error = self.assert_raises_clean(
            AutumnAPIError, parse_response, status, headers, body
        )
        self.assertEqual(error.status, status)
        return error

    def test_a_200_with_a_url_is_a_session(self):
        for body in (BODY, b"\xef\xbb\xbf" + BODY, BODY[:-1] + b', "more": [1, {}]}'):
            portal = parse_response(200, {}, body)

            self.assertEqual(portal, OpenCustomerPortalResponse("cus_123", PORTAL_URL))
        for body in (BODY.replace(b'"cus_123"', b"null"), b'{"url": "https://x"}'):
            self.assertIsNone(parse_response(200, {}, body).customer_id)

    def test_an_unusable_200_says_why_and_quotes_nothing(self):
        no_url = "no portal session: the body is not a JSON object with a url"
        url = "no portal session: url: must be "
        customer_id = "no portal session: customer_id: must be "
        for body, start in (
            (b"", no_url),
            (b"<html>SENTINEL", no_url),
            (BODY[:-1], no_url),
            (BODY + b"SENTINEL", no_url),
            (b"\xff" + BODY, no_url),
            (b"[" * 100_000, no_url),
            (b"[" + BODY + b"]", no_url),
            (b"{}", no_url),
            (b'{"url": null, "message": "SENTINEL", "code": "SENTINEL"}', no_url),
            (b'{"url": ""}', url),
            (b'{"url": "javascript:SENTINEL"}', url),
            (b'{"url": "http://SENTINEL"}', url),
            (b'{"url": ["SENTINEL"]}', url),
            (b'{"url": "https://x", "customer_id": ["SENTINEL"]}', customer_id),
        ):
            with self.subTest(body=body[:60]):
                error = self.parse_error(200, body)

                self.assertTrue(error.message.startswith(start), error)
                self.assertIsNone(error.code)
                self.assertEqual(chain_of(error), [error])

    def test_the_body_must_be_bytes(self):
        for status, body in itertools.product((200, 302, 404), (BODY.decode(), None)):
            with self.subTest(status=status), self.assertRaises(TypeError):
                parse_response(status, {}, body)

    def test_without_a_message_the_body_is_quoted(self):
        for body, message in (
            (b"Too many requests,\r\nplease.", "Too many requests, please."),
            (b"caf\xc3\xa9 \xff", "caf\u00e9 \ufffd"),
            (b"x" * 100_000, "x" * 397 + "..."),
            (b"\xef\xbb\xbferror code: 1010", "error code: 1010"),
            (b"[" * 100_000, "[" * 397 + "..."),
            (b" \n", "the body is empty"),
            (b'["a"]', '["a"]'),
            (b'{"message": "cut o', '{"message": "cut o'),
            (b'{"message": 5, "code": 5}', '{"message": 5, "code": 5}'),
            (b'{"message": " ", "code": "\\n"}', '{"message": " ", "code": "\\n"}'),
        ):
            with self.subTest(body=body[:40]):
                error = self.parse_error(502, body)

                self.assertEqual((error.message, error.code), (message, None))

    def test_the_servers_message_and_code_become_printable(self):
        for message, code, shown in (
            ("Customer x not found", "customer_not_found", None),
            ("a\n\ud800" + "b" * 999, "c\x00" * 99, "a ?" + "b" * 394 + "..."),
        ):
            for prefix in (b"", b"\xef\xbb\xbf", b" \n"):
                fields = {"message": message, "code": code}

                error = self.parse_error(404, prefix + json.dumps(fields).encode())

                self.assertEqual(error.message, shown or message)
                self.assertEqual(error.code, "c?" * 30 + "c..." if shown else code)

    def test_what_looks_like_a_key_is_masked(self):
        """Autumn's message for an unknown key quotes its first 15 characters."""
        for text, masked in (
            (f"Invalid secret key: {KEY[:15]}***", "Invalid secret key: am_sk_***"),
            (f"key={KEY},\nno am_sk", "key=am_sk_*** no am_sk"),
            ("am_oauth_SENTINEL am_jwt_SENTINEL", "am_oauth_*** am_jwt_***"),
            (f"'{KEY}' <b>{KEY}</b>", "'am_sk_***' <b>am_sk_***</b>"),
            (f'"{KEY}",{KEY}\\n{KEY}', '"am_sk_***",am_sk_***\\nam_sk_***'),
            ("x" * 50 + KEY, "x" * 50 + "am_sk_***"),  # too long for a code: cut first
        ):
            with self.subTest(text=text):
                body = json.dumps({"message": text, "code": text}).encode()

                error = self.parse_error(401, body)
                plain = self.parse_error(502, text.encode())

                self.assertEqual((error.message, error.code), (masked, masked))
                self.assertEqual(plain.message, masked)

    def test_of_other_2xx_and_3xx_nothing_is_quoted(self):
        """The body may be part of a portal session."""
        not_followed = "redirects are not followed"
        fields = b'{"message": "SENTINEL", "code": "SENTINEL"}'
        for status, message in (
            (201, "not a portal session: expected status 200"),
            (299, "not a portal session: expected status 200"),
            (300, not_followed),
            (399, not_followed),
        ):
            for body in (BODY, BODY[:-1], b"SENTINEL", fields):
                error = self.parse_error(status, body)

                self.assertEqual((error.message, error.code), (message, None))
        for status in (199, 400, 999):
            self.assertEqual(self.parse_error(status, b"x").message, "x")

    def test_retry_after_is_whole_seconds_or_none(self):
        rows = [("0", 0), ("1", 1), ("007", 7), (" 8 ", 8), ("999999999", 999_999_999)]
        for value in ("-1", "+1", "1.5", "1e3", "1_0", "soon", "\u0663", "\u00b2", ""):
            rows.append((value, None))
        rows += [("1000000000", None), ("Wed, 21 Oct 2026 07:28:00 GMT", None)]
        names = ("Retry-After", "retry-after", "RETRY-AFTER")
        for (value, seconds), name in itertools.product(rows, names):
            with self.subTest(name=name, value=value):
                error = self.parse_error(429, b"x", {"Date": "today", name: value})

                self.assertEqual(error.retry_after, seconds)
        self.assertIsNone(self.parse_error(503, b"x").retry_after)


# --- open_customer_portal ---


class OpenTests(TestCase):
    def test_the_server_receives_the_request(self):
        autumn = self.start_stand_in()
        autumn.key = "am_sk_other"
        params = OpenCustomerPortalParams("jane.doe@example.com", "bpc_1", "https://x")
        options = {"server_url": autumn.url, "secret_key": "am_sk_other"}

        portal = open_customer_portal(params, **options)

        self.assertEqual(portal.customer_id, "jane.doe@example.com")
        self.assertEqual(portal.url, PORTAL_URL)
        ((line, headers, body, _, _),) = autumn.exchanges
        request = build_request(params, **options)
        self.assertEqual(line, "POST /v1/billing.open_customer_portal HTTP/1.1")
        self.assertEqual(json.loads(body), json.loads(request.data))
        self.assertEqual(
            {name.title(): value for name, value in headers.items()},
            {
                **{name.title(): value for name, value in request.header_items()},
                "Accept-Encoding": "identity",
                "Connection": "close",
                "Content-Length": str(len(body)),
                "Host": autumn.url[len("http://") :],
            },
        )

    def test_bad_limits_are_refused_before_sending(self):
        peer = Peer(self, [http_response()])
        nan, inf = float("nan"), float("inf")
        timeouts = (0, -1.5, nan, inf, 86_400.1, 10**400, None, "SENTINEL", 1j)
        for field, values, rule in (
            ("timeout", timeouts, "a number above 0 and at most 86400"),
            ("max_retries", (-1, 2.0, "2", None), "an int of 0 or more"),
        ):
            for value in values:
                with self.subTest(field=field, value=value):
                    arguments = {"server_url": peer.url, field: value}

                    error = self.assert_refused(field, self.call, **arguments)

                    self.assertIn(f"{field}: must be {rule}; it is ", str(error))
        self.assertEqual(peer.requests, [])

    def test_subclasses_of_numbers_are_limits(self):
        """NumPy's float64 is a float, and a member of an IntEnum is an int."""
        url = self.start_stand_in().url
        number = enum.IntEnum("Number", {"NONE": 0})

        for timeout in (type("float64", (float,), {})(5), 86_400, 0.5):
            self.call(server_url=url, timeout=timeout, max_retries=number.NONE)

    def test_redirects_are_not_followed(self):
        """Each call sends one request, and none to the second server."""
        other = Peer(self, [http_response()])
        location = f"Location: {other.url}/v1/billing.open_customer_portal"
        scripts = [[http_response(status, BODY, location)] for status in (302, 307)]
        peer = Peer(self, *scripts)

        for status in (302, 307):
            error = self.assert_call_raises(AutumnAPIError, peer.url)

            self.assertEqual(error.status, status)

        other.close()
        self.assertEqual((len(peer.requests), other.requests), (2, []))

    def test_http_clients_debug_output_stays_off(self):
        """It shows the key, and other code may have turned it on globally."""
        self.patch("http.client.HTTPConnection.debuglevel", 1)

        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.call(server_url=self.start_stand_in().url)

        self.assertEqual(output.getvalue(), "")

    def test_every_connection_is_closed(self):
        """It is not left to the garbage collector."""
        kept, sockets = [], []

        def keep(objects, make):
            return lambda *args: objects.append(make(*args)) or objects[-1]

        cut = http_response()[:-5]
        scripts = ([http_response(), 5], [http_response(404)], [cut], [cut, RESET], [])
        self.patch("autumn_portal._BoundedFile", keep(kept, autumn_portal._BoundedFile))
        self.patch("socket.create_connection", keep(sockets, socket.create_connection))

        for script in scripts:
            with contextlib.suppress(AutumnError):
                self.call(server_url=Peer(self, script).url, max_retries=0)

        self.assertEqual(len(kept), len(scripts))
        self.assertEqual([each.fileno() for each in sockets], [-1] * len(scripts))


class SecretTests(TestCase):
    """Loggers and error trackers print the local variables of a traceback's frames."""

    def failures(self):
        """Yield a name, environment variables and options of calls that must fail."""
        refusing = "127.0.0.1:{1}".format(*self.refusing_address())
        for name, script in (
            ("closed", []),
            ("cut short, after the portal URL", [http_response()[:-1]]),
            ("404", [http_response(404, b"not here")]),
            ("a body that quotes the key", [http_response(401, KEY.encode())]),
            ("a 200 that cannot be used", [http_response(200, BODY + b"}")]),
        ):
            yield name, {}, {"server_url": Peer(self, script).url}
        yield "refused", {}, {"server_url": f"http://{refusing}", "secret_key": KEY}
        tls = Peer(self, [http_response()], context=server_context())
        yield "an unverified certificate", {}, {"server_url": tls.url}
        echo = Peer(self, [b"HTTP/1.1 407 Got u:SENTINEL\r\n\r\n"])
        for proxy in (
            f"http://u:SENTINEL@{refusing}",
            f"socks5://u:SENTINEL@{refusing}",
            "http://u:SENTINEL@127.0.0.1:99999",
            f"http://u:SENTINEL@127.0.0.1:{echo.port}",
        ):
            environment = {"https_proxy": proxy, "no_proxy": ""}
            yield proxy, environment, {"server_url": "https://autumn.example"}
        yield "a timeout of a wrong type", {}, {"timeout": "5"}

    REFUSALS = (
        ("a key with a newline", {"AUTUMN_SECRET_KEY": f"{KEY}\n"}, {}),
        ("another company's key", {}, {"secret_key": "sk_live_SENTINEL"}),
        ("a bad server_url", {}, {"server_url": "http://autumn.example"}),
        (
            "the same with a key",
            {},
            {"server_url": "http://autumn.example", "secret_key": KEY},
        ),
    )

    def test_an_error_has_one_frame_without_secrets(self):
        self.stop_clock()
        rows = [(open_customer_portal, *row) for row in self.failures()]
        for call in (open_customer_portal, build_request):
            rows += [(call, *row) for row in self.REFUSALS]
        for call, name, environment, options in rows:
            with self.subTest(name), mock.patch.dict(os.environ, environment):
                try:
                    call(PARAMS, **options)
                except AutumnError as exc:
                    error = exc

                self.assert_shows_no_secret(error)
                _, *frames = [
                    each for each, _ in traceback.walk_tb(error.__traceback__)
                ]
                self.assertEqual([each.f_code for each in frames], [call.__code__])
                for linked in chain_of(error)[1:]:
                    self.assertIsNone(linked.__traceback__)
                for variable, value in frames[0].f_locals.items():
                    # Tools show repr() and attributes.
                    shown = f"{value!r} {getattr(value, '__dict__', '')}"
                    self.assertNotIn("SENTINEL", shown, variable)


class ProxySettingTests(TestCase):
    def test_settings_with_and_without_a_scheme(self):
        """A password may contain any character."""
        userinfo = "user:p/#?@%\\: \n\u00fc\udcff\ud800w"
        for setting, *parsed in (
            ("proxy.example", "proxy.example:80", ""),
            ("HTTP://proxy.example:3128/", "proxy.example:3128", ""),
            ("//user:pw@proxy.example", "proxy.example:80", "user:pw"),
            ("user:pw@127.0.0.1:443", "127.0.0.1:443", "user:pw"),
            ("user@h:65535/path?x#y", "h:65535", "user"),
            ("http://@[::1]", "[::1]:80", ""),
            ("user:p//w@h", "h:80", "user:p//w"),
            (f"http://{userinfo}@h:3128", "h:3128", userinfo),
        ):
            self.assertEqual(autumn_portal._parse_proxy(setting), tuple(parsed))

    def test_other_settings_are_refused_without_the_password(self):
        """urllib would ignore any other scheme, and send the password in the clear."""
        invalid = "the proxy setting has no valid host and port"
        other = "cannot use the proxy {}: only http:// proxies are supported"
        for setting, message in (
            ("http://u:SENTINEL@127.0.0.1:99999", invalid),
            ("http://u:SENTINEL@", invalid),
            ("http://SENTINEL:2024#SENTINEL@proxy.example:80800", invalid),
            ("SENTINEL:2024/SENTINEL@${PROXY}:3128", invalid),
            ("socks5://SENTINEL:2024/SENTINEL@bad host", invalid),
            ("//", invalid),
            ("https://u:SENTINEL@h.example:84/SENTINEL", other.format("h.example:84")),
            ("socks5://u:SENTINEL@h.example", other.format("h.example")),
        ):
            with self.subTest(setting=setting):
                arguments = (autumn_portal._parse_proxy, setting)

                error = self.assert_raises_clean(AutumnConnectionError, *arguments)

                self.assertEqual(str(error), message)
                self.assertEqual(chain_of(error), [error])


class ProxyTests(TestCase):
    URL = "https://autumn.example"

    def setUp(self):
        super().setUp()
        # Python up to 3.11.2 does not close the socket of a refused tunnel.
        self.enter(warnings.catch_warnings())
        self.addCleanup(gc.collect)
        warnings.simplefilter("ignore", ResourceWarning)

    def use_proxy(self, https_proxy, **more):
        os.environ.update({"https_proxy": https_proxy, "no_proxy": "", **more})

    def fail_through_proxy(self, **options):
        """Make a call that must fail on its way through a proxy; return the error."""
        options.setdefault("url", self.URL)
        return self.assert_call_raises(AutumnConnectionError, **options)

    def proxy_authorization(self, request):
        header = re.search(rb"\r\nProxy-Authorization: Basic (\S+)\r\n", request)
        return base64.b64decode(header[1]) if header else None

    def test_each_attempt_asks_the_first_proxy(self):
        """The proxy sees no key."""
        self.stop_clock().sleep = lambda _: self.use_proxy("http://127.0.0.1:1")
        proxy = Peer(self, [b"HTTP/1.1 502 Bad\r\n\r\n"], [])
        self.use_proxy(proxy.url)

        error = self.fail_through_proxy()

        self.assert_attempts(3, error)
        self.assertEqual(len(proxy.requests), 3)
        (request,) = set(proxy.requests)
        self.assertIn(b"CONNECT autumn.example:443 ", request)
        self.assertNotIn(b"SENTINEL", request)
        self.assertIsNone(self.proxy_authorization(request))

    def test_nothing_of_a_proxy_reaches_the_server(self):
        """A failure after CONNECT names the proxy, which may be one that inspects TLS."""
        proxy = Peer(self, [b"HTTP/1.1 200 OK\r\n\r\n", TLS, http_response()])
        address = f"127.0.0.1:{proxy.port}"
        self.use_proxy(f"http://user:SENTINEL@{address}")
        context = client_context()
        context.check_hostname = False

        error = self.fail_through_proxy()
        portal = self.call(server_url=self.URL, context=context)

        self.assertIn(f"through the proxy {address} after 1 attempt: ", str(error))
        self.assertIsInstance(error.__cause__, ssl.SSLCertVerificationError)
        self.assertEqual(portal.url, PORTAL_URL)
        *_, connect, request = proxy.requests
        self.assertEqual(self.proxy_authorization(connect), b"user:SENTINEL")
        self.assertNotIn(b"proxy", request.lower())
        self.assertIn(b"\r\nHost: autumn.example\r\n", request)
        self.assertIn(f"\r\nAuthorization: Bearer {KEY}\r\n".encode(), request)

    def test_an_unreachable_proxy_is_named_without_its_password(self):
        """A URL that begins with HTTPS:// uses the proxy too."""
        self.use_proxy("http://SENTINEL:SENTINEL@proxy.example")
        resolve = self.patch("socket.getaddrinfo", side_effect=OSError("no"))

        error = self.fail_through_proxy(url="HTTPS://autumn.example")

        self.assertEqual(resolve.call_args[0][:2], ("proxy.example", 80))
        route = f"response from {self.URL} through the proxy proxy.example:80"
        self.assertIn(f"{route} after 3 attempts: no", str(error))

    def test_a_refused_password_is_offered_once(self):
        """Three attempts can lock an account. One proxy was seen to echo the password."""
        self.stop_clock()
        for status, attempts in ((407, 1), (499, 1), (502, 3)):
            with self.subTest(status=status):
                echo = f"HTTP/1.1 {status} Got user:SENTINEL\r\n\r\n".encode()
                proxy = Peer(self, [echo])
                self.use_proxy(f"http://user:SENTINEL@127.0.0.1:{proxy.port}")

                error = self.fail_through_proxy()

                self.assert_attempts(attempts, error)
                self.assertEqual(len(proxy.requests), attempts)
                for request in proxy.requests:
                    offered = self.proxy_authorization(request)
                    self.assertEqual(offered, b"user:SENTINEL")
                end = f": the proxy responded with status {status}"
                self.assertTrue(str(error).endswith(end), error)
                self.assertEqual(chain_of(error), [error])

    def test_the_user_and_password_are_offered_decoded(self):
        proxy = Peer(self, [b"HTTP/1.1 407 No\r\n\r\n"])
        os.environ["no_proxy"] = ""
        for userinfo, credentials in (
            ("us%40er:p%2Fw%C3%BC", b"us@er:p/w\xc3\xbc"),
            ("user:\u00fc%FF\udcfe", b"user:\xc3\xbc\xff\xfe"),
            ("user", b"user:"),
            ("", None),
        ):
            with self.subTest(userinfo=userinfo):
                # Not os.environ, which cannot hold some characters in some locales.
                setting = f" http://{userinfo}@127.0.0.1:{proxy.port}\t\n"
                self.patch("urllib.request.getproxies", return_value={"https": setting})

                self.fail_through_proxy()

                offered = self.proxy_authorization(proxy.requests[-1])
                self.assertEqual(offered, credentials)

    def test_no_proxy_is_checked_before_the_proxy(self):
        resolve = self.patch("socket.getaddrinfo", side_effect=OSError)
        for setting, no_proxy in (
            ("http://127.0.0.1:1", "autumn.example"),
            ("socks5://127.0.0.1:1", "autumn.example"),
            ("", ""),
        ):
            with self.subTest(setting=setting):
                self.use_proxy(setting, no_proxy=no_proxy)

                error = self.fail_through_proxy(max_retries=1)

                self.assertEqual(resolve.call_args[0][:2], ("autumn.example", 443))
                self.assertNotIn("proxy", str(error))

    def test_http_and_loopback_never_use_a_proxy(self):
        """Over http, a proxy would see the key. On macOS, looking it up can crash."""
        self.patch("urllib.request.getproxies", side_effect=AssertionError)
        resolve = self.patch("socket.getaddrinfo", side_effect=OSError)
        for scheme, host in (
            ("http", "autumn"),
            ("https", "LocalHost"),
            ("https", "127.8.8.8"),
            ("https", "[::1]"),
        ):
            options = {"allow_http": True, "max_retries": 0}

            self.fail_through_proxy(url=f"{scheme}://{host}:8443", **options)

            self.assertEqual(resolve.call_args[0][:2], (host.strip("[]"), 8443))


class TLSTests(TestCase):
    def test_a_given_context_is_used_unchanged(self):
        peer = Peer(self, [http_response()], context=server_context())
        context = client_context()
        # gevent, eventlet and truststore replace ssl.SSLContext.
        self.patch("ssl.SSLContext", type("SSLContext", (), {}))
        self.patch("ssl.create_default_context", side_effect=AssertionError)

        portal = self.call(server_url=peer.url, context=context)

        self.assertEqual(portal.url, PORTAL_URL)

    def test_an_unverified_certificate_is_not_tried_again(self):
        """Neither one from an unknown CA nor one for another host name."""
        peer = Peer(self, [http_response()], context=server_context())
        self.patch_resolver(("127.0.0.1", peer.port))
        urls = (peer.url, "https://autumn.example")
        for url, context in zip(urls, (None, client_context())):
            error = self.assert_call_raises(AutumnConnectionError, url, context=context)

            self.assert_attempts(1, error)
            self.assertIn("certificate verify failed", str(error))
            self.assertIsInstance(error.__cause__, ssl.SSLCertVerificationError)
        self.assertEqual(peer.requests, [])

    def test_the_default_context_verifies_and_is_kept(self):
        """Until a certificate fails to verify: the CAs may have been renewed."""
        self.stop_clock()
        scripts = ([], [RESET], [http_response()])
        peer = Peer(self, *scripts, context=server_context())
        contexts = [ssl.create_default_context(), client_context()]
        create = self.patch("ssl.create_default_context", side_effect=contexts)
        autumn_portal._default_context.cache_clear()
        self.addCleanup(autumn_portal._default_context.cache_clear)

        self.assert_call_raises(AutumnConnectionError, peer.url)
        for _ in range(2):
            portal = self.call(server_url=peer.url)

        self.assertEqual(portal.url, PORTAL_URL)
        self.assertEqual(create.call_args_list, [mock.call()] * 2)
        for context in contexts:
            self.assertEqual(context.verify_mode, ssl.CERT_REQUIRED)
            self.assertTrue(context.check_hostname)


class AddressTests(TestCase):
    def test_each_address_gets_an_equal_share(self):
        """Also in a second attempt, which shares out the time that is left."""
        clock, tried, failures = self.stop_clock(), [], []

        def connect(address, timeout, source_address):
            tried.append((*address, round(timeout, 3)))
            clock.now += 1
            failures.append(OSError("no route"))
            raise failures[-1]

        self.patch_resolver(("127.0.0.1", 1), ("127.0.0.2", 2), ("::1", 3))
        self.patch("socket.create_connection", connect)
        options = {"allow_http": True, "timeout": 12, "max_retries": 1}

        self.assert_call_raises(AutumnConnectionError, "http://autumn", **options)

        shares = [("127.0.0.1", 1, 4), ("127.0.0.2", 2, 5.5), ("::1", 3, 10)]
        shares += [("127.0.0.1", 1, 2.917), ("127.0.0.2", 2, 3.875), ("::1", 3, 6.75)]
        self.assertEqual(tried, shares)
        # A traceback would keep the request alive, and the key in it.
        self.assertEqual([each.__traceback__ for each in failures], [None] * 6)

    def test_a_connection_gets_the_time_left(self):
        """Even one opened too late gets 1 ms (0 is non-blocking). Both are closed."""
        for seconds, timeout in ((1, 11), (60, 0.001)):
            # At the start, before connecting, and afterwards.
            times = itertools.chain([0, 0], itertools.repeat(seconds))
            self.patch("autumn_portal.time").monotonic.side_effect = times
            sock = self.patch("socket.create_connection").return_value
            sock.sendall.side_effect = TimeoutError
            arguments = (AutumnTimeoutError, "http://127.0.0.1:1")

            self.assert_call_raises(*arguments, timeout=12, max_retries=0)

            sock.settimeout.assert_called_once_with(timeout)
            sock.close.assert_called()

    def test_resolving_counts_against_the_deadline(self):
        self.patch("autumn_portal.time").monotonic.side_effect = itertools.count(0, 60)
        connect = self.patch("socket.create_connection")

        self.assert_call_raises(AutumnTimeoutError, "http://127.0.0.1:1")

        connect.assert_not_called()

    def test_a_host_without_an_address_is_an_error(self):
        self.patch_resolver()

        error = self.assert_call_raises(AutumnConnectionError, "http://127.0.0.1:1")

        self.assertIn("the host name has no address", str(error))


class DeadlineTests(TestCase):
    def test_whatever_is_slow_ends_in_time(self):
        """It ends soon after the deadline, and is never tried again."""
        status = b"HTTP/1.1 200 OK\r\n"
        headers = status + b"Content-Length: 1000\r\n\r\n"
        dripping_header = [status, *drip(b"X: y\r\n" * 50, 0.1)]
        dripping_body = [headers, *drip(b"x" * 100, 0.1)]
        slow_tunnel = [0.5, status + b"\r\n", 9]
        no_tls = types.SimpleNamespace(wrap_socket=lambda sock, **_: sock)
        slow_tls = types.SimpleNamespace(wrap_socket=self.wrap_slowly)
        rows = (  # name, scripts, timeout in seconds, attempts, scheme or proxy, TLS
            ("no response", [[9]], 0.4, 1, "http", None),
            ("headers that drip", [dripping_header], 0.4, 1, "http", None),
            ("a body that stops", [[headers, 0.6, b"x", 9]], 0.7, 1, "http", None),
            ("a body that drips", [dripping_body], 0.4, 1, "http", None),
            ("no response to a retry", [[RESET], [9]], 0.7, 2, "http", None),
            ("an endless TLS handshake", [[9]], 0.4, 1, "https", no_tls),
            ("a slow TLS handshake", [[9]], 0.7, 1, "https", slow_tls),
            ("a proxy that drips", [dripping_header], 0.4, 1, "proxy", None),
            ("no TLS behind a slow proxy", [slow_tunnel], 0.7, 1, "proxy", None),
        )
        context, proxy = client_context(), threading.local()

        def call(_, scripts, timeout, attempts, route, tls):
            peer = Peer(self, *scripts, context=tls)
            proxy.url = peer.url
            url = "https://autumn.example" if route == "proxy" else peer.url
            options = {"timeout": timeout, "max_retries": 5, "context": context}
            begin = time.monotonic()
            error = self.assert_call_raises(AutumnTimeoutError, url, **options)
            return error, time.monotonic() - begin - timeout, peer

        self.patch("urllib.request.getproxies", lambda: {"https": proxy.url})
        os.environ["no_proxy"] = ""
        with ThreadPoolExecutor(len(rows)) as pool:
            calls = [(row, pool.submit(call, *row)) for row in rows]
        for (name, _, _, attempts, _, _), future in calls:
            with self.subTest(name):
                error, late_by, peer = future.result()
                self.assertGreater(late_by, -0.02)
                self.assertLess(late_by, 0.4)
                self.assert_attempts(attempts, error)
                self.assertEqual(len(peer.requests), attempts)

    def wrap_slowly(self, *args, **options):
        time.sleep(0.5)
        return server_context().wrap_socket(*args, **options)


class RetryTests(TestCase):
    def count_requests(self, error_type, *scripts, **options):
        """Make a call that must fail; return the number of its requests, and the error."""
        peer = Peer(self, *scripts)
        error = self.assert_call_raises(error_type, peer.url, **options)
        return len(peer.requests), error

    def test_429_5xx_and_broken_connections_are_tried_again(self):
        """Cloudflare adds the statuses 520 to 524."""
        self.stop_clock()
        statuses = (429, 500, 502, 520, 599)
        scripts = [[http_response(status, b"x")] for status in statuses]
        scripts += [[], [RESET], [http_response()[:-1]], [b"SSH-2.0-x\r\n"]]
        for script in (*scripts, [http_response(200, b" " * 1_050_000 + BODY)]):
            with self.subTest(script=str(script)[:50]):
                peer = Peer(self, script, [http_response()])

                portal = self.call(server_url=peer.url)

                self.assertEqual(portal.url, PORTAL_URL)
                self.assertEqual(len(peer.requests), 2)
                self.assertEqual(peer.requests[0], peer.requests[1])

    def test_other_statuses_are_not_tried_again(self):
        """Nor is a 200 that cannot be used."""
        self.stop_clock()
        for status in (200, 204, 302, 400, 404, 408, 428, 430, 499, 600):
            with self.subTest(status=status):
                body = b"" if status == 204 else b"x"
                response = http_response(status, body, "Retry-After: 1")

                requests, _ = self.count_requests(AutumnAPIError, [response])

                self.assertEqual(requests, 1)

    def test_at_most_max_retries_times(self):
        self.stop_clock()
        unavailable = [http_response(503, b"x")]
        for number in (0, 1, 2, 4):
            options = {"max_retries": number}

            responses, _ = self.count_requests(AutumnAPIError, unavailable, **options)
            closed, error = self.count_requests(AutumnConnectionError, [], **options)

            self.assertEqual((responses, closed), (number + 1, number + 1))
            self.assert_attempts(number + 1, error)

    def test_the_wait_is_retry_after_and_a_backoff(self):
        """The jitter comes from the system, because SnapStart restores random's state."""
        for draw, waits in ((min, [0.125, 0.25, 0.5]), (max, [0.25, 0.5, 1])):
            for value, seconds in (("2", 2), ("0", 0), ("-7", 0)):
                clock = self.stop_clock()
                uniform = "random.SystemRandom.uniform"
                self.patch(uniform, lambda _, *bounds, draw=draw: draw(bounds))
                limited = http_response(503, b"x", f"Retry-After: {value}")

                self.count_requests(AutumnAPIError, [limited], max_retries=3)

                self.assertEqual(clock.sleeps, [seconds + wait for wait in waits])

    def test_a_wait_past_the_deadline_is_not_begun(self):
        clock = self.stop_clock()
        limited = http_response(429, b"x", "Retry-After: 10")

        for error_type, script, timeout in (
            (AutumnAPIError, [limited], 10.25),
            (AutumnConnectionError, [], 0.25),
        ):
            requests, _ = self.count_requests(error_type, script, timeout=timeout)

            self.assertEqual((requests, clock.sleeps), (1, []))


class BrokenResponseTests(TestCase):
    STATUS = b"HTTP/1.1 200 OK\r\n"
    CHUNKED = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"

    def test_no_complete_response_is_a_connection_error(self):
        length = self.STATUS + b"Content-Length: %d\r\n\r\n"
        chunk = self.CHUNKED + b"%x\r\n" % len(BODY) + BODY
        for script in (
            [self.STATUS, RESET],
            [b"HTTP/1."],
            [b"Tunnel connection failed: 407 no\r\n\r\n"],
            [PORTAL_URL.encode() + b"\r\n\r\n"],
            [length % 4_000_000_000_000_000 + BODY],  # MemoryError
            [length % 99_999_999_999_999_999_999 + BODY],  # OverflowError
            [chunk],
            [self.CHUNKED + PORTAL_URL.encode() + b"\r\n"],  # ValueError
        ):
            with self.subTest(script=str(script)[:60]):
                arguments = (AutumnConnectionError, Peer(self, script).url)

                error = self.assert_call_raises(*arguments, max_retries=0)

                self.assertNotIn("status 407", str(error))

    def test_odd_but_complete_responses_are_accepted(self):
        chunk = b"%x;a=b\r\n" % len(BODY) + BODY
        for name, script in {
            "without a length": [self.STATUS + b"\r\n" + BODY],
            "in chunks": [self.CHUNKED, chunk, 0.01, b"\r\n0\r\nA: b\r\n\r\n"],
            "in single bytes": [bytes([byte]) for byte in http_response()],
            "kept open": [http_response(), 5],
        }.items():
            with self.subTest(name):
                peer = Peer(self, script)

                portal = self.call(server_url=peer.url, timeout=2)

                self.assertEqual(portal.url, PORTAL_URL)

    def test_at_most_1_mib_is_read_headers_included(self):
        start = b"HTTP/1.1 %d X\r\nContent-Length: %07d\r\n\r\n"
        length = 1_048_576 - len(start % (200, 0))
        fitting = Peer(self, [start % (200, length), BODY.ljust(length)])
        self.call(server_url=fitting.url)
        for status in (200, 404):
            peer = Peer(self, [start % (status, length + 1), BODY.ljust(length + 1)])
            arguments = (AutumnConnectionError, peer.url)

            error = self.assert_call_raises(*arguments, max_retries=0)

            self.assertIn("1 MiB", str(error))


class ExceptionTests(TestCase):
    URL = "http://127.0.0.1:1"

    def test_failures_of_the_network_become_connection_errors(self):
        """Only an OSError is quoted and kept: others may quote a response or a header."""
        self.stop_clock()
        unverified = ssl.SSLCertVerificationError(1, "certificate verify failed")
        for exception, attempts, reason in (
            (OSError("no route"), 3, "no route"),
            (OSError(), 3, "OSError"),
            (ssl.SSLError(1, "tlsv1 alert"), 3, "tlsv1 alert"),
            (unverified, 1, "certificate verify failed"),
            (http.client.IncompleteRead(BODY, 99), 3, "IncompleteRead"),
            (http.client.BadStatusLine(PORTAL_URL), 3, "BadStatusLine"),
            (UnicodeError(f"label too long: {KEY}"), 1, "UnicodeError"),
            (ValueError(f"Invalid header value {KEY!r}"), 1, "ValueError"),
            (OverflowError("Python int too large"), 1, "OverflowError"),
            (MemoryError(), 1, "MemoryError"),
            (TimeoutError(), 1, "TimeoutError"),
            (
                TimeoutError(errno.ETIMEDOUT, "Late"),
                1,
                f"[Errno {errno.ETIMEDOUT}] Late",
            ),
            (socket.timeout("timed out"), 1, "timed out"),  # the deadline is 10 s away
        ):
            # The cause and context of a failure may show a secret too.
            exception.__cause__ = exception.__context__ = KeyError(KEY)
            with self.subTest(exception=repr(exception)):
                it = self.patch("socket.create_connection", side_effect=exception)
                is_timeout = isinstance(exception, (TimeoutError, socket.timeout))
                expected = AutumnTimeoutError if is_timeout else AutumnConnectionError

                error = self.assert_call_raises(expected, self.URL)

                self.assertEqual(it.call_count, attempts)
                s = "s" if attempts > 1 else ""
                start = f"could not get a response from {self.URL} after {attempts}"
                self.assertEqual(str(error), f"{start} attempt{s}: {reason}")
                is_kept = isinstance(exception, OSError)
                self.assertIs(error.__cause__, exception if is_kept else None)
                self.assertIsNone(error.__context__)

    def test_exceptions_of_your_own_process_pass(self):
        for exception in (
            KeyboardInterrupt(),
            TypeError("a bug"),
            RecursionError(),
            RuntimeError("the network is blocked"),  # as pytest-recording does
            ImportError("No module named '_ssl'"),
            LookupError("unknown encoding: idna"),  # in a frozen Python
        ):
            with self.subTest(exception=exception):
                self.patch("socket.create_connection", side_effect=exception)

                with self.assertRaises(type(exception)) as caught:
                    self.call(server_url=self.URL)

                self.assertIs(caught.exception, exception)

    def test_a_bug_in_a_tracing_hook_passes(self):
        """Its traceback still leads to the line of the bug."""

        def open_with_bug(*_):
            return {}["no such key"]

        self.patch("urllib.request.OpenerDirector.open", open_with_bug)

        try:
            self.call(server_url=self.URL)
        except KeyError as error:
            *_, last = traceback.extract_tb(error.__traceback__)

        self.assertEqual(last.name, "open_with_bug")

    @unittest.skipUnless(hasattr(signal, "setitimer"), "Windows has no such signal")
    def test_an_alarm_during_a_wait_passes(self):
        alarm = TimeoutError("0.1 s are over")

        def ring(*_):
            raise alarm

        peer = Peer(self, [http_response(503, b"x", "Retry-After: 5")])
        before = signal.signal(signal.SIGALRM, ring)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_REAL, 0.1)

        with self.assertRaises(TimeoutError) as caught:
            self.call(server_url=peer.url)

        self.assertIs(caught.exception, alarm)


class ToolTests(TestCase):
    """Mock libraries, SOCKS wrappers and tracing agents patch the standard library."""

    def test_replaced_functions_get_the_librarys_arguments(self):
        """The same number, by position. Any others would raise a TypeError."""
        autumn, calls = self.start_stand_in(), []

        def getaddrinfo(host, port, family, type):
            calls.append((host, port, family, type))
            return [(socket.AF_INET6, type, 6, "", ("fd00::1", port, 0, 0))]

        def connect(address, timeout, source_address):
            calls.append((address, source_address))
            connection = socket.socket()
            connection.connect(autumn.server_address)
            return connection

        self.patch("socket.getaddrinfo", getaddrinfo)
        self.patch("socket.create_connection", connect)

        url = "http://autumn.example"
        portal = self.call(server_url=url, allow_http=True)

        self.assertEqual(portal.url, PORTAL_URL)
        resolved = ("autumn.example", 80, 0, socket.SOCK_STREAM)
        self.assertEqual(calls, [resolved, (("fd00::1", 80), None)])

    def test_errors_survive_the_response_of_vcr(self):
        """VCR.py's does so in a with block, because its close() returns True."""
        response = mock.MagicMock(status=404, headers={}, read=lambda: b"x")
        response.__enter__.return_value = response
        response.__exit__.return_value = True
        self.patch("urllib.request.OpenerDirector.open", return_value=response)

        self.assert_call_raises(AutumnAPIError, "http://127.0.0.1:1")

    def test_a_tracing_agent_sees_no_key(self):
        """It does see the request, and the header that it adds reaches the server."""
        for owner, name in (
            (urllib.request.OpenerDirector, "open"),
            (urllib.request.AbstractHTTPHandler, "do_open"),
        ):
            with self.subTest(name):
                autumn, original = self.start_stand_in(), getattr(owner, name)

                def trace(*args, original=original):
                    (request,) = (it for it in args if hasattr(it, "get_method"))
                    self.assertNotIn("SENTINEL", str(request.headers))
                    request.add_header("Traceparent", "00-abc-01")
                    return original(*args)

                with mock.patch.object(owner, name, trace):
                    self.call(server_url=autumn.url)

                ((_, headers, *_),) = autumn.exchanges
                self.assertEqual(headers["Traceparent"], "00-abc-01")
                self.assertEqual(headers["Authorization"], f"Bearer {KEY}")


# --- Vendored copies ---


class VendoringTests(TestCase):
    CALL = """
params = portal.OpenCustomerPortalParams("cus_123")
print(portal.open_customer_portal(params).url)
"""
    UNREGISTERED = """
import importlib.util
spec = importlib.util.spec_from_file_location("plugin", "autumn_portal.py")
portal = importlib.util.module_from_spec(spec)
spec.loader.exec_module(portal)
"""
    WITHOUT_SSL = """
import sys, typing
sys.modules["ssl"] = sys.modules["_ssl"] = None
import autumn_portal as portal
params = portal.OpenCustomerPortalParams("cus_123")
for name in "build_request", "parse_response", "open_customer_portal":
    typing.get_type_hints(getattr(portal, name))
try:
    portal.open_customer_portal(params, server_url="https://autumn.example")
except ImportError as error:
    assert "ssl" in str(error), error
else:
    raise AssertionError("no ImportError")
"""
    HANDLER = b"""

def handler(event, context):
    return open_customer_portal(OpenCustomerPortalParams(event)).url
"""

    def test_it_works_wherever_it_is_copied_to(self):
        url, source = self.start_stand_in().url, MODULE.read_bytes()
        folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory())).resolve()
        (folder / "shop" / "_vendor").mkdir(parents=True)
        for name in ("autumn_portal", "shop/_vendor/portal"):
            (folder / f"{name}.py").write_bytes(source)
        (folder / "lambda_function.py").write_bytes(source + self.HANDLER)
        with zipfile.ZipFile(folder / "vendor.zip", "w") as archive:
            archive.writestr("zipped_portal.py", source)
        path = "import sys; sys.path.insert(0, {!r}); import {} as portal"
        isolated = path.format(str(folder), "autumn_portal")
        layouts = (
            (isolated, "-I", "-S", "-W", "error"),
            ("import autumn_portal as portal", "-OO"),
            ("from shop._vendor import portal",),
            (path.format("vendor.zip", "zipped_portal"),),
            (self.UNREGISTERED,),
            ("import lambda_function as portal; portal.handler('cus_123', None)",),
            (self.WITHOUT_SSL,),
        )

        def run(layout):
            code, *options = layout
            arguments = (*options, "-c", f"{code}\n{self.CALL}")
            return run_python(*arguments, cwd=folder, AUTUMN_SERVER_URL=url)

        with ThreadPoolExecutor(3) as pool:
            for layout, done in zip(layouts, pool.map(run, layouts)):
                with self.subTest(layout=layout):
                    shown = (done.stdout, done.stderr)
                    self.assertEqual(shown, (f"{PORTAL_URL}\n", ""))

    def test_all_is_what_is_public(self):
        public = {"API_VERSION", "DEFAULT_SERVER_URL"}
        for name, value in vars(autumn_portal).items():
            is_ours = getattr(value, "__module__", None) == autumn_portal.__name__
            if is_ours and not name.startswith("_"):
                public.add(name)

        self.assertEqual(public, set(autumn_portal.__all__))
        defaults = {"secret_key": None, "server_url": None, "allow_http": False}
        self.assertEqual(build_request.__kwdefaults__, defaults)
        defaults.update(timeout=10.0, max_retries=2, context=None)
        self.assertEqual(open_customer_portal.__kwdefaults__, defaults)
        self.assertEqual(autumn_portal.API_VERSION, "2.2.0")

    def test_run_as_a_script_it_does_nothing(self):
        """Pasted above a script or into a notebook, it must not take over."""
        done = run_python(str(MODULE))

        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))


if __name__ == "__main__":
    if sys.argv[1:] == ["demo"]:
        sys.exit(demo())
    if sys.argv[1:2] == ["serve"]:
        sys.exit(serve(sys.argv[2:]))
    unittest.main()
