# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of autumn_portal, and a local imitation of Autumn to see it work.

    python3 -m unittest                     runs the tests
    python3 test_autumn_portal.py demo      opens portals on the imitation

Both need nothing but Python, and send nothing beyond 127.0.0.1. Contents:

    Stand-in for Autumn, and the demo       StandIn, demo
    Shared helpers                          http_response, Peer, Clock, TestCase
    Values                                  IDTests, URLTests, ParamsTests, PortalTests
    Errors                                  ErrorTests
    build_request                           BuildRequestTests
    parse_response                          ParseResponseTests
    open_customer_portal                    OpenTests, ProxyTests, TLSTests,
                                            AddressTests, DeadlineTests, RetryTests,
                                            HostileServerTests, ThreadTests
    Command line                            CommandLineTests
    Vendored copies                         VendoringTests
    README                                  ReadmeTests
"""

import ast
import asyncio
import contextlib
import copy
import dataclasses
import errno
import functools
import gc
import http.client
import http.server
import importlib.util
import inspect
import io
import itertools
import json
import logging
import os
import pathlib
import pickle
import re
import runpy
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
import typing
import unittest
import urllib.error
import urllib.request
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from unittest import mock
from wsgiref.util import setup_testing_defaults

try:
    import tracemalloc
except ImportError:  # PyPy has none
    tracemalloc = None

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
HERE = pathlib.Path(__file__).resolve().parent

# No error may show either of these. assert_raises_clean() looks for the word.
KEY = "am_sk_test_SENTINEL"
PORTAL_URL = "https://billing.stripe.com/p/session/test_SENTINEL"

PARAMS = OpenCustomerPortalParams(
    customer_id="cus_123", return_url="https://useautumn.com"
)

# A CA, and a certificate and key for 127.0.0.1, valid from 2020 to 2120. They are here
# because the standard library cannot make any, and are of no use outside the tests.
TEST_CA = """\
-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIBATAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVhdXR1bW5f
cG9ydGFsIHRlc3QgQ0EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MCAxHjAcBgNVBAMMFWF1dHVtbl9wb3J0YWwgdGVzdCBDQTBZMBMGByqGSM49AgEG
CCqGSM49AwEHA0IABCk0Z15ctpkDYwzlU9GogBG/GxNvQgkgaNnvp6ZfEDkPwCa7
XJTuoVU5zsC4VY1HKB2kcfoXjfVCz7/chd/RhOWjQjBAMA8GA1UdEwEB/wQFMAMB
Af8wDgYDVR0PAQH/BAQDAgEGMB0GA1UdDgQWBBSeCzHfg3J2Cz6LKShEUS1Qvgmd
8zAKBggqhkjOPQQDAgNIADBFAiEAlsboOxwOqZTQM/fMlXQWRT77hjf8H/O3vK4m
IxqvoXACIF80IlJZ2c6fGfWSXmVH/sBStzCd/VKX51ZqBwrY3WJ2
-----END CERTIFICATE-----
"""
TEST_CERTIFICATE_AND_KEY = """\
-----BEGIN CERTIFICATE-----
MIIBrTCCAVOgAwIBAgIBAjAKBggqhkjOPQQDAjAgMR4wHAYDVQQDDBVhdXR1bW5f
cG9ydGFsIHRlc3QgQ0EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBa
MBQxEjAQBgNVBAMMCTEyNy4wLjAuMTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BOp1OTJ4E/Rb5R7lsubjXWdi7KkBzkYHJOmZDta7qvGJl7EO+QjTpCfWZ092hNLE
7wZVHzaNt/lcKUlJKCPiawCjgYcwgYQwDwYDVR0RBAgwBocEfwAAATAMBgNVHRMB
Af8EAjAAMA4GA1UdDwEB/wQEAwIHgDATBgNVHSUEDDAKBggrBgEFBQcDATAfBgNV
HSMEGDAWgBSeCzHfg3J2Cz6LKShEUS1Qvgmd8zAdBgNVHQ4EFgQU7dI5XEnLKVVG
TYUkbcQEGcG2WH8wCgYIKoZIzj0EAwIDSAAwRQIgDEE/HZw/m568F1en84NuhdaU
zx8YCYvvGX2HgILgG6UCIQDqegD2X7mMBj8xXnPGDD9O8ck2Sk/UplF2s2EOWOu3
qg==
-----END CERTIFICATE-----
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgfYTDgAQmSTHEBHhV
EEO2z6ZqCGvg6ih0lpwTyzZRqSGhRANCAATqdTkyeBP0W+Ue5bLm411nYuypAc5G
ByTpmQ7Wu6rxiZexDvkI06Qn1mdPdoTSxO8GVR82jbf5XClJSSgj4msA
-----END PRIVATE KEY-----
"""


# --- Stand-in for Autumn, and the demo ---


class StandIn(socketserver.ThreadingTCPServer):
    """An HTTP server that responds as Autumn's was measured to, for a few customers.

    It is not an http.server.HTTPServer, because that one looks up its own name.

    Attributes:
        exchanges: For each request: its first line, headers and body, and the status
            and body of the response.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), _StandInHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        if context:
            self.url = self.url.replace("http", "https")
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.exchanges = []
        self.portal_url = PORTAL_URL

    def __enter__(self):
        # poll_interval: how soon shutdown() is seen.
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


_CUSTOMERS = {  # the ID in the request: the ID in the response
    "cus_123": "cus_123",
    "jane.doe@example.com": "jane.doe@example.com",
    "auth0|5f7c8ec7": "auth0|5f7c8ec7",
    "2Zx_internal_of_cus_123": "cus_123",
    "2Zx_internal_only": None,
}


class _StandInHandler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, content = self.respond(body)
        limited = isinstance(content, str)
        sent = (content if limited else json.dumps(content)).encode()
        self.server.exchanges.append(
            (self.requestline, dict(self.headers), body, status, sent)
        )
        self.send_response(status)
        self.send_header(
            "Content-Type", "text/plain" if limited else "application/json"
        )
        self.send_header("Content-Length", str(len(sent)))
        if limited:
            self.send_header("Retry-After", "1")
        self.end_headers()
        self.wfile.write(sent)

    do_GET = do_POST

    def respond(self, body):
        if (self.command, self.path) != ("POST", "/v1/billing.open_customer_portal"):
            return self.make_error(
                401, "no_auth_header", "Unauthorized - no session found"
            )
        return self.refuse_key() or self.refuse_version() or self.open_portal(body)

    def refuse_key(self):
        scheme, _, key = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not key:
            message = "Secret key not found in Authorization header"
            return self.make_error(401, "no_secret_key", message)
        if key.startswith("am_pk"):
            message = "Endpoint not accessible via publishable key."
            return self.make_error(401, "endpoint_not_public", message)
        if not key.startswith("am_sk"):
            message = "Invalid authorization token prefix"
            return self.make_error(401, "invalid_request", message)
        if key == "am_sk_test_unknown":
            message = f"Invalid secret key: {key[:15]}***"
            return self.make_error(401, "invalid_secret_key", message)
        if key == "am_sk_test_unscoped":
            message = "Insufficient scopes. Missing: billing:read"
            return self.make_error(403, "insufficient_scopes", message)
        return None

    def refuse_version(self):
        version = self.headers.get("x-api-version")
        if version in ("2.1.0", "2.2.0", "2.3.0"):
            return None
        message = f'"{version}" is not a valid API version'
        return self.make_error(400, "invalid_api_version", message)

    def open_portal(self, body):
        fields = json.loads(body)
        for name in ("customer_id", "configuration_id", "return_url"):
            value = fields.get(name, "" if name != "customer_id" else None)
            if not isinstance(value, str):
                received = "null" if name in fields else "undefined"
                message = f"{name}: must be a string (received {received})"
                return self.make_error(400, "invalid_inputs", message)
        if fields.get("return_url") and "://" not in fields["return_url"]:
            message = (
                "Invalid URL: An explicit scheme (such as https) must be provided."
            )
            return self.make_error(400, "invalid_request", message)
        if fields.get("configuration_id", "bpc_1") != "bpc_1":
            message = (
                f"(Stripe Error) No such configuration: '{fields['configuration_id']}'"
            )
            return self.make_error(400, "stripe_error", message)
        customer = fields["customer_id"]
        if customer == "cus_busy":
            return 429, "Too many requests, please try again later."
        if customer not in _CUSTOMERS:
            message = f"Customer {customer} not found"
            return self.make_error(404, "customer_not_found", message)
        return 200, {"customer_id": _CUSTOMERS[customer], "url": self.server.portal_url}

    def make_error(self, status, code, message):
        return status, {"message": message, "code": code, "env": "sandbox"}

    def log_message(self, *_):
        pass


DEMO_PORTAL_URL = "https://billing.stripe.com/p/session/test_YWNjdF8xTWFkZVVwU2Vzc2lvbg"
DEMO_SCRIPT = """\
from autumn_portal import AutumnError, OpenCustomerPortalParams, open_customer_portal

params = OpenCustomerPortalParams("{customer_id}", return_url="https://useautumn.com")
try:
    portal = open_customer_portal(params, server_url="{server_url}")
except AutumnError as error:
    print(type(error).__name__, error, sep=": ")
else:
    print("Redirect the customer to", portal.url)
"""


def demo():
    """Open portals on the stand-in and show what happens. Return 0 if all is right."""
    print(
        "The server here is a local imitation of Autumn. Nothing leaves this machine."
    )
    with StandIn() as autumn:
        autumn.portal_url = DEMO_PORTAL_URL
        command = ["--return-url", "https://useautumn.com", "--server-url", autumn.url]
        runs = [
            ("From Python", KEY, "script", "cus_123"),
            (
                "From Python, for a customer Autumn does not know",
                KEY,
                "script",
                "cus_x",
            ),
            ("From a shell", KEY, "command", "cus_123"),
            (
                "With a publishable key by mistake",
                "am_pk_test_public",
                "command",
                "cus_123",
            ),
        ]
        results = []
        for title, key, means, customer in runs:
            autumn.exchanges.clear()
            print(f"\n=== {title}\n")
            if means == "script":
                script = DEMO_SCRIPT.format(customer_id=customer, server_url=autumn.url)
                print(textwrap.indent(script, "    "))
                arguments = ["-c", script]
            else:
                arguments = [MODULE.name, customer, *command]
                hidden = key[:6] + "***"
                print(
                    f"    $ AUTUMN_SECRET_KEY={hidden} python3 {' '.join(arguments)}\n"
                )
            done = run_python(*arguments, cwd=MODULE.parent, AUTUMN_SECRET_KEY=key)
            print_exchanges(autumn.exchanges, key)
            print(f"{done.stdout}{done.stderr}exit status {done.returncode}")
            results.append((done.returncode, DEMO_PORTAL_URL in done.stdout))
    as_expected = results == [(0, True), (0, False), (0, True), (2, False)]
    print("\nAll as it should be." if as_expected else "\nNOT as it should be.")
    return 0 if as_expected else 1


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
    """Run this Python with arguments; output in, say, an ASCII locale may be escaped."""
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
BODY = json.dumps({"customer_id": "cus_123", "url": PORTAL_URL}).encode()


def http_response(status=200, body=BODY, *headers):
    """Return a complete HTTP response."""
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


class Peer:
    """A server that plays a script to each connection.

    The last script is for all further connections. A step of a script is bytes to send,
    seconds to pause, RESET, or an iterator of bytes to send until the client stops.

    Attributes:
        requests: What each connection received before its script began.
        protocols: The ALPN protocols of the connections over TLS.
        sent: How many bytes from iterators were sent.
    """

    def __init__(self, test, *scripts, context=None, handshake_delay=0):
        self.scripts = scripts or ([],)
        self.context = context
        self.handshake_delay = handshake_delay
        self.requests = []
        self.protocols = set()
        self.sent = 0
        self.closing = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        self.url = f"http{'s' if context else ''}://127.0.0.1:{self.port}"
        self.threads = []
        self.start(self.accept)
        test.addCleanup(self.close)

    def start(self, target, *arguments):
        # Daemons, so that a test that fails cannot hang the run.
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self.threads.append(thread)
        thread.start()

    def close(self):
        if self.closing.is_set():
            return
        self.closing.set()
        socket.create_connection(("127.0.0.1", self.port)).close()  # wakes accept()
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def accept(self):
        last = itertools.repeat(self.scripts[-1])
        for script in itertools.chain(self.scripts, last):
            connection, _ = self.listener.accept()
            if self.closing.is_set():
                connection.close()
                return
            self.start(self.play, connection, script)

    def play(self, connection, script):
        connection.settimeout(5)
        # The client may close the connection at any step.
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.callback(connection.close)
            if self.context:
                self.closing.wait(self.handshake_delay)
                connection = self.context.wrap_socket(connection, server_side=True)
                stack.callback(connection.close)
                self.protocols.add(connection.selected_alpn_protocol())
            self.requests.append(self.receive(connection))
            for step in script:
                if step is RESET:
                    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                    return
                if isinstance(step, bytes):
                    connection.sendall(step)
                elif isinstance(step, (int, float)):
                    self.closing.wait(step)
                else:
                    for piece in step:
                        connection.sendall(piece)
                        self.sent += len(piece)

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
        path.write_text(TEST_CERTIFICATE_AND_KEY, encoding="ascii")
        context.load_cert_chain(str(path))  # PyPy takes no Path
    return context


def client_context():
    return ssl.create_default_context(cadata=TEST_CA)


