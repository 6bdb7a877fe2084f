# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Measure what a call costs, beside bare urllib and, if it is there, Autumn's SDK.

    python3 .ci/bench.py [--rounds N] [--sdk PYTHON]

Needs Linux and the openssl command. A TLS server on 127.0.0.1, with a certificate made
for the occasion, answers at once; the CAs trusted are the system's and that one. Every
figure but the warm call's is of a fresh process, from its start to its end; the
contenders take turns. Printed are medians, and what autumn_portal's is of each.
"""

import argparse
import http.server
import os
import pathlib
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import textwrap

MODULE = pathlib.Path(__file__).resolve().parent.parent / "autumn_portal.py"
ANSWER = b'{"customer_id": "cus_123", "url": "https://billing.stripe.com/p/session/x"}'
WARM_CALLS = 50

# A contender is two pieces of Python: what it imports, and one call.
CONTENDERS = {
    "autumn_portal": (
        "from autumn_portal import OpenCustomerPortalParams, open_customer_portal",
        """\
params = OpenCustomerPortalParams("cus_123", return_url="https://useautumn.com")
url = open_customer_portal(params, server_url=SERVER).url
""",
    ),
    "bare urllib": (
        "import json, os, urllib.request",
        """\
request = urllib.request.Request(
    SERVER + "/v1/billing.open_customer_portal",
    data=json.dumps(
        {"customer_id": "cus_123", "return_url": "https://useautumn.com"}
    ).encode(),
    headers={
        "Authorization": "Bearer " + os.environ["AUTUMN_SECRET_KEY"],
        "Accept": "application/json",
        "Content-Type": "application/json",
        "User-Agent": "bare",
        "x-api-version": "2.2.0",
    },
)
with urllib.request.urlopen(request, timeout=10) as response:
    url = json.load(response)["url"]
""",
    ),
    "autumn-sdk": (
        "import os\nfrom autumn_sdk import Autumn",
        """\
sdk = globals().get("sdk") or Autumn(
    secret_key=os.environ["AUTUMN_SECRET_KEY"], server_url=SERVER
)
url = sdk.billing.open_customer_portal(
    customer_id="cus_123", return_url="https://useautumn.com"
).url
""",
    ),
}
PEAK = 'print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])'


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a client may keep its connection, as the SDK does

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        pass


def serve(certificate):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)
    server.serve_forever()


def make_certificate(folder):
    """Make a certificate for 127.0.0.1, and a bundle of the system's CAs and it."""
    certificate, bundle = folder / "server.pem", folder / "bundle.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=127.0.0.1"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-addext", "keyUsage=critical,digitalSignature,keyCertSign"),
            *("-keyout", folder / "key.pem", "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    paths = ssl.get_default_verify_paths()
    candidates = (paths.cafile, "/etc/ssl/certs/ca-certificates.crt")
    system = next(path for path in candidates if path and os.path.exists(path))
    bundle.write_bytes(pathlib.Path(system).read_bytes() + certificate.read_bytes())
    with certificate.open("ab") as file:
        file.write((folder / "key.pem").read_bytes())
    return certificate, bundle


def run(command, environment):
    """Run a command; return its CPU seconds, user and system, and what it printed."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
    with process.stdout:
        printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {command}")
    return usage.ru_utime + usage.ru_stime, printed.decode()


def write_scripts(folder, name, server):
    """Write one script for each thing that is measured of a contender."""
    imports, call = CONTENDERS[name]
    start = f"{imports}\nSERVER = {server!r}\n"
    repeat = f"for _ in range({WARM_CALLS}):\n" + textwrap.indent(call, "    ")
    scripts = {
        "import, ms": imports,
        "import and first call, ms": start + call,
        "peak memory, MiB": start + call + PEAK,
        "warm call, ms": f"{start}{call}import time\nbegin = time.process_time()\n"
        f"{repeat}print((time.process_time() - begin) / {WARM_CALLS})",
    }
    for number, (what, code) in enumerate(scripts.items()):
        path = folder / f"{name.split()[0]}_{number}.py"
        path.write_text(code)
        yield what, path


def measure(what, command, environment):
    cpu, printed = run(command, environment)
    if what.startswith("peak"):
        return float(printed) / 1024
    return 1000 * (float(printed) if what.startswith("warm") else cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, metavar="N")
    parser.add_argument("--sdk", metavar="PYTHON", help="one that has autumn-sdk")
    parser.add_argument("--serve", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)

    pythons = {"autumn_portal": sys.executable, "bare urllib": sys.executable}
    if args.sdk:
        pythons["autumn-sdk"] = args.sdk
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copy(MODULE, folder)
        certificate, bundle = make_certificate(folder)
        environment = {
            "PATH": os.environ["PATH"],
            "AUTUMN_SECRET_KEY": "am_sk_test_bench",
            "SSL_CERT_FILE": str(bundle),
        }
        command = [sys.executable, __file__, "--serve", certificate]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = f"https://127.0.0.1:{int(server.stdout.readline())}"
            scripts = {name: dict(write_scripts(folder, name, url)) for name in pythons}
            report(pythons, scripts, environment, args.rounds)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
    return 0


def report(pythons, scripts, environment, rounds):
    version = sys.version.split()[0]
    print(f"CPython {version}, medians of {rounds} rounds, CPU time\n")
    print(f"{'':27}" + "".join(f"{name:>15}{'ratio':>8}" for name in pythons))
    for what in scripts["autumn_portal"]:
        values = {name: [] for name in pythons}
        for turn in range(rounds + 1):
            for name, python in pythons.items():
                value = measure(what, [python, scripts[name][what]], environment)
                if turn:  # the first fills the caches of the disk and of bytecode
                    values[name].append(value)
        row = f"{what:27}"
        ours = statistics.median(values["autumn_portal"])
        for measured in values.values():
            median = statistics.median(measured)
            row += f"{median:15.2f}{ours / median:8.3f}"
        print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
