# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Measure what a call costs with autumn_portal, bare urllib and Autumn's SDK.

    python3 -m pip install --target FOLDER autumn-sdk==1.2.0
    python3 .ci/bench.py [--rounds N] [--sdk FOLDER]

Needs Linux. Each measurement is a fresh process that calls a TLS server on 127.0.0.1,
which responds at once. The contenders take turns, and the table shows medians.
"""

import argparse
import http.server
import pathlib
import socketserver
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import test_autumn_portal as tests

BODY = b'{"customer_id": "cus_123", "url": "https://billing.stripe.com/p/session/x"}'
HEADERS = f"Content-Type: application/json\r\nContent-Length: {len(BODY)}"
RESPONSE = f"HTTP/1.1 200 OK\r\n{HEADERS}\r\n\r\n".encode() + BODY

# A process runs SETUP, then the code of one contender, then MEASURE.
SETUP = """\
import sys
SERVER = sys.argv[1]
sys.path += sys.argv[2:]
PARAMS = {"customer_id": "cus_123", "return_url": "https://useautumn.com"}
"""
PORTAL = """\
from autumn_portal import OpenCustomerPortalParams, open_customer_portal

def call():
    params = OpenCustomerPortalParams(**PARAMS)
    return open_customer_portal(params, server_url=SERVER).url
"""
URLLIB = """\
import json, os, urllib.request

def call():
    request = urllib.request.Request(
        SERVER + "/v1/billing.open_customer_portal",
        data=json.dumps(PARAMS).encode(),
        headers={
            "Authorization": "Bearer " + os.environ["AUTUMN_SECRET_KEY"],
            "Content-Type": "application/json",
            "X-Api-Version": "2.2.0",
        },
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["url"]
"""
SDK = """\
import functools, os
from autumn_sdk import Autumn

@functools.cache
def get_sdk():
    return Autumn(secret_key=os.environ["AUTUMN_SECRET_KEY"], server_url=SERVER)

def call():
    return get_sdk().billing.open_customer_portal(**PARAMS).url
"""
# The SDK imports most of its code when `billing` is first used. This uses it at import.
SDK_SET_UP = SDK + "get_sdk().billing\n"
# VmHWM is the peak memory. getrusage() may return the parent process's.
MEASURE = """
import time
imported = time.process_time()
call()
first = time.process_time()
with open("/proc/self/status") as status:
    peak = int(status.read().split("VmHWM:")[1].split()[0]) / 1024
for _ in range(50):
    call()
later = (time.process_time() - first) / 50
print(1e3 * imported, 1e3 * (first - imported), 1e3 * first, 1e3 * later, peak)
"""
COLUMNS = ["import", "first call", "both", "later call", "memory"]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # so that the SDK can keep its connection

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.wfile.write(RESPONSE)


def start_server():
    """Serve from a thread, and return the URL."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = tests.server_context().wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"https://127.0.0.1:{server.server_address[1]}"


def measure(code, arguments, environment):
    # -I and -S, so that no site hook imports anything for a contender.
    command = [sys.executable, "-I", "-S", "-c", SETUP + code + MEASURE, *arguments]
    printed = subprocess.check_output(command, env=environment)
    return [float(value) for value in printed.split()]


def print_row(name, cells):
    print(f"| {name:28} |", *(f"{cell:>10} |" for cell in cells))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, metavar="N")
    parser.add_argument("--sdk", metavar="FOLDER", help="where autumn-sdk is installed")
    args = parser.parse_args()
    contenders = {"autumn_portal": PORTAL, "bare urllib": URLLIB}
    arguments = [start_server(), str(ROOT)]
    if args.sdk:
        contenders |= {"autumn-sdk": SDK, "autumn-sdk, set up at import": SDK_SET_UP}
        arguments.append(args.sdk)

    samples = {name: [] for name in contenders}
    with tempfile.TemporaryDirectory() as folder:
        # All of the system's CAs, because loading them is most of a first call's cost.
        cas = ssl.create_default_context().get_ca_certs(binary_form=True)
        pem = "".join(map(ssl.DER_cert_to_PEM_cert, cas)) + tests.TEST_CERTIFICATE
        bundle = pathlib.Path(folder, "bundle.pem")
        bundle.write_text(pem, encoding="ascii")
        env = {"AUTUMN_SECRET_KEY": "am_sk_test_bench", "SSL_CERT_FILE": str(bundle)}
        for _ in range(args.rounds + 1):
            for name, code in contenders.items():
                samples[name].append(measure(code, arguments, env))

    python = "CPython " + sys.version.split()[0]
    openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    print(f"{python}, {openssl}, {len(cas)} CAs, medians of {args.rounds} rounds\n")
    print_row("CPU ms; peak memory MiB", COLUMNS)
    print_row("-" * 28, ["-" * 9 + ":"] * len(COLUMNS))
    for name, values in samples.items():
        # The first round only fills the caches of the disk and of bytecode.
        medians = [statistics.median(column) for column in zip(*values[1:])]
        print_row(name, [f"{median:.1f}" for median in medians])


if __name__ == "__main__":
    main()