def load_copy(name, path=MODULE):
    """Load the module once more, without registering it, as some plug-in loaders do."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Clock:
    """Replaces the time module in autumn_portal. Time passes only in sleep()."""

    def __init__(self):
        self.now = 1000.0
        self.sleeps = []

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.sleeps.append(seconds)
        self.now += seconds


class TestCase(unittest.TestCase):
    def setUp(self):
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.lower().endswith("_proxy")
        }
        environment["AUTUMN_SECRET_KEY"] = KEY
        # Tests may change os.environ: it is put back after each.
        self.enter(mock.patch.dict(os.environ, environment, clear=True))

    def enter(self, context):
        """Enter a context until the end of the test."""
        self.addCleanup(context.__exit__, None, None, None)
        return context.__enter__()

    def patch(self, target, *args, **kwargs):
        """Patch the object of a dotted name until the end of the test."""
        return self.enter(mock.patch(target, *args, **kwargs))

    def ignore_unclosed_sockets(self):
        """Python up to 3.11.2 does not close the socket of a refused tunnel."""
        self.enter(warnings.catch_warnings())
        self.addCleanup(gc.collect)
        warnings.simplefilter("ignore", ResourceWarning)

    def start_stand_in(self, context=None):
        return self.enter(StandIn(context))

    def patch_resolver(self, **addresses):
        """Make names, "_" for ".", resolve to lists of addresses: (IP, port)."""
        resolve = socket.getaddrinfo

        def getaddrinfo(host, port, *rest):
            pairs = addresses.get(host.replace(".", "_"), [(host, port)])
            return [info for pair in pairs for info in resolve(*pair, *rest)]

        return self.patch("socket.getaddrinfo", side_effect=getaddrinfo)

    def refusing_address(self):
        """Return an address at which nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            return listener.getsockname()

    def silent_address(self):
        """Return an address that never responds, because its queue is full."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.addCleanup(listener.close)
        for _ in range(4):
            connection = socket.socket()
            self.addCleanup(connection.close)
            connection.settimeout(0.02)
            try:
                connection.connect(listener.getsockname())
            except socket.timeout:
                return listener.getsockname()
            except OSError:
                break
        return self.skipTest("no full queue is silent on this platform")

    def stop_clock(self):
        """Stop time, and make each backoff the longest possible."""
        self.patch("random.uniform", return_value=1)
        return self.patch("autumn_portal.time", Clock())

    def assert_raises_clean(self, error_type, call, *args, **kwargs):
        """Make a call that must fail, and return its error.

        It must be of just that type, show no secret and survive pickle and copy.
        """
        try:
            result = call(*args, **kwargs)
        except AutumnError as exc:
            error = exc
        else:
            self.fail(f"no error, but {result!r}")
        self.assertIs(type(error), error_type, error)
        self.assert_one_line(str(error), 500)
        self.assert_shows_no_secret(error)
        for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
            self.assertIs(type(twin), error_type)
            self.assertEqual(twin.args, error.args)
            self.assertEqual(vars(twin), vars(error))
            self.assertEqual(str(twin), str(error))
        return error

    def assert_refused(self, field, call, *args, **kwargs):
        """Make a call that must refuse the value of a field; return the error."""
        error = self.assert_raises_clean(AutumnValidationError, call, *args, **kwargs)
        self.assertEqual(error.field, field)
        self.assertTrue(str(error).startswith(f"{field}: expected "), error)
        return error

    def assert_call_raises(self, error_type, server_url, **options):
        """Call a server that must fail the call, and return the error."""
        return self.assert_raises_clean(
            error_type, open_customer_portal, PARAMS, server_url=server_url, **options
        )

    def assert_attempts(self, number, error):
        """Check how many attempts an AutumnConnectionError says it was."""
        attempts = re.search("([0-9]+) attempts?(: |$)", str(error))
        self.assertEqual(int(attempts[1]), number, error)

    def assert_one_line(self, text, limit):
        self.assertLessEqual(len(text), limit)
        self.assertTrue(text.isprintable(), ascii(text))

    def assert_shows_no_secret(self, error):
        shown = [repr(pickle.dumps(error))]
        shown += traceback.format_exception(type(error), error, error.__traceback__)
        pending, seen = [error], set()
        while pending:  # also suppressed contexts, which a traceback does not show
            exc = pending.pop()
            if exc is None or id(exc) in seen:
                continue
            seen.add(id(exc))
            shown += [str(exc), repr(exc), repr(exc.args), repr(vars(exc))]
            pending += [exc.__cause__, exc.__context__]
        for text in shown:
            self.assertNotIn("SENTINEL", text)


# --- Values ---


class IDTests(TestCase):
    def test_every_visible_ascii_id_of_up_to_1024_passes(self):
        """Autumn's rule for new IDs has changed twice: older customers must get in."""
        visible = "".join(map(chr, range(0x21, 0x7F)))
        for value in (
            "a",
            "jane.doe@example.com",
            "auth0|5f7c8ec7",
            visible,
            "x" * 1024,
        ):
            with self.subTest(value=value):
                params = OpenCustomerPortalParams(value, configuration_id=value)
                self.assertEqual(params.customer_id, value)
                self.assertEqual(params.configuration_id, value)

    def test_other_values_are_refused_and_not_shown(self):
        """The message names the field, and says what came instead of the value."""
        table = [
            (None, "None"),
            ("", "an empty str"),
            ("SENTINEL " * 30, "a str of length 270, not all of it visible ASCII"),
            ("x" * 1025, "a str of length 1025"),
            (b"SENTINEL", "a value of type bytes"),
            (5, "a value of type int"),
            (True, "a value of type bool"),
            (["SENTINEL"], "a value of type list"),
        ]
        for invisible in "\x00 \n\x7f\x80\u017f\u2028\ud800":
            actual = "a str of length 9, not all of it visible ASCII"
            table += [
                (f"SENTINEL{invisible}", actual),
                (f"{invisible}SENTINEL", actual),
            ]
        for value, actual in table:
            for field, call in (
                ("customer_id", lambda v: OpenCustomerPortalParams(v)),
                ("configuration_id", lambda v: OpenCustomerPortalParams("a", v)),
            ):
                if (field, value) == ("configuration_id", None):
                    continue
                with self.subTest(value=value, field=field):
                    error = self.assert_raises_clean(AutumnValidationError, call, value)
                    self.assertEqual(error.field, field)
                    self.assertEqual(
                        str(error),
                        f"{field}: expected a str of 1 to 1024 visible ASCII"
                        f" characters; got {actual}",
                    )


class URLTests(TestCase):
    GOOD = (
        ("plain", "https://useautumn.com"),
        ("http, and a port", "http://localhost:3000/billing"),
        ("an IPv6 address", "https://[2001:DB8::a]"),
        ("an IPv6 address, and a fragment", "http://[::1]:5173/#/billing?x=1"),
        ("an IPv4 address", "https://127.0.0.1/"),
        ("the highest IPv4 address", "https://255.255.255.255"),
        ("upper case", "HTTPS://Example.COM"),
        ("mixed case, and a query without a path", "hTtP://x?y"),
        ("an empty fragment", "https://x#"),
        ("a dot at the end, and port 0", "https://x.:0/"),
        ("the highest port", "https://x:65535/!$%&'()*+,-./:;=@[]^_`{|}~"),
        ("every character of a query", "https://x?!#$%&'()*+,-./:;=?@[\\]^_`{|}~"),
        ("a backslash in a query", "https://a_b.example/?x={y}|z\\"),
        ("a backslash in a fragment", "https://x#\\?#"),
        ("a label that is not a number", "https://1e5.example"),
        ("0x before the last label", "https://0x.example"),
        ("an IPv4 address before the last label", "https://1.2.3.4.example"),
        ("0x without hex digits", "https://0xg/"),
        ("a digit at the end of a label", "https://1.a1/"),
        ("hyphens and dots", "https://-a-.example.."),
        ("dots alone", "https://.../"),
        ("8192 characters", "https://" + "a" * 8184),
    )
    BEYOND_ASCII = (
        "a character beyond ASCII: write a host in punycode, and percent-encode the"
        " rest"
    )
    BAD = (  # the reason that the message gives, and URLs
        ("an empty str", [""]),
        (
            "no http or https scheme followed by ://",
            [
                "undefined/dashboard",
                "javascript:alert(1)",
                "ftp://x/",
                "https:/x",
                "https:x",
                "//x/",
                "httpss://x/",
                "://x/",
            ],
        ),
        (
            "a user name",
            [
                "https://good.example@evil.example/",
                "https://user:password@good.example/",
                "https://@x/",
                "https://good.example\\@evil.example/",
            ],
        ),
        ("a space", ["https://x/ y", " https://x/", "https://x y/", "https://x/?a b"]),
        ("a control character", ["https://x/\n", "\thttps://x/", "https://x/\x7f"]),
        (
            BEYOND_ASCII,
            [
                "http\u017f://x/",  # re.IGNORECASE would take it for an "s"
                "https://b\u00fccher.example/",
                "https://x/\u00e9",
                "https://x:\u0663/",
                "https://x/\ud800",
                "\ufeffhttps://x/",
            ],
        ),
        ("a backslash", ["https://x\\y", "https://x/\\y", "https://x\\/?y"]),
        (
            "a quote or angle bracket",
            [
                "https://x/<y",
                "https://x/>y",
                'https://x/"y',
                "https://x/?<",
                "https://x/?>",
                'https://x/#"',
                "https://<x>/",
            ],
        ),
        (
            "a bad port",
            [
                "https://x:/",
                "https://x:65536/",
                "https://x:65536/@?\\",
                "https://x:000080/",
                "https://x:-1/",
                "https://x:8a/",
                "https://x:1:2/",
                "https://[::1]:x/",
                "https://[::1]:99999",
            ],
        ),
        (
            "a bad host",
            [
                "https://",
                "https:///x",
                "https://?x",
                "https://:80/",
                "https://a%2eb/",
                "https://a,b:80/",
                "https://[::1",
                "https://::1/",
                "https://[]/",
                "https://[:]/",
                "https://[::g]:80/",
                "https://[1:2:3]/",
                "https://[::127.0.0.1]/",
                "https://[fe80::1%25eth0]/",
                "https://[::1]x/",
                "https://010.0.0.1/",
                "https://1.2.3.04/",
                "https://0x7f.1/",
                "https://0x/",
                "https://0X7F000001/",
                "https://127.1/",
                "https://2130706433/",
                "https://256.0.0.1:80/",
                "https://1.2.3.4.5/",
                "https://1.2.3.4./",
                "https://1.2.3.4../",
                "https://a.1/",
                "https://a.0x1f../",
            ],
        ),
        ("more than 8192 characters", ["https://" + "a" * 8185, " " * 9000]),
    )

    def test_urls_of_the_grammar_pass_unchanged(self):
        for why, url in self.GOOD:
            with self.subTest(why):
                params = OpenCustomerPortalParams("a", return_url=url)
                self.assertEqual(params.return_url, url)

    def test_all_others_are_refused_with_the_reason_and_without_being_shown(self):
        expected = "an http or https URL such as https://app.example.com/billing"
        for reason, urls in self.BAD:
            for url in urls:
                with self.subTest(url=url[:99]):
                    error = self.assert_raises_clean(
                        AutumnValidationError,
                        OpenCustomerPortalParams,
                        "a",
                        return_url=url,
                    )
                    self.assertEqual(error.field, "return_url")
                    message = f"return_url: expected {expected}; got {reason}"
                    self.assertEqual(str(error), message)
                    self.assertLess(len(message), 250)

    def test_nothing_invisible_passes_at_either_end(self):
        for code in (*range(0x21), 0x7F, 0x85, 0xA0, 0x2028, 0xFEFF):
            for url in (chr(code) + "https://x/", "https://x/" + chr(code)):
                with self.subTest(url=url):
                    self.assert_raises_clean(
                        AutumnValidationError, OpenCustomerPortalParams, "a", None, url
                    )

    def test_a_path_and_a_query_take_the_characters_that_the_grammar_says(self):
        for code in range(0x100):
            character = chr(code)
            visible = 0x21 <= code <= 0x7E
            for url, allowed in (
                (f"https://x/{character}", visible and character not in '"<>\\'),
                (f"https://x/?{character}", visible and character not in '"<>'),
                (f"https://x/#{character}", visible and character not in '"<>'),
            ):
                with self.subTest(url=url):
                    if allowed:
                        OpenCustomerPortalParams("a", return_url=url)
                    else:
                        self.assert_raises_clean(
                            AutumnValidationError,
                            OpenCustomerPortalParams,
                            "a",
                            None,
                            url,
                        )

    def test_a_url_of_another_type_is_refused(self):
        for value in (b"https://x/", 5, ["https://x/"]):
            error = self.assert_raises_clean(
                AutumnValidationError, OpenCustomerPortalParams, "a", None, value
            )
            self.assertEqual(error.field, "return_url")
            self.assertIn(type(value).__name__, str(error))

    def test_the_portal_url_is_https(self):
        self.assertEqual(OpenCustomerPortalResponse(None, "HTTPS://x").url, "HTTPS://x")
        for url in (None, "", "javascript:alert(1)", "https://a@b/", "data:,SENTINEL"):
            error = self.assert_raises_clean(
                AutumnValidationError, OpenCustomerPortalResponse, None, url
            )
            self.assertEqual(error.field, "url")
        error = self.assert_raises_clean(
            AutumnValidationError, OpenCustomerPortalResponse, None, "http://SENTINEL"
        )
        self.assertEqual(str(error), "url: expected an https URL; got an http one")


class ParamsTests(TestCase):
    FULL = types.MappingProxyType(
        {"customerId": "c", "configurationId": "bpc_1", "returnUrl": "https://x"}
    )

    def test_the_example_of_the_typescript_type(self):
        params = OpenCustomerPortalParams(
            customer_id="cus_123", return_url="https://useautumn.com"
        )
        self.assertEqual(
            params.to_dict(),
            {"customerId": "cus_123", "returnUrl": "https://useautumn.com"},
        )

    def test_the_order_is_customer_configuration_return_url(self):
        params = OpenCustomerPortalParams("c", "bpc_1", "https://x")
        self.assertEqual(list(params.to_dict().items()), list(self.FULL.items()))

    def test_from_dict_inverts_to_dict(self):
        for mapping in (self.FULL, dict(self.FULL), {"customerId": "c"}):
            params = OpenCustomerPortalParams.from_dict(mapping)
            self.assertEqual(params.to_dict(), mapping)

    def test_from_dict_takes_none_for_absent(self):
        mapping = {"customerId": "c", "configurationId": None, "returnUrl": None}
        params = OpenCustomerPortalParams.from_dict(mapping)
        self.assertEqual(params, OpenCustomerPortalParams("c"))
        self.assertEqual(params.to_dict(), {"customerId": "c"})

    def test_from_dict_refuses_what_it_does_not_know(self):
        """A field's error has its Python name, an unknown name's its ascii()."""
        table = [
            ({}, "customer_id"),
            ({"customerId": None}, "customer_id"),
            ({"customerId": "c", "returnUrl": "x"}, "return_url"),
            ({"customerId": "c", "configurationId": ""}, "configuration_id"),
            ({"customer_id": "c"}, "'customer_id'"),
            ({"customerId": "c", "return\n\u2028Url": "x"}, "'return\\n\\u2028Url'"),
            ({"customerId": "c", 5: "x"}, "5"),
            ({"customerId": "c", "x" * 9999: 1}, "'" + "x" * 96 + "..."),
            ([("customerId", "c")], "params"),
            (None, "params"),
            ("customerId", "params"),
        ]
        for mapping, field in table:
            with self.subTest(field=field):
                error = self.assert_raises_clean(
                    AutumnValidationError, OpenCustomerPortalParams.from_dict, mapping
                )
                self.assertEqual(error.field, field)
                self.assertTrue(str(error).startswith(f"{field}: expected "), error)
        error = self.assert_raises_clean(
            AutumnValidationError, OpenCustomerPortalParams.from_dict, {"customer": "c"}
        )
        self.assertEqual(
            str(error),
            "'customer': expected one of customerId, configurationId, returnUrl",
        )

    def test_from_dict_of_a_subclass_makes_the_subclass(self):
        class Params(OpenCustomerPortalParams):
            pass

        self.assertIs(type(Params.from_dict({"customerId": "c"})), Params)

    def test_values_are_frozen_compared_and_hashed(self):
        params = OpenCustomerPortalParams("c")
        response = OpenCustomerPortalResponse("c", PORTAL_URL)
        for value in (params, response):
            with self.assertRaises(dataclasses.FrozenInstanceError):
                value.customer_id = "d"
            self.assertEqual(value, copy.deepcopy(value))
            self.assertEqual(hash(value), hash(pickle.loads(pickle.dumps(value))))

    def test_replace_validates_too(self):
        params = OpenCustomerPortalParams("c")
        self.assertEqual(dataclasses.replace(params, customer_id="d").customer_id, "d")
        error = self.assert_raises_clean(
            AutumnValidationError, dataclasses.replace, params, return_url="x"
        )
        self.assertEqual(error.field, "return_url")


class PortalTests(TestCase):
    def test_the_customer_id_is_any_str_or_none(self):
        """The portal is open by then, whatever ID the customer got years ago."""
        for customer_id in (None, "", "Jos\u00e9 P.", "x" * 5000, "a\0b\ud800"):
            response = OpenCustomerPortalResponse(customer_id, PORTAL_URL)
            self.assertEqual(response.customer_id, customer_id)
        for bad in (5, True, b"SENTINEL", ["SENTINEL"]):
            error = self.assert_raises_clean(
                AutumnValidationError, OpenCustomerPortalResponse, bad, PORTAL_URL
            )
            self.assertEqual(error.field, "customer_id")
            self.assertIn(type(bad).__name__, str(error))

    def test_to_dict_has_both_names(self):
        for customer_id in ("cus_123", None):
            response = OpenCustomerPortalResponse(customer_id, PORTAL_URL)
            self.assertEqual(
                list(response.to_dict().items()),
                [("customerId", customer_id), ("url", PORTAL_URL)],
            )

    def test_repr_leaves_the_url_out(self):
        response = OpenCustomerPortalResponse("cus_123", PORTAL_URL)
        for text in (repr(response), str(response), f"{response}"):
            self.assertEqual(text, "OpenCustomerPortalResponse(customer_id='cus_123')")


# --- Errors ---


class ErrorTests(TestCase):
    def test_the_family(self):
        for error_type, bases in (
            (AutumnValidationError, (AutumnError, ValueError)),
            (AutumnAPIError, (AutumnError,)),
            (AutumnConnectionError, (AutumnError,)),
            (AutumnTimeoutError, (AutumnConnectionError, TimeoutError)),
        ):
            self.assertEqual(error_type.__bases__, bases)

    def test_errors_survive_pickle_and_copy(self):
        for error in (
            AutumnValidationError("return_url", "expected a URL"),
            AutumnAPIError(404, "Customer x not found", "customer_not_found"),
            AutumnAPIError(429, "m" * 999, code="c" * 99, retry_after=7),
            AutumnConnectionError("no response"),
            AutumnTimeoutError("no response in time"),
        ):
            with self.subTest(error=error):
                self.assert_raises_clean(type(error), self.throw, error)

    def throw(self, error):
        raise error

    def test_an_api_error_has_the_attributes_it_is_given(self):
        error = AutumnAPIError(404, "Customer x not found", "customer_not_found", 5)
        self.assertEqual(error.status, 404)
        self.assertEqual(error.message, "Customer x not found")
        self.assertEqual(error.code, "customer_not_found")
        self.assertEqual(error.retry_after, 5)
        self.assertEqual(error.args, (404, error.message, error.code, 5))
        self.assertEqual(str(error), "404 customer_not_found: Customer x not found")
        error = AutumnAPIError(502, "Bad gateway")
        self.assertIsNone(error.code)
        self.assertIsNone(error.retry_after)
        self.assertEqual(str(error), "502: Bad gateway")

    def test_text_becomes_one_printable_line_of_bounded_length(self):
        dirty = "a\r\n\tb\x1b[31m\u2028c\u202ed\ud800\x00"
        clean = "a b?[31m c?d??"
        error = AutumnAPIError(500, dirty, dirty)
        self.assertEqual((error.message, error.code), (clean, clean))
        self.assertEqual(str(error), f"500 {clean}: {clean}")
        self.assertEqual(str(AutumnTimeoutError(dirty)), clean)
        self.assertEqual(str(AutumnValidationError("f", dirty)), f"f: {clean}")
        error = AutumnAPIError(500, "m" * 401, "c" * 65)
        self.assertEqual(error.message, "m" * 397 + "...")
        self.assertEqual(error.code, "c" * 61 + "...")
        for error_type in (AutumnError, AutumnConnectionError, AutumnTimeoutError):
            self.assertEqual(str(error_type("x" * 501)), "x" * 497 + "...")
        if tracemalloc:
            text = "m " * 500_000
            tracemalloc.start()
            AutumnAPIError(500, text)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 1_000_000)
        exact = AutumnAPIError(500, "m" * 400, "c" * 64)
        self.assertEqual((exact.message, exact.code), ("m" * 400, "c" * 64))


# --- build_request ---


class BuildRequestTests(TestCase):
    def test_the_request(self):
        request = build_request(
            OpenCustomerPortalParams("cus_123", "bpc_1", "https://useautumn.com")
        )
        self.assertIsInstance(request, urllib.request.Request)
        self.assertEqual(request.get_method(), "POST")
        self.assertEqual(
            request.full_url,
            "https://api.useautumn.com/v1/billing.open_customer_portal",
        )
        self.assertEqual(
            json.loads(request.data),
            {
                "customer_id": "cus_123",
                "configuration_id": "bpc_1",
                "return_url": "https://useautumn.com",
            },
        )
        self.assertEqual(
            {name.lower(): value for name, value in request.header_items()},
            {
                "authorization": f"Bearer {KEY}",
                "accept": "application/json",
                "content-type": "application/json",
                "user-agent": f"autumn-portal/{autumn_portal.__version__}",
                "x-api-version": "2.2.0",
            },
        )

    def test_absent_optionals_are_left_out(self):
        request = build_request(OpenCustomerPortalParams("cus_123"))
        self.assertEqual(json.loads(request.data), {"customer_id": "cus_123"})

    def test_the_key_is_in_a_header_that_no_redirect_takes_along(self):
        request = build_request(PARAMS)
        self.assertNotIn("Authorization", request.headers)
        self.assertIn("Authorization", request.unredirected_hdrs)

    def test_the_key_comes_from_the_argument_then_the_environment(self):
        for argument, key in ((None, KEY), ("am_sk_live_x", "am_sk_live_x")):
            request = build_request(PARAMS, secret_key=argument)
            self.assertEqual(request.get_header("Authorization"), f"Bearer {key}")

    def test_a_key_that_cannot_be_one_is_refused(self):
        """The message says if the environment has it, and never shows any of it."""
        table = (
            ("", "a key; got an empty str{}"),
            (f"{KEY}\n", "visible ASCII; got a trailing newline{}: strip it"),
            (f"{KEY}\r\n", "visible ASCII; got a trailing newline{}: strip it"),
            (f" {KEY}", "visible ASCII; got other characters{}"),
            (f"{KEY}\nX-Other: 1", "visible ASCII; got other characters{}"),
            (f"{KEY}\u00e9", "visible ASCII; got other characters{}"),
            (f"{KEY}\x7f", "visible ASCII; got other characters{}"),
            (f"{KEY}\x00", "visible ASCII; got other characters{}"),
            (KEY.encode(), "a str; got a value of type bytes"),
            (5, "a str; got a value of type int"),
            ("am_pk_SENTINEL", "a secret key (am_sk...); got a publishable one{}"),
        )
        for key, problem in table:
            with self.subTest(key=key):
                error = self.assert_refused(
                    "secret_key", build_request, PARAMS, secret_key=key
                )
                message = f"secret_key: expected {problem}"
                self.assertEqual(str(error), message.format(""))
                if isinstance(key, str) and "\0" not in key and key.isascii():
                    os.environ["AUTUMN_SECRET_KEY"] = key
                    error = self.assert_refused("secret_key", build_request, PARAMS)
                    expected = message.format(" in AUTUMN_SECRET_KEY")
                    self.assertEqual(str(error), expected)

    def test_a_missing_key_says_what_to_set(self):
        del os.environ["AUTUMN_SECRET_KEY"]
        error = self.assert_refused("secret_key", build_request, PARAMS)
        self.assertEqual(
            str(error),
            "secret_key: expected a key; got none, and AUTUMN_SECRET_KEY is not set",
        )

    PATH = "/v1/billing.open_customer_portal"

    def test_server_urls_that_pass(self):
        for why, server_url, base in (
            ("plain", "https://x.example", "https://x.example"),
            ("upper case", "HTTPS://x.example", "HTTPS://x.example"),
            ("a slash", "https://x.example/", "https://x.example"),
            ("a prefix", "https://x.example/autumn//", "https://x.example/autumn"),
            ("v1 inside", "https://x.example/v1/autumn", "https://x.example/v1/autumn"),
            ("v1 in a word", "https://x.example/av1", "https://x.example/av1"),
            ("loopback name", "http://localhost:8080", "http://localhost:8080"),
            ("loopback, upper case", "HTTP://LocalHost", "HTTP://LocalHost"),
            ("loopback IPv4", "http://127.255.0.1", "http://127.255.0.1"),
            ("loopback IPv6", "http://[::1]:80/", "http://[::1]:80"),
        ):
            with self.subTest(why):
                request = build_request(PARAMS, server_url=server_url)
                self.assertEqual(request.full_url, base + self.PATH)

    def test_server_urls_that_do_not(self):
        insecure = (
            "server_url: expected https, because the request carries the key; got http,"
            " which needs allow_http=True (--allow-http) and a network you trust, except"
            " to localhost, 127.0.0.0/8 and [::1]"
        )
        v1 = "expected the URL without /v1, which is added; got it with /v1"
        query = "expected no query and no fragment; got one"
        for why, server_url, problem in (
            ("another host", "http://autumn:8080", insecure),
            ("Autumn's own server", "http://api.useautumn.com", insecure),
            ("a dot after localhost", "http://localhost.", insecure),
            ("a domain after localhost", "http://localhost.evil.example", insecure),
            ("a name that begins with 127.", "http://127.evil.example", insecure),
            ("the next network", "http://128.0.0.1", insecure),
            ("any address", "http://0.0.0.0", insecure),
            ("another IPv6 address", "http://[::2]", insecure),
            ("::1 written otherwise", "http://[0:0:0:0:0:0:0:1]", insecure),
            ("v1", "https://api.useautumn.com/v1", v1),
            ("v1 and slashes", "https://api.useautumn.com/v1//", v1),
            ("v1 after a prefix", "https://x.example/autumn/v1/", v1),
            ("a query", "https://x.example/?SENTINEL", query),
            ("an empty fragment", "https://x.example#", query),
            ("a short IPv4 address", "http://127.1", ""),
            ("no scheme", "api.useautumn.com", ""),
            ("a user name", "https://SENTINEL@x.example", ""),
            ("empty", "", ""),
            ("None", None, ""),
            ("bytes", b"https://x.example", ""),
        ):
            with self.subTest(why):
                error = self.assert_refused(
                    "server_url", build_request, PARAMS, server_url=server_url
                )
                self.assertIn(problem, str(error))

    def test_http_to_another_host_has_to_be_allowed(self):
        """The refusal names the argument and the command line's option for it."""
        for server_url in (
            "http://autumn:8080",
            "http://host.docker.internal:8080",
            "http://10.0.0.1",
            "HTTP://[fd00::1]:80/autumn",
        ):
            with self.subTest(server_url=server_url):
                options = {"server_url": server_url, "allow_http": True}
                request = build_request(PARAMS, **options)
                self.assertEqual(request.full_url, server_url + self.PATH)
                options["allow_http"] = False
                error = self.assert_refused(
                    "server_url", build_request, PARAMS, **options
                )
                self.assertIn("allow_http=True", str(error))
                self.assertIn("--allow-http", str(error))
        for server_url in ("http://autumn:8080/v1", "ftp://autumn", "http://a@b"):
            options = {"server_url": server_url, "allow_http": True}
            self.assert_refused("server_url", build_request, PARAMS, **options)

    def test_allow_http_is_a_bool(self):
        for value in (None, 1, 0, "yes", ["SENTINEL"]):
            for call in (build_request, open_customer_portal):
                self.assert_refused("allow_http", call, PARAMS, allow_http=value)

    def test_params_of_another_type_are_refused(self):
        """Those of another copy of the module too."""
        foreign = load_copy("other").OpenCustomerPortalParams("c")
        for value in ({"customerId": "c"}, None, foreign):
            for call in (build_request, open_customer_portal):
                self.assert_refused("params", call, value)

    def test_it_does_no_input_or_output(self):
        with mock.patch("socket.socket", side_effect=AssertionError):
            build_request(PARAMS)


# --- parse_response ---


class ParseResponseTests(TestCase):
    def test_a_portal(self):
        for body in (
            BODY,
            b"\xef\xbb\xbf" + BODY,
            BODY[:-1] + b', "more": [1, 2.5]}',
            BODY[:-1] + b', "more": ' + b"9" * 10_000 + b"}",
            BODY[:-1] + b', "more": [' + b"[], " * 498 + b"0]}",
            bytearray(BODY),
            memoryview(BODY),
            memoryview(bytes(byte for pair in zip(BODY, BODY) for byte in pair))[::2],
        ):
            self.assertEqual(
                parse_response(200, {}, body),
                OpenCustomerPortalResponse("cus_123", PORTAL_URL),
            )

    def test_a_customer_id_that_no_new_customer_could_have(self):
        for customer_id in ("", "Jos\u00e9 P.", "x" * 300, "a\0b"):
            body = json.dumps({"customer_id": customer_id, "url": PORTAL_URL}).encode()
            self.assertEqual(parse_response(200, {}, body).customer_id, customer_id)

    def test_a_customer_without_an_id(self):
        for body in ({"customer_id": None, "url": PORTAL_URL}, {"url": PORTAL_URL}):
            response = parse_response(200, {}, json.dumps(body).encode())
            self.assertEqual(response, OpenCustomerPortalResponse(None, PORTAL_URL))

    def test_a_200_that_cannot_be_used_says_why_and_shows_nothing(self):
        no_object = "it is not a JSON object, or has over 500 brackets"
        deep = b"[" * 200_000 + b"]" * 200_000
        for body, why in (
            (b"", no_object),
            (b"SENTINEL", no_object),
            (b'"SENTINEL"', no_object),
            (b"[" + BODY + b"]", no_object),
            (b"null", no_object),
            (BODY[:-1], no_object),
            (BODY + b"SENTINEL", no_object),
            (b"\xff" + BODY, no_object),
            (BODY[:-1] + b', "x": "\xff"}', no_object),
            (BODY.decode().encode("utf-16"), no_object),
            (deep, no_object),
            (BODY[:-1] + b', "x": ' + deep + b"}", no_object),
            (BODY[:-1] + b', "x": [' + b"[], " * 499 + b"0]}", no_object),
            (BODY + b" " * 1_048_576, "it is over 1 MiB"),
            (b"{}", "url: "),
            (b'{"url": null, "message": "SENTINEL"}', "url: "),
            (b'{"url": 5}', "url: "),
            (b'{"url": "javascript:SENTINEL"}', "url: "),
            (b'{"url": "http://SENTINEL"}', "url: "),
            (b'{"customer_id": ' + b"9" * 10_000 + b"}", "customer_id: "),
            (b'{"url": "https://x", "customer_id": 5}', "customer_id: "),
            (b'{"url": "https://x", "customer_id": true}', "customer_id: "),
            (b'{"url": "https://x", "customer_id": ["SENTINEL"]}', "customer_id: "),
        ):
            with self.subTest(body=body[:60]):
                error = self.assert_raises_clean(
                    AutumnAPIError, parse_response, 200, {}, body
                )
                start = f"the response cannot be used: {why}"
                self.assertTrue(error.message.startswith(start), error)
                self.assertEqual((error.status, error.code), (200, None))
                self.assertIsNone(error.__context__)

    def test_json_with_over_500_brackets_is_not_parsed(self):
        """In WebAssembly, deep nesting crashes the interpreter."""
        for brackets, calls in ((499, 1), (500, 0)):
            with mock.patch("json.loads", side_effect=RecursionError) as loads:
                body = b"{" + b"[" * brackets
                self.assert_raises_clean(AutumnAPIError, parse_response, 200, {}, body)
            self.assertEqual(loads.call_count, calls)

    def parse_error(self, status, body, headers=types.MappingProxyType({})):
        error = self.assert_raises_clean(
            AutumnAPIError, parse_response, status, headers, body
        )
        self.assertEqual(error.status, status)
        return error

    def test_an_error_carries_the_servers_message_and_code(self):
        body = b'{"message": "Customer x not found", "code": "customer_not_found"}'
        for prefix in (b"", b"\xef\xbb\xbf", b" \n", b" " * 2_000_000):
            error = self.parse_error(404, prefix + body)
            self.assertEqual(error.message, "Customer x not found")
            self.assertEqual(error.code, "customer_not_found")

    def test_a_body_that_is_no_json_object_is_shown_from_its_start(self):
        for body, message in (
            (b"Too many requests,\r\nplease.", "Too many requests, please."),
            (b"\xef\xbb\xbferror code: 1010", "error code: 1010"),
            (b"<html>\n<h1>502</h1>", "<html> <h1>502</h1>"),
            (b'["a"]', '["a"]'),
            (b'"a"', '"a"'),
            (b"caf\xc3\xa9 \xff", "caf\u00e9 \ufffd"),
            (b'{"message": "cut o', '{"message": "cut o'),
            (b"x" * 2_000_000, "x" * 397 + "..."),
            (b"[" * 200_000, "[" * 397 + "..."),
            (b"9" * 10_000, "9" * 397 + "..."),
        ):
            with self.subTest(body=body[:40]):
                error = self.parse_error(502, body)
                self.assertEqual((error.message, error.code), (message, None))

    def test_a_message_or_code_that_is_blank_or_no_str_is_absent(self):
        for body in (
            b"",
            b" \n",
            b"{}",
            b'{"message": 5, "code": 5}',
            b'{"message": null, "code": null}',
            b'{"message": ["a"], "code": {}}',
            b'{"message": "", "code": ""}',
            b'{"message": " \\n", "code": " \\n"}',
        ):
            with self.subTest(body=body):
                error = self.parse_error(500, body)
                self.assertEqual(error.message, "the response has no message")
                self.assertIsNone(error.code)

    def test_message_and_code_are_cleaned(self):
        fields = {"message": "a\n\ud800" + "b" * 999, "code": "c\x00" * 99}
        error = self.parse_error(400, json.dumps(fields).encode())
        self.assertEqual(error.message, "a ?" + "b" * 394 + "...")
        self.assertEqual(error.code, "c?" * 30 + "c...")

    def test_every_status_but_200_is_an_error(self):
        """A body that looks like a portal is not taken for one, and not shown."""
        for status in (100, 101, 199, 201, 202, 204, 206, 299, 400, 500, 999):
            self.parse_error(status, BODY)

    def test_a_2xx_body_is_never_shown(self):
        """It may be part of a portal."""
        for status in (200, 201, 202, 206, 299):
            for body in (BODY[:-1], BODY + b"#", b"SENTINEL"):
                self.parse_error(status, body)

    def test_a_redirect_says_that_it_is_not_followed(self):
        for status in (300, 301, 302, 303, 304, 307, 308, 399):
            error = self.parse_error(status, b"Moved")
            self.assertEqual(error.message, "redirects are not followed: Moved")

    def test_retry_after_is_whole_seconds_or_none(self):
        for value, seconds in (
            ("0", 0),
            ("1", 1),
            ("007", 7),
            ("999999999", 999_999_999),
            ("1000000000", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("1e3", None),
            ("1_0", None),
            (" 1", None),
            ("1\n", None),
            ("soon", None),
            ("\u0663", None),
            ("\u00b2", None),
            ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ):
            for name in ("Retry-After", "retry-after", "RETRY-AFTER"):
                with self.subTest(name=name, value=value):
                    error = self.parse_error(429, b"x", {"Date": "today", name: value})
                    self.assertEqual(error.retry_after, seconds)

    def test_headers_may_be_any_mapping(self):
        message = http.client.HTTPMessage()
        message["Retry-After"] = "5"
        fields = dict(message)
        for headers in (message, fields, types.MappingProxyType(fields)):
            self.assertEqual(self.parse_error(503, b"x", headers).retry_after, 5)

    def test_a_header_that_is_no_str_counts_as_absent(self):
        """It never spoils a good portal either."""
        for name, value in (
            ("Retry-After", 5),
            ("Retry-After", None),
            ("Retry-After", b"5"),
            ("Retry-After", ["5"]),
            (b"Retry-After", "5"),
            (None, "5"),
            (5, 5),
        ):
            with self.subTest(name=name, value=value):
                headers = {name: value}
                self.assertEqual(parse_response(200, headers, BODY).url, PORTAL_URL)
                self.assertIsNone(self.parse_error(503, b"x", headers).retry_after)
                headers["retry-after"] = "7"
                self.assertEqual(self.parse_error(503, b"x", headers).retry_after, 7)

    def test_arguments_of_another_type_are_refused(self):
        for field, values in (
            ("status", ("200", 200.0, True, None, b"SENTINEL")),
            ("headers", (None, [("Retry-After", "5")], "SENTINEL", 5)),
            ("body", (BODY.decode(), None, 5, [BODY], io.BytesIO(BODY))),
        ):
            for value in values:
                with self.subTest(field=field, value=value):
                    arguments = {"status": 200, "headers": {}, "body": BODY}
                    arguments[field] = value
                    self.assert_refused(field, parse_response, **arguments)


# --- open_customer_portal ---


class OpenTests(TestCase):
    def test_a_portal_opens_over_http(self):
        autumn = self.start_stand_in()
        for customer_id, customer_id_back in (
            ("cus_123", "cus_123"),
            ("jane.doe@example.com", "jane.doe@example.com"),
            ("auth0|5f7c8ec7", "auth0|5f7c8ec7"),
            ("2Zx_internal_of_cus_123", "cus_123"),
            ("2Zx_internal_only", None),
        ):
            with self.subTest(customer_id=customer_id):
                params = OpenCustomerPortalParams(customer_id, "bpc_1", "https://x")
                portal = open_customer_portal(params, server_url=autumn.url)
                expected = OpenCustomerPortalResponse(customer_id_back, PORTAL_URL)
                self.assertEqual(portal, expected)

    def test_autumns_errors(self):
        url = self.start_stand_in().url
        for params, options, status, code in (
            (OpenCustomerPortalParams("cus_x"), {}, 404, "customer_not_found"),
            (OpenCustomerPortalParams("cus_123", "bpc_x"), {}, 400, "stripe_error"),
            (PARAMS, {"secret_key": "am_sk_test_unknown"}, 401, "invalid_secret_key"),
            (PARAMS, {"secret_key": "am_sk_test_unscoped"}, 403, "insufficient_scopes"),
            (PARAMS, {"secret_key": "other"}, 401, "invalid_request"),
            (PARAMS, {"server_url": f"{url}/v2"}, 401, "no_auth_header"),
        ):
            with self.subTest(code=code):
                options = {"server_url": url, **options}
                error = self.assert_raises_clean(
                    AutumnAPIError, open_customer_portal, params, **options
                )
                self.assertEqual((error.status, error.code), (status, code))
                self.assertIsNone(error.retry_after)
        error = self.assert_raises_clean(
            AutumnAPIError,
            open_customer_portal,
            OpenCustomerPortalParams("cus_busy"),
            server_url=url,
            max_retries=0,
        )
        self.assertEqual((error.status, error.code), (429, None))
        self.assertEqual(error.message, "Too many requests, please try again later.")
        self.assertEqual(error.retry_after, 1)

    def test_the_stand_in_checks_the_request(self):
        """Otherwise a test that passes would say nothing about the request."""
        url = self.start_stand_in().url
        for body, headers, status, code in (
            ({"customerId": "cus_123"}, {}, 400, "invalid_inputs"),
            ({"customer_id": "cus_123", "return_url": None}, {}, 400, "invalid_inputs"),
            ({"customer_id": "cus_123", "return_url": "x"}, {}, 400, "invalid_request"),
            ({"customer_id": "cus_123"}, {"Authorization": ""}, 401, "no_secret_key"),
            (
                {"customer_id": "x"},
                {"Authorization": "bearer am_sk"},
                401,
                "no_secret_key",
            ),
            ({}, {"Authorization": "Bearer am_pk"}, 401, "endpoint_not_public"),
            ({}, {"X-api-version": "2.5.0"}, 400, "invalid_api_version"),
        ):
            with self.subTest(code=code):
                request = build_request(PARAMS, server_url=url)
                request.data = json.dumps(body).encode()
                for name, value in headers.items():
                    request.remove_header(name)
                    request.add_header(name, value)
                with self.assertRaises(urllib.request.HTTPError) as caught:
                    urllib.request.urlopen(request)
                with caught.exception as response:
                    self.assertEqual(response.status, status)
                    self.assertEqual(json.load(response)["code"], code)

    def test_options_are_checked_before_anything_is_sent(self):
        class Whole(int):
            pass

        class Context:
            """Not an ssl.SSLContext, like one that was made before a patch."""

            def wrap_socket(self):
                pass

        class NoContext:
            def __init__(self):
                self.wrap_socket = Context().wrap_socket

        peer = Peer(self, [http_response()])
        for name, bad, good in (
            (
                "timeout",
                [
                    0,
                    -1,
                    -0.0,
                    float("nan"),
                    float("inf"),
                    86_400.1,
                    10**400,
                    True,
                    None,
                    "SENTINEL",
                    1j,
                ],
                [0.5, 5, Whole(5), 86_400],
            ),
            (
                "max_retries",
                [-1, True, False, 1.0, None, "SENTINEL"],
                [0, Whole(1), 10**9],
            ),
            (
                "context",
                [True, False, "SENTINEL", ssl.SSLContext, NoContext()],
                [None, client_context(), Context()],
            ),
        ):
            for value in bad:
                with self.subTest(name=name, value=value):
                    options = {"server_url": peer.url, name: value}
                    self.assert_refused(name, open_customer_portal, PARAMS, **options)
            self.assertEqual(peer.requests, [])
            for value in good:
                options = {name: value}
                open_customer_portal(PARAMS, server_url=peer.url, **options)
            peer.requests.clear()

    def test_the_messages_of_refused_arguments(self):
        params = "an OpenCustomerPortalParams of this module"
        timeout = "an int or float of seconds above 0 and at most 86400"
        for call, arguments, message in (
            (OpenCustomerPortalResponse, (5, PORTAL_URL), "customer_id: a str or None"),
            (OpenCustomerPortalParams.from_dict, (5,), "params: a mapping"),
            (build_request, (5,), f"params: {params}"),
            (parse_response, ("x", {}, b""), "status: an int"),
            (parse_response, (200, 5, b""), "headers: a mapping or an HTTPMessage"),
            (parse_response, (200, {}, 5), "body: bytes"),
            ("timeout", None, f"timeout: {timeout}"),
            ("timeout", 0, f"timeout: {timeout}; got another"),
            ("max_retries", None, "max_retries: an int of 0 or more"),
            ("max_retries", -1, "max_retries: an int of 0 or more; got less"),
            ("context", 5, "context: an ssl.SSLContext or None"),
            ("allow_http", 5, "allow_http: a bool"),
        ):
            with self.subTest(message):
                field, problem = message.split(": ")
                if isinstance(call, str):
                    options = {call: arguments}
                    error = self.assert_refused(
                        field, open_customer_portal, PARAMS, **options
                    )
                else:
                    error = self.assert_refused(field, call, *arguments)
                start = f"{field}: expected {problem}"
                if "; got" not in problem:
                    start += "; got "
                self.assertTrue(str(error).startswith(start), error)

    def test_validation_comes_first(self):
        peer = Peer(self)
        self.assert_call_raises(AutumnValidationError, peer.url, secret_key="am_sk\n")
        self.assertEqual(peer.requests, [])

    def test_redirects_are_not_followed(self):
        """One request, and the second server sees nothing."""
        other = Peer(self, [http_response()])
        for status in (301, 302, 303, 307, 308):
            for location in (
                f"Location: {other.url}/v1/billing.open_customer_portal",
                "Location: /v1/billing.open_customer_portal",
                "Location: file:///etc/passwd",
                "Location: https://[",
                "X-No: location",
            ):
                with self.subTest(status=status, location=location):
                    peer = Peer(self, [http_response(status, b"Moved", location)])
                    error = self.assert_call_raises(AutumnAPIError, peer.url)
                    self.assertEqual(error.status, status)
                    self.assertEqual(len(peer.requests), 1)
        self.assertEqual(other.requests, [])

    def test_http_clients_debug_output_stays_off(self):
        """It shows the key, and is a global that others may have turned on."""
        output = io.StringIO()
        self.patch("http.client.HTTPConnection.debuglevel", 1)
        with contextlib.redirect_stdout(output):
            open_customer_portal(PARAMS, server_url=self.start_stand_in().url)
            peer = Peer(self, [http_response()], context=server_context())
            open_customer_portal(PARAMS, server_url=peer.url, context=client_context())
        self.assertEqual(output.getvalue(), "")

    def test_the_connection_is_closed_even_while_an_error_is_kept(self):
        connect, sockets, kept = socket.create_connection, [], []

        def record(*args):
            sockets.append(connect(*args))
            return sockets[-1]

        scripts = (
            [http_response()],
            [http_response(404, b"x")],
            [http_response()[:-5]],
            [http_response()[:-5], 0.05, RESET],
            [RESET],
            [http_response(), 5],
        )
        peers = [Peer(self, script) for script in scripts]
        self.patch("socket.create_connection", record)
        for peer in peers:
            try:
                open_customer_portal(PARAMS, server_url=peer.url, max_retries=0)
            except AutumnError as error:
                kept.append(error)
        self.assertEqual(len(kept), 4)
        self.assertEqual([each.fileno() for each in sockets], [-1] * len(scripts))


class ProxyTests(TestCase):
    def use_proxy(self, https_proxy, **more):
        os.environ.update(https_proxy=https_proxy, no_proxy="", **more)

    def fail_through_proxy(self, **options):
        """Make a call that must fail on its way through a proxy; return the error."""
        return self.assert_call_raises(
            AutumnConnectionError, "https://autumn.example", **options
        )

    def test_a_proxy_is_asked_for_a_tunnel_and_sees_no_key(self):
        """It is asked alike at each attempt."""
        self.ignore_unclosed_sockets()
        self.stop_clock()
        for script in ([b"HTTP/1.1 502 Bad\r\n\r\n"], []):
            proxy = Peer(self, script)
            self.use_proxy(proxy.url)
            self.assert_attempts(3, self.fail_through_proxy())
            self.assertEqual(len(proxy.requests), 3)
            (request,) = set(proxy.requests)
            self.assertIn(b"CONNECT autumn.example:443 ", request)
            self.assertNotIn(b"SENTINEL", request)

    def test_a_failure_on_the_way_through_a_proxy_names_it(self):
        """By host and port if they can be ones, and never by its user and password."""
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.patch("socket.getaddrinfo", side_effect=unknown)
        for variable, proxy in (
            ("http://proxy.example:3128", "the proxy proxy.example:3128"),
            ("http://SENTINEL:SENTINEL@proxy.example", "the proxy proxy.example"),
            ("SENTINEL:SENTINEL@127.0.0.1:1", "the proxy 127.0.0.1:1"),
            ("https://u:SENTINEL@[::1]:3128", "the proxy [::1]:3128"),
            ("SENTINEL@127.0.0.1:1/SENTINEL", "a proxy"),
            ("http://u:SENTINEL@b%C3%BCcher.example", "a proxy"),
            ("http://proxy.example%2F%3FSENTINEL", "a proxy"),
            ("http://u:SENTINEL@", "a proxy"),
        ):
            with self.subTest(variable=variable):
                self.use_proxy(variable)
                error = self.fail_through_proxy(max_retries=0)
                route = f"from https://autumn.example through {proxy}, 1 attempt: "
                self.assertIn(route, str(error))

    def test_a_proxy_variable_that_is_no_url_is_not_shown(self):
        for variable in ("http:SENTINEL", "http:/SENTINEL", "http://h:SENTINEL", "//"):
            with self.subTest(variable=variable):
                self.use_proxy(variable)
                self.fail_through_proxy(max_retries=0)

    def test_a_proxy_that_refuses_is_named(self):
        proxy = "{}:{}".format(*self.refusing_address())
        self.use_proxy(f"http://u:SENTINEL@{proxy}")
        error = self.fail_through_proxy(max_retries=0)
        self.assertIn(proxy, str(error))
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)

    def test_nothing_of_a_proxy_outlives_its_attempt(self):
        """Once the variable is gone, the next attempt must not send the password."""
        self.ignore_unclosed_sockets()
        proxy = Peer(self, [b"HTTP/1.1 502 Bad\r\n\r\n"])
        peer = Peer(self, [http_response()], context=server_context())
        self.patch_resolver(autumn_example=[("127.0.0.1", peer.port)])
        context = client_context()
        context.check_hostname = False
        self.use_proxy(f"http://user:SENTINEL@127.0.0.1:{proxy.port}")
        clock = self.stop_clock()
        clock.sleep = lambda _: os.environ.pop("https_proxy")
        url = "https://autumn.example"
        open_customer_portal(PARAMS, server_url=url, context=context)
        self.assertIn(b"\r\nProxy-Authorization: ", proxy.requests[0])
        self.assertNotIn(b"proxy", peer.requests[0].lower())
        self.assertIn(b"\r\nHost: autumn.example\r\n", peer.requests[0])

    def test_plain_http_never_goes_through_a_proxy(self):
        """The proxy would see the key."""
        proxy, autumn = Peer(self), self.start_stand_in()
        self.patch_resolver(autumn=[autumn.server_address])
        self.use_proxy(proxy.url, http_proxy=proxy.url, all_proxy=proxy.url)
        open_customer_portal(PARAMS, server_url="http://autumn", allow_http=True)
        self.assertEqual(proxy.requests, [])

    def test_loopback_is_never_reached_through_a_proxy(self):
        proxy, autumn = Peer(self), self.start_stand_in()
        tls = Peer(self, [http_response()], context=server_context())
        self.use_proxy(proxy.url, http_proxy=proxy.url)
        for url in (autumn.url, tls.url):
            open_customer_portal(PARAMS, server_url=url, context=client_context())
        resolve = self.patch("socket.getaddrinfo", side_effect=OSError)
        for host in ("LocalHost", "127.8.8.8", "[::1]"):
            url = f"https://{host}:8443"
            self.assert_call_raises(AutumnConnectionError, url, max_retries=0)
            self.assertEqual(resolve.call_args[0][:2], (host.strip("[]"), 8443))
        self.assertEqual(proxy.requests, [])

    def test_an_upper_case_scheme_is_https_all_the_same(self):
        peer = Peer(self, [http_response()], context=server_context())
        url = peer.url.replace("https", "HTTPS")
        open_customer_portal(PARAMS, server_url=url, context=client_context())
        proxy = Peer(self)
        self.use_proxy(proxy.url)
        url = "HTTPS://autumn.example"
        self.assert_call_raises(AutumnConnectionError, url, max_retries=0)
        self.assertIn(b"CONNECT autumn.example:443 ", proxy.requests[0])


class TLSTests(TestCase):
    def test_a_private_ca_is_taken_from_context(self):
        peer = Peer(self, [http_response()], context=server_context())
        portal = open_customer_portal(
            PARAMS, server_url=peer.url, context=client_context()
        )
        self.assertEqual(portal.url, PORTAL_URL)

    def test_a_certificate_that_does_not_verify_is_not_tried_again(self):
        peer = Peer(self, [http_response()], context=server_context())
        error = self.assert_call_raises(AutumnConnectionError, peer.url)
        self.assert_attempts(1, error)
        self.assertIn("certificate verify failed", str(error))
        self.assertIsInstance(error.__cause__, ssl.SSLCertVerificationError)
        self.assertEqual(peer.requests, [])

    def test_a_certificate_for_another_name_does_not_verify(self):
        peer = Peer(self, [http_response()], context=server_context())
        self.patch_resolver(autumn_example=[("127.0.0.1", peer.port)])
        error = self.assert_call_raises(
            AutumnConnectionError, "https://autumn.example", context=client_context()
        )
        self.assert_attempts(1, error)
        self.assertIsInstance(error.__cause__, ssl.SSLCertVerificationError)

    def test_a_context_made_before_ssl_was_patched_is_accepted(self):
        """gevent, eventlet and truststore replace ssl.SSLContext."""
        peer = Peer(self, [http_response()], context=server_context())
        context = client_context()
        self.patch("ssl.SSLContext", type("SSLContext", (), {}))
        open_customer_portal(PARAMS, server_url=peer.url, context=context)

    def test_the_default_context_is_made_once(self):
        module = load_copy("fresh")
        context = server_context()
        context.set_alpn_protocols(["h2", "http/1.1"])
        peer = Peer(self, [http_response()], context=context)
        made = client_context()
        create = self.patch("ssl.create_default_context", return_value=made)
        params = module.OpenCustomerPortalParams("cus_123")
        for _ in range(2):
            module.open_customer_portal(params, server_url=peer.url)
        create.assert_called_once_with()
        self.assertEqual(made.verify_mode, ssl.CERT_REQUIRED)
        self.assertEqual(peer.protocols, {"http/1.1"})

    def test_a_first_call_that_hangs_keeps_no_other_waiting(self):
        """A lock would, and would hang children forked while it is held."""
        module = load_copy("fresh")
        peer = Peer(self, [http_response()], context=server_context())
        create = ssl.create_default_context
        begun, ended = threading.Event(), threading.Event()

        def make():
            if not begun.is_set():
                begun.set()
                ended.wait(9)
            return create(cadata=TEST_CA)

        def call():
            params = module.OpenCustomerPortalParams("cus_123")
            return module.open_customer_portal(params, server_url=peer.url).url

        self.patch("ssl.create_default_context", make)
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(call)
            try:
                self.assertTrue(begun.wait(5))
                self.assertEqual(pool.submit(call).result(5), PORTAL_URL)
                self.assertFalse(first.done())
            finally:
                ended.set()
            self.assertEqual(first.result(5), PORTAL_URL)

    def test_tls_that_is_missing_is_said_and_not_tried_again(self):
        url = Peer(self).url.replace("http", "https")
        self.patch("http.client.HTTPSConnection")
        del http.client.HTTPSConnection
        error = self.assert_call_raises(AutumnConnectionError, url)
        self.assert_attempts(1, error)
        self.assertIn("TLS is missing", str(error))
        self.assertIsInstance(error.__cause__, RuntimeError)

    def test_tls_that_the_platform_lacks_is_not_tried_again(self):
        """CPython 3.14 in WebAssembly says so with a RuntimeError."""
        url = Peer(self).url.replace("http", "https")
        lacking = RuntimeError("TLS not supported in this environment")
        self.patch("ssl.SSLContext.wrap_socket", side_effect=lacking)
        error = self.assert_call_raises(
            AutumnConnectionError, url, context=client_context()
        )
        self.assert_attempts(1, error)
        self.assertIn(str(lacking), str(error))
        self.assertIs(error.__cause__, lacking)

    def test_no_tls_where_it_is_wanted_and_tls_where_it_is_not(self):
        plain = Peer(self, [b"HTTP/1.1 400 Bad Request\r\n\r\n"])
        tls = Peer(self, [http_response()], context=server_context())
        for url in (
            plain.url.replace("http", "https"),
            tls.url.replace("https", "http"),
        ):
            with self.subTest(url=url):
                self.assert_call_raises(
                    AutumnConnectionError, url, max_retries=0, context=client_context()
                )


class AddressTests(TestCase):
    """A host name with several addresses, some of which never respond."""

    def test_one_that_never_responds_leaves_time_for_the_next(self):
        autumn, stalled = self.start_stand_in(), Peer(self, [9])
        good = autumn.server_address
        stall = ("127.0.0.1", stalled.port)
        silent, refusing = self.silent_address(), self.refusing_address()
        table = {
            "one_of_two_silent": ([silent, good], None),
            "two_of_three_silent": ([silent, silent, good], None),
            "refused_silent_good": ([refusing, silent, good], None),
            "ipv6_refused": ([("::1", refusing[1]), good], None),
            "four_silent": ([silent] * 4, AutumnTimeoutError),
            "stalls_in_the_handshake": ([silent, stall, good], AutumnTimeoutError),
            "refused_last": ([silent, refusing], AutumnConnectionError),
        }
        self.patch_resolver(
            **{name: addresses for name, (addresses, _) in table.items()}
        )

        def call(name):
            tls = name == "stalls_in_the_handshake"
            url = f"http{'s' if tls else ''}://{name.replace('_', '.')}"
            options = {"timeout": 0.9, "max_retries": 0, "allow_http": True}
            begin, error_type = time.monotonic(), table[name][1]
            if error_type:
                self.assert_call_raises(error_type, url, **options, context=context)
            else:
                open_customer_portal(PARAMS, server_url=url, **options)
            return time.monotonic() - begin

        context = client_context()
        with ThreadPoolExecutor(len(table)) as pool:
            calls = {name: pool.submit(call, name) for name in table}
        for name, future in calls.items():
            with self.subTest(name):
                self.assertLess(future.result(), 1.6)

    def test_each_address_gets_an_equal_share_of_the_time_left(self):
        clock = self.stop_clock()
        tried = []

        def connect(address, timeout, *_):
            tried.append((*address, timeout))
            clock.now += 2
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        self.patch_resolver(autumn=[("127.0.0.1", 1), ("127.0.0.2", 2), ("::1", 3)])
        self.patch("socket.create_connection", connect)
        self.assert_call_raises(
            AutumnConnectionError,
            "http://autumn",
            allow_http=True,
            timeout=12,
            max_retries=0,
        )
        shares = [("127.0.0.1", 1, 4), ("127.0.0.2", 2, 5), ("::1", 3, 8)]
        self.assertEqual(tried, shares)

    def test_time_that_resolving_used_up_is_gone(self):
        clock = self.stop_clock()
        infos = socket.getaddrinfo("127.0.0.1", 1, 0, socket.SOCK_STREAM)

        def getaddrinfo(*_):
            clock.now += 60
            return infos

        self.patch("socket.getaddrinfo", getaddrinfo)
        with mock.patch("socket.create_connection") as connect:
            self.assert_call_raises(AutumnTimeoutError, "http://127.0.0.1:1")
        connect.assert_not_called()

    def test_a_connection_that_is_made_too_late_is_closed(self):
        clock = self.stop_clock()
        peer = Peer(self)
        connect, sockets = socket.create_connection, []

        def connect_late(*args):
            clock.now += 60
            sockets.append(connect(*args))
            return sockets[0]

        self.patch("socket.create_connection", connect_late)
        self.assert_call_raises(AutumnTimeoutError, peer.url)
        self.assertEqual(sockets[0].fileno(), -1)

    def test_a_name_without_addresses(self):
        self.stop_clock()
        with mock.patch("socket.getaddrinfo", return_value=[]) as resolve:
            error = self.assert_call_raises(
                AutumnConnectionError, "https://autumn.example"
            )
        self.assertEqual(resolve.call_count, 3)
        self.assert_attempts(3, error)
        self.assertIn("the host name has no address", str(error))

    def test_the_scope_of_a_link_local_address_is_kept(self):
        for address, host in (
            (("fe80::1", 80, 0, 7), "fe80::1%7"),
            (("fd00::1", 80, 0, 0), "fd00::1"),
            (("fd00::1", 80, 5, 0), "fd00::1"),
        ):
            info = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", address)
            self.patch("socket.getaddrinfo", return_value=[info])
            with mock.patch("socket.create_connection", side_effect=OSError) as connect:
                self.assert_call_raises(
                    AutumnConnectionError, "https://autumn.example", max_retries=0
                )
            self.assertEqual(connect.call_args[0][0], (host, 80))

    def test_the_resolver_may_be_replaced_as_socks_users_do(self):
        """Positional arguments alone, and a name where an address is expected."""
        autumn = self.start_stand_in()

        def getaddrinfo(*args):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", args[:2])]

        def connect(address, *args):
            self.assertEqual(address, ("autumn.example", 80))
            return original(autumn.server_address, *args)

        original = socket.create_connection
        self.patch("socket.create_connection", connect)
        self.patch("socket.getaddrinfo", getaddrinfo)
        url = "http://autumn.example"
        open_customer_portal(PARAMS, server_url=url, allow_http=True)


class DeadlineTests(TestCase):
    def test_whatever_is_slow_ends_in_time(self):
        """Within a second of the deadline, and never tried again."""
        headers = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        error = headers.replace(b"200 OK", b"404 No")
        slow = {
            "no response at all": [9],
            "half a status line": [b"HTTP/1.1 2", 9],
            "a status line that drips": drip(b"HTTP/1.1 200 OK" + b"x" * 100, 0.1),
            "a header that drips": [b"HTTP/1.1 200 OK\r\n", *drip(b"X: " * 50, 0.1)],
            "interim responses without end": [b"HTTP/1.1 100 Continue\r\n\r\n", 0.1]
            * 50,
            "early hints without end": [b"HTTP/1.1 103 Hints\r\n\r\n", 0.1] * 50,
            "no more after the status line": [b"HTTP/1.1 200 OK\r\n", 9],
            "no more after the headers": [headers, 9],
            "a body that stops late": [headers, 1.1, b"x", 9],
            "a body that drips": [headers, *drip(b"x" * 100, 0.1)],
            "a body without a length that drips": [
                b"HTTP/1.1 200 OK\r\n\r\n",
                *drip(b"x" * 100, 0.1),
            ],
            "an error body that drips": [error, *drip(b"x" * 100, 0.1)],
            "chunks that drip": [chunked, *drip(b"1\r\nx\r\n" * 20, 0.1)],
            "a chunk size that drips": [chunked, *drip(b"1;" + b"x" * 100, 0.1)],
            "a trailer that drips": [chunked, b"0\r\n", *drip(b"A: b\r\n" * 20, 0.1)],
            "a retry that gets no response": [9],
            "a TLS handshake that never ends": [9],
            "no response, and a TLS handshake that comes late": [9],
            "a TLS handshake that drips": [b"\x16\3\3\x3e\0", *drip(b"\2" * 99, 0.1)],
        }

        def call(name):
            scripts = [slow[name]]
            if name.startswith("a retry"):
                scripts.insert(0, [RESET])
            peer = Peer(self, *scripts)
            url = peer.url.replace("http", "https" if "TLS" in name else "http")
            if name.startswith("no response, and"):
                certificate = server_context()
                peer = Peer(self, *scripts, context=certificate, handshake_delay=1)
                url = peer.url
            timeout = 1.2 if name.endswith(("late", "no response")) else 0.5
            options = {"timeout": timeout, "max_retries": 5, "context": context}
            begin = time.monotonic()
            error = self.assert_call_raises(AutumnTimeoutError, url, **options)
            return error, time.monotonic() - begin - timeout, peer

        context = client_context()
        with ThreadPoolExecutor(len(slow)) as pool:
            calls = {name: pool.submit(call, name) for name in slow}
        for name, future in calls.items():
            with self.subTest(name):
                error, late, peer = future.result()
                self.assertGreater(late, -0.02)
                self.assertLess(late, 0.9)
                attempts = 2 if name.startswith("a retry") else 1
                self.assert_attempts(attempts, error)
                self.assertEqual(len(peer.requests), attempts)
                self.assertNotIsInstance(error.__cause__, AutumnError)

    def test_the_message_of_a_timeout(self):
        peer = Peer(self, [9])
        error = self.assert_call_raises(AutumnTimeoutError, peer.url, timeout=0.05)
        message = f"no complete response in time from {peer.url}, 1 attempt"
        self.assertEqual(str(error), message)

    def test_a_slow_proxy_ends_in_time(self):
        """Also if the TLS handshake stalls after a slow response to CONNECT."""
        self.ignore_unclosed_sockets()
        established = b"HTTP/1.1 200 OK\r\n"
        for name, script, timeout in (
            ("no response", [9], 0.2),
            ("drips", [established, *drip(b"A: b\r\n" * 50, 0.05)], 0.2),
            ("then a stalled handshake", [0.5, established + b"\r\n", 9], 0.6),
        ):
            with self.subTest(name):
                os.environ.update(https_proxy=Peer(self, script).url, no_proxy="")
                url, begin = "https://autumn.example", time.monotonic()
                self.assert_call_raises(AutumnTimeoutError, url, timeout=timeout)
                self.assertLess(time.monotonic() - begin, timeout + 0.4)

    def test_a_connection_that_is_not_made_in_time(self):
        with mock.patch(
            "socket.create_connection", side_effect=self.slow_connection
        ) as connect:
            error = self.assert_call_raises(
                AutumnTimeoutError, "http://127.0.0.1:1", timeout=0.1
            )
        self.assertEqual(connect.call_count, 1)
        self.assertIsInstance(error.__cause__, socket.timeout)

    def slow_connection(self, address, timeout, *_):
        time.sleep(timeout)
        raise socket.timeout("timed out")

    def test_a_platforms_early_timeout_is_a_failed_connection(self):
        """ETIMEDOUT comes when the kernel gives up; Pyodide's comes at once."""
        clock = self.stop_clock()
        for early in (
            TimeoutError(errno.ETIMEDOUT, "Connection timed out"),
            socket.timeout("timed out"),
        ):
            with mock.patch("socket.create_connection", side_effect=early) as connect:
                error = self.assert_call_raises(
                    AutumnConnectionError, "http://127.0.0.1:1"
                )
            self.assertEqual(connect.call_count, 3)
            self.assert_attempts(3, error)
            self.assertIs(error.__cause__, early)
        self.assertEqual(len(clock.sleeps), 4)

    def test_a_timeout_may_be_a_tick_of_the_clock_before_the_deadline(self):
        """On Windows before Python 3.13 the clock is as coarse as that."""
        for early, error_type in (
            (0.01, AutumnTimeoutError),
            (0.1, AutumnConnectionError),
        ):
            clock = self.stop_clock()

            def connect(*_, clock=clock, early=early):
                clock.now = 1010 - early
                raise socket.timeout("timed out")

            self.patch("socket.create_connection", connect)
            url = "http://127.0.0.1:1"
            error = self.assert_call_raises(error_type, url, timeout=10)
            self.assert_attempts(1, error)

    def test_each_attempt_gets_what_is_left(self):
        clock = self.stop_clock()
        timeouts = []

        def connect(address, timeout, *_):
            timeouts.append(timeout)
            clock.now += 2
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")

        self.patch("socket.create_connection", connect)
        self.assert_call_raises(AutumnConnectionError, "http://127.0.0.1:1", timeout=10)
        self.assertEqual(timeouts, [10, 7.75, 5.25])

    def test_a_wait_that_overruns_leaves_no_time_for_an_attempt(self):
        clock = self.stop_clock()
        clock.sleep = lambda seconds: setattr(clock, "now", clock.now + 60)
        peer = Peer(self, [RESET])
        error = self.assert_call_raises(AutumnTimeoutError, peer.url)
        self.assertEqual(len(peer.requests), 1)
        self.assert_attempts(2, error)


class RetryTests(TestCase):
    def count_requests(self, error_type, *scripts, **options):
        """Make a call that must fail; return the number of its requests, and the error."""
        peer = Peer(self, *scripts)
        error = self.assert_call_raises(error_type, peer.url, **options)
        return len(peer.requests), error

    def test_passing_failures_are_tried_again_as_often_as_allowed(self):
        self.stop_clock()
        for status in (429, 500, 502, 503, 504):
            for max_retries in (0, 1, 2, 4):
                with self.subTest(status=status, max_retries=max_retries):
                    requests, error = self.count_requests(
                        AutumnAPIError,
                        [http_response(status, b"x")],
                        max_retries=max_retries,
                    )
                    self.assertEqual(requests, max_retries + 1)
                    self.assertEqual(error.status, status)
        for script in (
            [],
            [RESET],
            [http_response()[:-1]],
            [http_response()[:30]],
            [b"HTTP/1.1 404"],
            [b"SSH-2.0-x\r\n"],
        ):
            requests, error = self.count_requests(AutumnConnectionError, script)
            self.assertEqual(requests, 3)
            self.assert_attempts(3, error)

    def test_lasting_failures_are_not_tried_again(self):
        self.stop_clock()
        for status in (201, 204, 302, 400, 401, 403, 404, 408, 409, 425, 501, 505, 999):
            with self.subTest(status=status):
                body = b"" if status == 204 else b"x"
                response = http_response(status, body)
                requests, _ = self.count_requests(AutumnAPIError, [response])
                self.assertEqual(requests, 1)
        requests, _ = self.count_requests(AutumnAPIError, [http_response(200, b"{}")])
        self.assertEqual(requests, 1)

    def test_a_503_of_over_1_mib_is_tried_again(self):
        self.stop_clock()
        response = http_response(503, b"x" * 1_100_000)
        requests, _ = self.count_requests(AutumnAPIError, [response])
        self.assertEqual(requests, 3)

    def test_a_failure_that_passes_is_survived(self):
        self.stop_clock()
        for failure in (
            [RESET],
            [],
            [http_response(503, b"x")],
            [http_response()[:-1]],
        ):
            peer = Peer(self, failure, [http_response()])
            portal = open_customer_portal(PARAMS, server_url=peer.url)
            self.assertEqual(portal.url, PORTAL_URL)
            self.assertEqual(len(peer.requests), 2)
            self.assertEqual(peer.requests[0], peer.requests[1])

    def test_the_wait_is_drawn_and_doubles(self):
        for draw, waits in ((0.5, [0.125, 0.25, 0.5]), (1, [0.25, 0.5, 1])):
            clock = self.stop_clock()
            uniform = self.patch("random.uniform", return_value=draw)
            self.count_requests(AutumnConnectionError, [RESET], max_retries=3)
            self.assertEqual(clock.sleeps, waits)
            self.assertEqual({call[0] for call in uniform.call_args_list}, {(0.5, 1)})

    def test_callers_do_not_come_back_at_once(self):
        waits = [autumn_portal._draw_wait(1, AutumnError()) for _ in range(50)]
        self.assertGreater(len(set(waits)), 40)
        self.assertTrue(all(0.125 <= wait <= 0.25 for wait in waits))

    def test_after_a_retry_after_callers_do_not_come_back_at_once_either(self):
        """The wait is its seconds and then the drawn backoff."""
        for value, wait in (("7", 7.25), ("0", 0.25), ("-7", 0.25), ("7.5", 0.25)):
            clock = self.stop_clock()
            limited = http_response(503, b"x", f"Retry-After: {value}")
            requests, _ = self.count_requests(AutumnAPIError, [limited], max_retries=1)
            self.assertEqual((requests, clock.sleeps), (2, [wait]))

    def test_a_wait_past_the_deadline_is_not_begun(self):
        clock = self.stop_clock()
        for seconds in ("10", "999999999"):
            limited = http_response(429, b"x", f"Retry-After: {seconds}")
            requests, error = self.count_requests(AutumnAPIError, [limited], timeout=10)
            self.assertEqual((requests, clock.sleeps), (1, []))
            self.assertEqual(error.retry_after, int(seconds))
        requests, error = self.count_requests(
            AutumnConnectionError, [RESET], timeout=0.1
        )
        self.assertEqual((requests, clock.sleeps), (1, []))
        self.assert_attempts(1, error)

    def test_each_retry_is_one_line_in_the_log_without_secrets(self):
        """A server may repeat them, so the line has none of its words."""
        self.stop_clock()
        echo = json.dumps({"message": f"{KEY} {PORTAL_URL}", "code": KEY}).encode()
        peer = Peer(self, [http_response(503, echo)], [RESET], [http_response()])
        with self.assertLogs(autumn_portal.__name__, logging.DEBUG) as logs:
            open_customer_portal(PARAMS, server_url=peer.url)
        line = (
            "INFO:autumn_portal:Attempt {} to open a portal failed ({}); the next one"
        )
        first = line.format(1, "status 503") + " starts in 0.25 s"
        second = line.format(2, "no complete response") + " starts in 0.50 s"
        self.assertEqual(logs.output, [first, second])

    def test_a_retry_does_not_import_logging(self):
        """Nobody would see the line, and a child forked meanwhile could hang."""
        self.stop_clock()
        peer = Peer(self, [RESET], [http_response()])
        with mock.patch.dict(sys.modules):
            del sys.modules["logging"]
            open_customer_portal(PARAMS, server_url=peer.url)
            self.assertNotIn("logging", sys.modules)

    def test_the_logger_is_named_as_the_module_wherever_it_is_copied_to(self):
        module = load_copy("billing_portal")
        peer = Peer(self, [RESET], [http_response()])
        with self.assertLogs("billing_portal", logging.INFO):
            module.open_customer_portal(
                module.OpenCustomerPortalParams("cus_123"), server_url=peer.url
            )


class HostileServerTests(TestCase):
    STATUS = b"HTTP/1.1 200 OK\r\n"
    CHUNKED = STATUS + b"Transfer-Encoding: chunked\r\n\r\n"

    def call(self, error_type, *script):
        """Make a call that must fail at its one attempt; return the error and the peer."""
        peer = Peer(self, script)
        error = self.assert_call_raises(error_type, peer.url, max_retries=0)
        return error, peer

    def test_no_complete_response_is_a_connection_error(self):
        body = BODY  # has the portal's URL in it, which no error may show
        for name, script in {
            "closed without a response": [],
            "reset": [RESET],
            "reset in the headers": [self.STATUS, RESET],
            "half a status line": [b"HTTP/1."],
            "a line break": [b"\r\n"],
            "a status that is no number": [b"HTTP/1.1 abc OK\r\n\r\n"],
            "a status of two digits": [b"HTTP/1.1 99 X\r\n\r\n"],
            "a status of four digits": [b"HTTP/1.1 2000 X\r\n\r\n"],
            "HTTP/9": [b"HTTP/9.9 200 OK\r\n\r\n" + body],
            "a banner of SSH": [b"SSH-2.0-OpenSSH_9.6\r\n"],
            "a banner of SMTP": [b"220 mail.example ESMTP\r\n"],
            "HTTP/2": [b"\x00\x00\x12\x04\x00\x00\x00\x00\x00"],
            "a secret for a status line": [PORTAL_URL.encode() + b"\r\n\r\n"],
            "a secret for a version": [b"HTTP/" + KEY.encode() + b" 200 OK\r\n\r\n"],
            "a cut status line": [b"HTTP/1.1 404"],
            "a status line alone": [b"HTTP/1.1 503 X\r\n"],
            "a cut header": [b"HTTP/1.1 404 X\r\nContent-Len"],
            "headers without an end": [self.STATUS + b"Content-Length: 2\r\n"],
            "headers over 40 KiB": [
                self.STATUS + (b"X: " + b"x" * 995 + b"\r\n") * 42 + b"\r\n" + body
            ],
            "headers of 18,000 fields in three lines": [
                self.STATUS + b"\r".join(b"%x:" % field for field in range(18_000))
            ],
            "headers of white space": [self.STATUS + (b" \r" * 32_700 + b" \r\n") * 29],
            "an endless status line": [b"HTTP/1.1 200 " + b"x" * 70_000],
            "an endless header": [self.STATUS + b"X: " + b"x" * 70_000],
            "thousands of headers": [self.STATUS + b"X: y\r\n" * 5000 + b"\r\n" + body],
            "a truncated body": [http_response()[:-1]],
            "a truncated error body": [http_response(500)[:-1]],
            "no body": [http_response()[: -len(body)]],
            "a length of many digits": [
                self.STATUS + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n" + body
            ],
            "chunks that stop": [self.CHUNKED + b"%x\r\n" % len(body) + body],
            "a chunk cut short": [self.CHUNKED + b"fff\r\n" + body],
            "a chunk size that is none": [self.CHUNKED + b"zz\r\n" + body],
            "a secret for a chunk size": [self.CHUNKED + PORTAL_URL.encode() + b"\r\n"],
            "an empty chunk size": [self.CHUNKED + b"\r\n" + body],
            "a chunk size of -1": [self.CHUNKED + b"-1\r\n" + body],
            "a chunk size of -5": [self.CHUNKED + b"-5\r\n" + body],
            "an endless chunk size": [self.CHUNKED + b"1" * 70_000],
        }.items():
            with self.subTest(name):
                begin = time.monotonic()
                error, peer = self.call(AutumnConnectionError, *script)
                self.assertLess(time.monotonic() - begin, 1)
                self.assert_attempts(1, error)
                self.assertEqual(len(peer.requests), 1)

    def test_a_complete_response_without_a_portal_is_an_api_error(self):
        deep = b"[" * 200_000
        for name, (script, status) in {
            "a status of 999": (http_response(999), 999),
            "a length that is none": (
                self.STATUS + b"Content-Length: many\r\n\r\n{}",
                200,
            ),
            "a negative length": (self.STATUS + b"Content-Length: -1\r\n\r\n{}", 200),
            "no length": (self.STATUS + b"\r\n{}", 200),
            "no headers": (b"HTTP/1.0 200\r\n\r\n{}", 200),
            "headers that are none": (
                self.STATUS + b"what?\r\n\x00\xff\r\n\r\n{}",
                200,
            ),
            "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204),
            "another protocol from here": (b"HTTP/1.1 101 Switch\r\n\r\n", 101),
            "JSON nested deep": (http_response(200, deep), 200),
            "JSON nested deep in an error": (http_response(500, deep), 500),
            "an integer of 10,000 digits": (http_response(200, b"1" * 10_000), 200),
            "compressed": (
                http_response(200, b"\x1f\x8b\x08", "Content-Encoding: gzip"),
                200,
            ),
            "the wrong charset": (
                http_response(200, BODY.decode().encode("utf-16")),
                200,
            ),
        }.items():
            with self.subTest(name):
                error, _ = self.call(AutumnAPIError, script)
                self.assertEqual(error.status, status)

    def test_odd_but_complete_responses_are_accepted(self):
        cut = 40
        for name, script in {
            "without a length": [self.STATUS + b"\r\n" + BODY],
            "HTTP/1.0": [b"HTTP/1.0 200\r\n\r\n" + BODY],
            "after 100 Continue": [b"HTTP/1.1 100 Continue\r\n\r\n" + http_response()],
            "in chunks": [
                self.CHUNKED,
                b"%x;a=b\r\n" % cut + BODY[:cut] + b"\r\n",
                0.01,
                b"%X\r\n" % len(BODY[cut:]) + BODY[cut:] + b"\r\n0\r\nA: b\r\n\r\n",
            ],
            "with headers in latin-1": [http_response(200, BODY, "X-\u00e9: \u00e9")],
            "with headers of 31 KiB": [
                http_response(200, BODY, *["X: " + "x" * 995] * 31)
            ],
            "kept open": [http_response(), 5],
            "after 102, 103 and 100": [
                b"HTTP/1.1 102 Processing\r\n\r\n",
                b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX: y\r\n\r\n",
                0.01,
                b"HTTP/1.1 100 Continue\r\n\r\n",
                http_response(),
            ],
        }.items():
            with self.subTest(name):
                peer = Peer(self, script)
                portal = open_customer_portal(PARAMS, server_url=peer.url, timeout=2)
                self.assertEqual(portal.url, PORTAL_URL)

    def test_the_cause_is_kept_where_it_shows_no_secret(self):
        for script, cause, reason in (
            ([], http.client.RemoteDisconnected, ".+"),
            ([RESET], ConnectionResetError, ".+"),
            (
                [self.STATUS + b"X: " + b"x" * 70_000],
                Exception,
                "the response is too long",
            ),
            ([http_response()[:-1]], Exception, "the response broke off"),
            ([http_response()[:20]], Exception, "the response broke off"),
            ([b"HTTP/1.1 abc\r\n\r\n"], type(None), r"BadStatusLine .*client.py:\d+"),
        ):
            error, _ = self.call(AutumnConnectionError, *script)
            self.assertIsInstance(error.__cause__, cause)
            self.assertIs(error.__context__, None)
            self.assertRegex(str(error), f": {reason}$")

    def test_headers_that_cannot_be_decoded_are_not_shown_by_the_cause(self):
        """Some raise an exception that holds them, which ones depends on the Python."""
        for codec in ("punycode", "idna", "undefined", "x\0y", "unicode_escape"):
            boundary = f"boundary*={codec}''{PORTAL_URL}%FF"
            header = f"Content-Type: multipart/mixed; {boundary}"
            peer = Peer(self, [http_response(200, BODY, header)])
            try:
                open_customer_portal(PARAMS, server_url=peer.url, max_retries=0)
            except AutumnConnectionError as error:
                self.assert_shows_no_secret(error)

    def test_the_message_of_a_failed_connection(self):
        url = "http://{}:{}".format(*self.refusing_address())
        error = self.assert_call_raises(AutumnConnectionError, url, max_retries=0)
        self.assertIsInstance(error.__cause__, ConnectionRefusedError)
        reason = error.__cause__.strerror
        message = f"no complete response from {url}, 1 attempt: {reason}"
        self.assertEqual(str(error), message)

    def test_a_name_that_does_not_resolve(self):
        unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        self.stop_clock()
        resolve = self.patch("socket.getaddrinfo", side_effect=unknown)
        url = "https://autumn.example/billing"
        error = self.assert_call_raises(AutumnConnectionError, url)
        self.assertIn("https://autumn.example, 3 attempts: ", str(error))
        self.assertIn(unknown.strerror, str(error))
        self.assertIs(error.__cause__, unknown)
        self.assertEqual(resolve.call_count, 3)

    def test_a_name_that_cannot_be_one_is_not_tried_again(self):
        self.stop_clock()
        for host in ("a" * 64 + ".example", "a..example", "x" * 8000):
            with self.subTest(host=host[:20]):
                error = self.assert_call_raises(
                    AutumnConnectionError, f"https://{host}", context=client_context()
                )
                self.assert_attempts(1, error)
                self.assertIn(host[:150], str(error))
                self.assertRegex(str(error), r": Unicode\w+ .*\w+\.py:\d+$")

    def test_what_becomes_of_an_exception(self):
        """Those of the network are tried again. Those that cannot quote a response or
        a header are shown, and are the cause."""
        self.stop_clock()
        unverified = ssl.SSLCertVerificationError(1, "certificate verify failed")
        for exception, attempts, shown in (
            (OSError("no route"), 3, True),
            (OSError(), 3, True),
            (ssl.SSLError(1, "tlsv1 alert"), 3, True),
            (unverified, 1, True),
            (NotImplementedError("no sockets here"), 1, True),
            (ImportError("No module named '_ssl'"), 1, True),
            (http.client.IncompleteRead(BODY, 99), 3, False),
            (http.client.BadStatusLine(PORTAL_URL), 3, False),
            (http.client.InvalidURL(PORTAL_URL), 1, False),
            (UnicodeDecodeError("idna", BODY, 0, 1, "label too long"), 1, False),
            (ValueError(f"Invalid header value {KEY!r}"), 1, False),
            (DeprecationWarning(f"invalid escape sequence in {KEY}"), 1, False),
            (AttributeError("'NoneType' object has no attribute 'recv'"), 1, False),
            (TypeError("'NoneType' object is not iterable"), 1, False),
            (LookupError("unknown encoding: idna"), 1, False),
            (OverflowError("port must be 0-65535"), 1, False),
        ):
            with (
                self.subTest(exception=exception),
                mock.patch(
                    "socket.create_connection", side_effect=exception
                ) as connect,
            ):
                error = self.assert_call_raises(
                    AutumnConnectionError, "http://127.0.0.1:1"
                )
                self.assertEqual(connect.call_count, attempts)
                self.assertIs(error.__cause__, exception if shown else None)
                self.assertIs(error.__context__, None)
                self.assert_attempts(attempts, error)
                text = f"{type(exception).__name__} at mock.py:[0-9]+"
                if shown:
                    text = getattr(exception, "strerror", None) or str(exception)
                    text = re.escape(text or type(exception).__name__)
                self.assertRegex(str(error), f": {text}$")

    def test_an_exception_that_was_never_raised_has_no_line_to_name(self):
        reason = urllib.error.URLError(ValueError("SENTINEL"))
        with mock.patch("urllib.request.OpenerDirector.open", side_effect=reason):
            error = self.assert_call_raises(AutumnConnectionError, "http://127.0.0.1:1")
        self.assertRegex(str(error), ": ValueError$")

    def test_interrupts_and_exceptions_of_signal_handlers_pass_through(self):
        class SoftTimeLimitExceeded(Exception):
            """Like Celery's, which a signal handler raises."""

        for passing in (KeyboardInterrupt, SystemExit, SoftTimeLimitExceeded):
            self.patch("socket.create_connection", side_effect=passing)
            with self.assertRaises(passing):
                open_customer_portal(PARAMS, server_url="http://127.0.0.1:1")

    def test_a_response_of_400_mb_is_not_read_to_its_end(self):
        """Good or bad, with a length, in chunks, or in a chunk of size -1, for which
        http.client reads the whole stream."""
        length = b"Content-Length: 400000000\r\n\r\n"
        piece = b"x" * 100_000
        for name, error_type, start in (
            ("with a length", AutumnAPIError, self.STATUS + length),
            ("bad", AutumnAPIError, self.STATUS.replace(b"200", b"404") + length),
            ("without a length", AutumnAPIError, self.STATUS + b"\r\n"),
            ("one chunk", AutumnAPIError, self.CHUNKED + b"17D78400\r\n"),
            ("a chunk of -1", AutumnConnectionError, self.CHUNKED + b"-1\r\n"),
            ("an endless chunk", AutumnConnectionError, self.CHUNKED + b"1;"),
        ):
            with self.subTest(name):
                stream = (piece for _ in range(4000))
                if tracemalloc:
                    tracemalloc.start()
                error, peer = self.call(error_type, start, stream)
                if tracemalloc:
                    _, peak = tracemalloc.get_traced_memory()
                    tracemalloc.stop()
                    self.assertLess(peak, 8_000_000)
                peer.close()
                self.assertLess(peer.sent, 40_000_000)
                if error_type is AutumnAPIError and error.status == 200:
                    self.assertIn("1 MiB", str(error))

    def test_a_response_of_just_1_mib_is_read(self):
        body = BODY + b" " * (1_048_576 - len(BODY))
        peer = Peer(self, [http_response(200, body)], [http_response(200, body + b" ")])
        open_customer_portal(PARAMS, server_url=peer.url)
        error = self.assert_call_raises(AutumnAPIError, peer.url)
        self.assertIn("1 MiB", str(error))


class ThreadTests(TestCase):
    THREADS, CALLS = 32, 30

    def test_threads_get_their_own_responses(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.addCleanup(listener.close)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        def serve():
            for _ in range(self.THREADS * self.CALLS):
                connection, _ = listener.accept()
                with connection:
                    request = connection.recv(65536)
                    while not request.endswith(b"}"):
                        request += connection.recv(65536)
                    fields = json.loads(request.partition(b"\r\n\r\n")[2])
                    fields["url"] = f"https://x/{fields['customer_id']}"
                    connection.sendall(http_response(200, json.dumps(fields).encode()))

        def call(thread):
            wrong = 0
            for number in range(self.CALLS):
                params = OpenCustomerPortalParams(f"cus_{thread}_{number}")
                portal = open_customer_portal(params, server_url=url, max_retries=0)
                wrong += portal.customer_id != params.customer_id
                wrong += portal.url != f"https://x/{params.customer_id}"
            return wrong

        threading.Thread(target=serve, daemon=True).start()
        with ThreadPoolExecutor(self.THREADS) as pool:
            self.assertEqual(sum(pool.map(call, range(self.THREADS))), 0)


# --- Command line ---


class CommandLineTests(TestCase):
    def run_main(self, *arguments):
        """Run the file as a program; return its exit status, stdout and stderr."""
        stdout, stderr = io.StringIO(), io.StringIO()
        self.patch("sys.argv", [str(MODULE), *arguments])
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                runpy.run_path(str(MODULE), run_name="__main__")
            except SystemExit as exc:
                status = exc.code
        self.assertNotIn(KEY, stdout.getvalue() + stderr.getvalue())
        return status, stdout.getvalue(), stderr.getvalue()

    def test_it_prints_the_url_alone(self):
        autumn = self.start_stand_in()
        done = self.run_main("cus_123", "--server-url", autumn.url)
        self.assertEqual(done, (0, f"{PORTAL_URL}\n", ""))
        done = self.run_main(
            *("cus_123", "--return-url", "https://x", "--configuration-id", "bpc_1"),
            *("--server-url", autumn.url, "--timeout", "7.5"),
        )
        self.assertEqual(done, (0, f"{PORTAL_URL}\n", ""))
        fields = {"configuration_id": "bpc_1", "return_url": "https://x"}
        sent = [json.loads(exchange[2]) for exchange in autumn.exchanges]
        self.assertEqual(
            sent, [{"customer_id": "cus_123"}, {"customer_id": "cus_123", **fields}]
        )

    def test_a_failure_is_one_line_and_status_1(self):
        peer = Peer(self, [9])
        for url, arguments, fact in (
            (self.start_stand_in().url, ["cus_x"], "404 customer_not_found: "),
            (peer.url, ["cus_123", "--timeout", "0.1"], f"{peer.url}, 1 attempt"),
        ):
            status, stdout, stderr = self.run_main(*arguments, "--server-url", url)
            self.assertEqual((status, stdout), (1, ""))
            self.assertRegex(stderr, "^autumn_portal: .+\n$")
            self.assertIn(fact, stderr)

    def test_bad_usage_is_status_2(self):
        for arguments, field in (
            (["a b"], "customer_id"),
            (["c", "--return-url", "x"], "return_url"),
            (["c", "--configuration-id", ""], "configuration_id"),
            (["c", "--server-url", "http://x"], "server_url"),
            (["c", "--timeout", "0"], "timeout"),
            (["c", "--timeout", "nan"], "timeout"),
        ):
            with self.subTest(arguments=arguments):
                status, stdout, stderr = self.run_main(*arguments)
                self.assertEqual((status, stdout), (2, ""))
                self.assertRegex(stderr, f"^autumn_portal: {field}: .+\n$")
        for arguments in (
            [],
            ["c", "--time", "5"],
            ["c", "--timeout"],
            ["c", "--timeout", "soon"],
        ):
            with self.subTest(arguments=arguments):
                status, stdout, stderr = self.run_main(*arguments)
                self.assertEqual((status, stdout), (2, ""))
                self.assertIn("usage: ", stderr)

    def test_arguments_that_only_look_like_a_key_pass(self):
        url = self.start_stand_in().url
        status, _, stderr = self.run_main("team_sk_1", "--server-url", url)
        self.assertEqual(status, 1, stderr)
        self.assertIn("404 customer_not_found", stderr)

    def test_http_to_another_host_has_to_be_allowed(self):
        arguments = ["cus_123", "--server-url", "http://autumn.example"]
        self.patch_resolver(autumn_example=[self.start_stand_in().server_address])
        status, stdout, stderr = self.run_main(*arguments)
        self.assertEqual((status, stdout), (2, ""))
        self.assertIn("--allow-http", stderr)
        done = self.run_main(*arguments, "--allow-http")
        self.assertEqual(done, (0, f"{PORTAL_URL}\n", ""))

    def test_a_missing_key_says_what_to_set(self):
        del os.environ["AUTUMN_SECRET_KEY"]
        status, stdout, stderr = self.run_main("cus_123")
        self.assertEqual((status, stdout), (2, ""))
        self.assertRegex(stderr, "^autumn_portal: secret_key: .*AUTUMN_SECRET_KEY")

    def test_a_key_given_as_an_argument_is_refused_and_not_shown(self):
        """Process lists show arguments; the error must not add to that."""
        for arguments in (
            ["c", KEY],
            ["c", "--secret-key", KEY],
            [f"--version={KEY}"],
            [KEY],
            [f"--secret-key={KEY}", "c"],
            ["c", "--return-url", f"https://x/?{KEY}"],
        ):
            status, stdout, stderr = self.run_main(*arguments)
            self.assertEqual((status, stdout), (2, ""))
            self.assertIn("the key goes into AUTUMN_SECRET_KEY", stderr)
        status, stdout, stderr = self.run_main("c", "SECRET", "--key=SECRET")
        self.assertEqual((status, stdout), (2, ""))
        self.assertNotIn("SECRET", stderr)
        self.assertIn("unknown arguments: 2", stderr)

    def test_version(self):
        expected = (0, f"autumn_portal {autumn_portal.__version__}\n", "")
        self.assertEqual(self.run_main("--version"), expected)

    def test_the_demo_shows_it_all_and_no_key(self):
        stdout = io.StringIO()
        with contextlib.redirect_stdout(stdout):
            self.assertEqual(demo(), 0)
        shown = stdout.getvalue()
        self.assertNotIn(KEY, shown)
        for part in (
            "> POST /v1/billing.open_customer_portal HTTP/1.1\n",
            "> Authorization: Bearer am_sk_***\n",
            '> {"customer_id": "cus_123", "return_url": "https://useautumn.com"}\n',
            "local imitation of Autumn",
            "    portal = open_customer_portal(params, server_url=",
            f"Redirect the customer to {DEMO_PORTAL_URL}\nexit status 0\n",
            "AutumnAPIError: 404 customer_not_found: Customer cus_x not found\n",
            "$ AUTUMN_SECRET_KEY=am_sk_*** python3 autumn_portal.py cus_123 ",
            f"\n\n{DEMO_PORTAL_URL}\nexit status 0\n",
            "(nothing was sent)\n\nautumn_portal: secret_key: ",
        ):
            self.assertIn(part, shown)

    def test_the_demo_fails_if_a_run_ends_as_it_should_not(self):
        done = subprocess.CompletedProcess([], 0, "", "")
        stdout = io.StringIO()
        self.patch(f"{__name__}.run_python", return_value=done)
        with contextlib.redirect_stdout(stdout):
            self.assertEqual(demo(), 1)
        self.assertIn("NOT as it should be.", stdout.getvalue())


# --- Vendored copies ---


class VendoringTests(TestCase):
    CALL = textwrap.dedent(
        """
        import os
        params = portal.OpenCustomerPortalParams("cus_123")
        print(portal.open_customer_portal(params, server_url=os.environ["SERVER"]).url)
        """
    )
    UNREGISTERED = textwrap.dedent(
        """
        import importlib.util
        spec = importlib.util.spec_from_file_location("plugin", "autumn_portal.py")
        portal = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(portal)
        """
    )
    TWO_COPIES = textwrap.dedent(
        """
        import one, two
        two.open_customer_portal(two.OpenCustomerPortalParams("cus_123"), server_url=SERVER)
        try:
            one.build_request(two.OpenCustomerPortalParams("cus_123"))
        except one.AutumnValidationError as error:
            assert not isinstance(error, two.AutumnError)
        portal = one
        """
    ).replace("SERVER", '__import__("os").environ["SERVER"]')
    WITHOUT_SSL = textwrap.dedent(
        """
        import sys
        sys.modules["ssl"] = sys.modules["_ssl"] = None
        import autumn_portal as portal
        params = portal.OpenCustomerPortalParams("cus_123")
        portal.build_request(params)
        import typing
        for function in portal.build_request, portal.open_customer_portal:
            typing.get_type_hints(function)
        portal.parse_response(200, {}, b'{"customer_id": null, "url": "https://x"}')
        try:
            portal.open_customer_portal(params)
        except portal.AutumnConnectionError as error:
            assert isinstance(error.__cause__, RuntimeError), error
        else:
            raise AssertionError
        try:
            portal.open_customer_portal(params, context=object())
        except portal.AutumnValidationError as error:
            assert error.field == "context", error
        else:
            raise AssertionError
        """
    )
    HANDLER = textwrap.dedent(
        """
        import os

        def handler(event, context):
            params = OpenCustomerPortalParams(event)
            return open_customer_portal(params, server_url=os.environ["SERVER"]).url
        """
    )

    def lay_out(self, folder):
        """Yield each layout's name, the code that uses it, and Python's options."""
        source = MODULE.read_bytes()
        (folder / "autumn_portal.py").write_bytes(source)
        plain = "import autumn_portal as portal"
        yield "in a plain copy", plain, []
        insert = f"import sys; sys.path.insert(0, {str(folder)!r}); {plain}"
        yield "with -I -S -W error", insert, ["-I", "-S", "-W", "error"]
        yield "without docstrings and asserts", plain, ["-OO"]
        yield "under an ASCII locale", plain, ["-X", "utf8=0"]
        (folder / "shop" / "_vendor").mkdir(parents=True)
        (folder / "shop" / "_vendor" / "autumn_portal.py").write_bytes(source)
        yield "inside a package", "from shop._vendor import autumn_portal as portal", []
        (folder / "billing_portal.py").write_bytes(source)
        yield "renamed", "import billing_portal as portal", []
        with zipfile.ZipFile(folder / "vendor.zip", "w") as archive:
            archive.writestr("zipped_portal.py", source)
        zipped = "import sys; sys.path.insert(0, 'vendor.zip')"
        yield "inside a zip", f"{zipped}; import zipped_portal as portal", []
        yield "in a loader that does not register it", self.UNREGISTERED, []
        pasted = source + self.HANDLER.encode()
        (folder / "lambda_function.py").write_bytes(pasted)
        use = "import lambda_function as portal; portal.handler('cus_123', None)"
        yield "pasted above a handler", use, []
        (folder / "one.py").write_bytes(source)
        (folder / "two.py").write_bytes(source)
        yield "two copies in one process", self.TWO_COPIES, []
        yield "without ssl", self.WITHOUT_SSL, []

    def test_it_works_wherever_it_is_copied_to(self):
        autumn = self.start_stand_in()
        environment = {"SERVER": autumn.url, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name).resolve()
            for layout, use, options in self.lay_out(folder):
                with self.subTest(layout):
                    script = f"{use}\n{self.CALL}"
                    (folder / "use.py").write_text(script, encoding="utf-8")
                    done = run_python(*options, "use.py", cwd=folder, **environment)
                    self.assertEqual(
                        (done.stdout, done.stderr), (f"{PORTAL_URL}\n", "")
                    )

    def test_the_source_is_ascii_and_its_annotations_are_objects(self):
        """A loader that does not register the module could not resolve a str."""
        tree = ast.parse(MODULE.read_text(encoding="ascii"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                self.assertNotEqual(node.module, "__future__")
            if isinstance(node, ast.AnnAssign):
                self.assertNotIsInstance(node.annotation, ast.Constant)

    def test_it_imports_nothing_that_only_a_retry_or_the_command_line_needs(self):
        # -S, because a site hook may have imported anything before.
        code = f"import sys; sys.path.insert(0, {str(MODULE.parent)!r});"
        code += "import urllib.request; old = set(sys.modules); import autumn_portal;"
        code += "print(*set(sys.modules) - old)"
        done = run_python("-I", "-S", "-c", code)
        self.assertEqual(done.stderr, "")
        self.assertIn("dataclasses", done.stdout.split())
        for name in ("argparse", "logging", "threading", "asyncio", "http.server"):
            self.assertNotIn(name, done.stdout.split())

    def test_the_signatures_are_those_promised(self):
        optional = "secret_key=None, server_url='https://api.useautumn.com'"
        more = "timeout=10.0, max_retries=2, context=None"
        for function, promised in (
            (
                OpenCustomerPortalParams,
                "customer_id, configuration_id=None, return_url=None",
            ),
            (OpenCustomerPortalResponse, "customer_id, url"),
            (AutumnAPIError, "status, message, code=None, retry_after=None"),
            (build_request, f"params, *, {optional}, allow_http=False"),
            (parse_response, "status, headers, body"),
            (
                open_customer_portal,
                f"params, *, {optional}, {more}, allow_http=False",
            ),
        ):
            signature = inspect.signature(function)
            plain = [
                each.replace(annotation=inspect.Parameter.empty)
                for each in signature.parameters.values()
            ]
            self.assertEqual(str(inspect.Signature(plain)), f"({promised})")

    def test_annotations_resolve(self):
        """Some frameworks read them. WITHOUT_SSL does the same without ssl."""
        for function in (
            build_request,
            parse_response,
            open_customer_portal,
            OpenCustomerPortalParams.to_dict,
            OpenCustomerPortalParams.from_dict,
            OpenCustomerPortalResponse.to_dict,
        ):
            with self.subTest(function=function):
                self.assertIn("return", typing.get_type_hints(function))
                if sys.version_info >= (3, 10):
                    inspect.signature(function, eval_str=True)

    def test_all_is_what_is_public(self):
        tree = ast.parse(MODULE.read_text(encoding="ascii"))
        public = {"API_VERSION", "DEFAULT_SERVER_URL", "__version__"}
        for node in tree.body:
            name = getattr(node, "name", "_")
            if not name.startswith("_"):
                public.add(name)
                self.assertTrue(ast.get_docstring(node), name)
        self.assertEqual(public, set(autumn_portal.__all__))
        self.assertEqual(autumn_portal.API_VERSION, "2.2.0")
        self.assertEqual(autumn_portal.DEFAULT_SERVER_URL, "https://api.useautumn.com")


# --- README ---


class ReadmeTests(TestCase):
    """Runs the examples on the stand-in over TLS, with a copy of the module."""

    HEADERS = types.MappingProxyType(
        {"Location": PORTAL_URL, "Cache-Control": "no-store"}
    )

    def setUp(self):
        super().setUp()
        self.blocks = re.findall(
            r"^```python\n(.*?)^```$",
            (HERE / "README.md").read_text(encoding="utf-8"),
            re.MULTILINE | re.DOTALL,
        )
        self.autumn = self.start_stand_in(server_context())
        folder = self.enter(tempfile.TemporaryDirectory())
        self.script = pathlib.Path(folder, "example.py")
        ca = pathlib.Path(folder, "ca.pem")
        ca.write_text(TEST_CA, encoding="ascii")
        os.environ["SSL_CERT_FILE"] = str(ca)
        module = load_copy("autumn_portal")
        for name in ("open_customer_portal", "build_request"):
            function = getattr(module, name)
            local = functools.partial(function, server_url=self.autumn.url)
            setattr(module, name, local)
        modules = {
            "autumn_portal": module,
            "httpx": types.SimpleNamespace(Client=self.fake_httpx_client),
            "pyodide": types.ModuleType("pyodide"),
            "pyodide.http": types.SimpleNamespace(pyfetch=self.fake_pyfetch),
        }
        self.enter(mock.patch.dict(sys.modules, modules))
        self.portal = module

    def send(self, method, url, headers, body):
        host, path = re.fullmatch("https://([^/]+)(/.*)", url).groups()
        connection = http.client.HTTPSConnection(host)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, dict(response.headers), response.read()

    def fake_httpx_client(self, *, follow_redirects):
        self.assertIs(follow_redirects, False)

        def request(method, url, *, headers, content):
            names = ("status_code", "headers", "content")
            sent = self.send(method, url, headers, content)
            return types.SimpleNamespace(**dict(zip(names, sent)))

        return types.SimpleNamespace(request=request)

    async def fake_pyfetch(self, url, *, method, headers, body, redirect):
        self.assertEqual(redirect, "manual")
        status, headers, content = self.send(method, url, headers, body)

        async def read():
            return content

        return types.SimpleNamespace(status=status, headers=headers, bytes=read)

    def example(self, text):
        """Run the one example that contains a text; return it as a module."""
        (block,) = [block for block in self.blocks if text in block]
        self.script.write_text(block, encoding="utf-8")
        with contextlib.redirect_stdout(io.StringIO()):
            return load_copy("example", self.script)

    def test_every_example_runs(self):
        self.assertEqual(len(self.blocks), 6)
        for block in self.blocks:
            self.example(block)

    def test_the_first(self):
        example = self.example("The customer's ID is from your session")
        self.assertEqual((example.status, example.headers), (303, self.HEADERS))
        sent = json.loads(self.autumn.exchanges[0][2])
        self.assertEqual(sent["return_url"], "https://app.example.com/")

    def lambda_event(self, customer_id, query=None):
        claims = {"jwt": {"claims": {"sub": customer_id}}}
        return {
            "requestContext": {"authorizer": claims},
            "queryStringParameters": query,
        }

    def invoke_lambda(self, customer_id, query=None):
        """Return the handler's reply, and the lines of the log."""
        handler = self.example("def lambda_handler").lambda_handler
        with self.assertLogs() as logs:
            logging.getLogger("test").warning("assertLogs() fails without any line")
            reply = handler(self.lambda_event(customer_id, query), None)
        return reply, logs.output[1:]

    def test_the_lambda_handler_redirects_to_the_portal(self):
        portal = {"statusCode": 303, "headers": self.HEADERS}
        good = {"return_url": "https://app.example.com/plans?x=1"}
        for query in (None, {}, good):
            self.assertEqual(self.invoke_lambda("cus_123", query), (portal, []))
        sent = [json.loads(e[2])["return_url"] for e in self.autumn.exchanges]
        origin = "https://app.example.com/"
        self.assertEqual(sent, [origin, origin, good["return_url"]])

    def test_the_lambda_handler_refuses_other_return_urls(self):
        for bad in (
            "https://evil.example/",
            "https://app.example.com@evil.example/",
            "https://app.example.com.evil.example/",
            "https://app.example.com\\@evil.example/",
            "https://app.example.com/SENTINEL >",
            "javascript:SENTINEL",
            "",
        ):
            with self.subTest(bad=bad):
                reply, log = self.invoke_lambda("cus_123", {"return_url": bad})
                self.assertEqual(reply, {"statusCode": 400})
                self.assertNotIn("SENTINEL", str(log))
        self.assertEqual(self.autumn.exchanges, [])

    def test_the_lambda_handlers_other_failures(self):
        """The reply is a status alone. The log has no key and no words of the server."""
        for customer_id, key, status, line in (
            ("cus_x", KEY, 404, "404"),
            ("cus_123", "am_sk_test_unknown", 502, "401"),
            ("SENTINEL " * 4, KEY, 502, "customer_id: .*"),
            ("cus_123", "am_pk_SENTINEL", 502, "secret_key: .*"),
            ("cus_123", "", 502, "secret_key: .*"),
        ):
            with self.subTest(line=line):
                os.environ["AUTUMN_SECRET_KEY"] = key
                reply, log = self.invoke_lambda(customer_id)
                self.assertEqual(reply, {"statusCode": status})
                self.assertEqual(len(log), 1)
                self.assertRegex(log[0], f"^WARNING:example:No portal: {line}$")
                self.assertNotIn("SENTINEL", log[0])
        del os.environ["AUTUMN_SECRET_KEY"]
        self.assertEqual(self.invoke_lambda("cus_123")[0], {"statusCode": 502})

    def test_the_wsgi_application(self):
        application = self.example("def application").application
        for user, status, headers, log in (
            ("cus_123", "303 See Other", self.HEADERS, []),
            ("cus_x", "502 Bad Gateway", {}, ["WARNING:example:No portal: 404"]),
        ):
            start_response = mock.Mock()
            environ = {"REMOTE_USER": user}
            setup_testing_defaults(environ)
            with self.assertLogs() as logs:
                logging.getLogger("test").warning("assertLogs() fails without any line")
                self.assertEqual(list(application(environ, start_response)), [])
            self.assertEqual(logs.output[1:], log)
            start_response.assert_called_once()
            self.assertEqual(start_response.call_args[0][0], status)
            self.assertEqual(
                dict(start_response.call_args[0][1]), {**headers, "Content-Length": "0"}
            )

    def test_the_handlers_make_their_tls_context_at_import(self):
        """The first request makes none."""
        make = ssl.create_default_context
        for text in ("def lambda_handler", "def application"):
            with mock.patch("ssl.create_default_context", side_effect=make) as create:
                example = self.example(text)
                create.assert_called_once_with()
                if text == "def application":
                    example.application({"REMOTE_USER": "cus_123"}, mock.Mock())
                else:
                    example.lambda_handler(self.lambda_event("cus_123"), None)
                create.assert_called_once_with()
        self.assertEqual([e[3] for e in self.autumn.exchanges], [200, 200])

    def test_the_asyncio_example(self):
        portal_url = self.example("asyncio.to_thread").portal_url
        self.assertEqual(asyncio.run(portal_url("cus_123")), PORTAL_URL)
        sent = json.loads(self.autumn.exchanges[0][2])
        self.assertEqual(sent["return_url"], "https://app.example.com/billing")

    def test_the_examples_for_other_clients(self):
        fetch = self.example("import pyfetch").open_portal
        for open_portal in (
            self.example("import httpx").open_portal,
            lambda params: asyncio.run(fetch(params, KEY)),
        ):
            params = self.portal.OpenCustomerPortalParams("cus_123")
            self.assertEqual(open_portal(params).url, PORTAL_URL)
            with self.assertRaises(self.portal.AutumnAPIError):
                open_portal(self.portal.OpenCustomerPortalParams("cus_x"))

    def test_the_changelog_opens_with_this_version(self):
        text = (HERE / "README.md").read_text(encoding="utf-8")
        newest = re.search(r"^## CHANGELOG\n+### (\S+)", text, re.MULTILINE)
        self.assertEqual(newest[1], autumn_portal.__version__)


if __name__ == "__main__":
    if sys.argv[1:] == ["demo"]:
        sys.exit(demo())
    unittest.main()
