# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Measure what a call costs, beside bare urllib and, if it is there, Autumn's SDK.

    python3 .ci/bench.py [--rounds N] [--sdk FOLDER] [--cgroup FOLDER]

Needs Linux and the openssl command. A TLS server on 127.0.0.1, with a certificate made
for the occasion, responds at once; the CAs trusted are the system's and that one. Each
contender runs in fresh processes with -I -S, so that no site hook imports anything for
it, and the contenders take turns. The table shows medians. CPU time is user and system
time, from the start of the process.

Where valgrind is installed, a second table counts instructions. They repeat to within
0.1% on a busy machine, while CPU times do not.
"""

import argparse
import http.server
import os
import pathlib
import re
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import textwrap

MODULE = pathlib.Path(__file__).resolve().parent.parent / "autumn_portal.py"
BODY = b'{"customer_id": "cus_123", "url": "https://billing.stripe.com/p/session/x"}'
FURTHER_CALLS = 50

PORTAL_IMPORT = """\
from autumn_portal import OpenCustomerPortalParams, open_customer_portal
"""
PORTAL_CALL = """\
params = OpenCustomerPortalParams("cus_123", return_url="https://useautumn.com")
url = open_customer_portal(params, server_url=SERVER, context=CONTEXT).url
"""
URLLIB_IMPORT = "import json, os, urllib.request\n"
URLLIB_CALL = """\
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
with urllib.request.urlopen(request, timeout=10, context=CONTEXT) as response:
    url = json.load(response)["url"]
"""
NO_CONTEXT = "CONTEXT = None\n"
CONTEXT_AT_IMPORT = "import ssl\nCONTEXT = ssl.create_default_context()\n"
DATACLASSES = """\
import dataclasses

@dataclasses.dataclass(frozen=True)
class Params:
    customer_id: str
    configuration_id: str = None
    return_url: str = None

@dataclasses.dataclass(frozen=True)
class Response:
    customer_id: str
    url: str
"""
SDK_IMPORT = "import os\nfrom autumn_sdk import Autumn\n"
SDK_CALL = """\
sdk = globals().get("sdk") or Autumn(
    secret_key=os.environ["AUTUMN_SECRET_KEY"], server_url=SERVER
)
url = sdk.billing.open_customer_portal(
    customer_id="cus_123", return_url="https://useautumn.com"
).url
"""

# The SDK imports most of its code when it is first used. This does all of that at import.
SDK_SET_UP = (
    SDK_IMPORT
    + """\
sdk = Autumn(secret_key=os.environ["AUTUMN_SECRET_KEY"], server_url=SERVER)
sdk.billing
from autumn_sdk import models
models.OpenCustomerPortalGlobals
models.OpenCustomerPortalParams
models.OpenCustomerPortalResponse
"""
)

# By name, two pieces of Python: what is done at import, and one call.
CONTENDERS = {
    "autumn_portal": (PORTAL_IMPORT + NO_CONTEXT, PORTAL_CALL),
    "autumn_portal, context at import": (
        PORTAL_IMPORT + CONTEXT_AT_IMPORT,
        PORTAL_CALL,
    ),
    "bare urllib": (URLLIB_IMPORT + NO_CONTEXT, URLLIB_CALL),
    "bare urllib, context at import": (URLLIB_IMPORT + CONTEXT_AT_IMPORT, URLLIB_CALL),
    # What no module with two frozen dataclasses can go below.
    "floor: urllib and dataclasses": (
        URLLIB_IMPORT + DATACLASSES + NO_CONTEXT,
        URLLIB_CALL,
    ),
    "autumn-sdk": (SDK_IMPORT, SDK_CALL),
    "autumn-sdk, set up at import": (SDK_SET_UP, SDK_CALL),
}
SCRIPT = """\
{imports}
import os, time
imported = time.process_time()
if {cgroup!r}:
    with open(os.path.join({cgroup!r}, "cgroup.procs"), "w") as procs:
        procs.write(str(os.getpid()))
begin = time.perf_counter()
{call}
wall = time.perf_counter() - begin
first = time.process_time()
with open("/proc/self/status") as status:
    peak = int(status.read().split("VmHWM:")[1].split()[0])
if not {cgroup!r}:
    for _ in range({further_calls}):
{indented_call}
    further = (time.process_time() - first) / {further_calls}
    print(1e3 * imported, 1e3 * (first - imported), 1e3 * first, 1e3 * further, peak / 1024)
else:
    print(1e3 * wall)
"""
COLUMNS = ("import", "first request", "both", "further call", "peak memory")
PROFILER = (
    *("valgrind", "--tool=cachegrind", "--cache-sim=no"),
    "--cachegrind-out-file=/dev/null",
)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # a client may keep its connection, as the SDK does

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

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


def run(environment, *command):
    """Run a command that must succeed; return what it printed."""
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed: {command}\n{done.stderr}")
    return done.stdout + done.stderr


def measure_times(start, environment, contenders, rounds, cgroup):
    """Return the medians of each contender's columns, and of its throttled request."""
    samples = {name: ([], []) for name in contenders}
    for turn in range(rounds + 1):
        for name, (imports, call) in contenders.items():
            for values, group in zip(samples[name], ["", cgroup] if cgroup else [""]):
                code = start + SCRIPT.format(
                    imports=imports,
                    call=call,
                    indented_call=textwrap.indent(call, " " * 8),
                    cgroup=group,
                    further_calls=FURTHER_CALLS,
                )
                printed = run(environment, sys.executable, "-I", "-S", "-c", code)
                if turn:  # the first fills the caches of the disk and of bytecode
                    values.append([float(value) for value in printed.split()])
    return {
        name: [statistics.median(v) for values in both for v in zip(*values)]
        for name, both in samples.items()
    }


def count_instructions(environment, code):
    """Count the instructions of a script, in millions, from the start of the process.

    Not with -I, which ignores PYTHONHASHSEED; but in as clean an environment.
    """
    command = (sys.executable, "-s", "-S", "-c", code)
    run(environment, *command)  # fills the cache of bytecode
    printed = run(environment, *PROFILER, *command)
    return int(re.search(r"I +refs: +([\d,]+)", printed)[1].replace(",", "")) / 1e6


def print_table(title, columns, rows):
    width = max(map(len, rows))
    print(f"\n| {title:{width}} | " + " | ".join(f"{c:>13}" for c in columns) + " |")
    print(f"| {'-' * width} | " + " | ".join("-" * 12 + ":" for _ in columns) + " |")
    for name, values in rows.items():
        cells = " | ".join(f"{value:13.{1 + (value < 10)}f}" for value in values)
        print(f"| {name:{width}} | {cells} |", flush=True)


def report(start, environment, contenders, rounds, cgroup):
    openssl = " ".join(ssl.OPENSSL_VERSION.split()[:2])
    print(f"CPython {sys.version.split()[0]}, {openssl}, medians of {rounds}")
    medians = measure_times(start, environment, contenders, rounds, cgroup)
    columns = (*COLUMNS, "throttled") if cgroup else COLUMNS
    print_table("CPU ms; memory MiB", columns, medians)
    ours, bare = medians["autumn_portal, context at import"], medians["bare urllib"]
    fraction = ours[1] / bare[1]
    print(f"\nfirst request, context at import: {fraction:.2f} of bare urllib's CPU")

    if shutil.which(PROFILER[0]):
        rows = {}
        for name, (imports, call) in contenders.items():
            repeat = (
                f"for _ in range({FURTHER_CALLS}):\n{textwrap.indent(call, '    ')}"
            )
            imported, first, further = (
                count_instructions(environment, start + code)
                for code in (imports, imports + call, imports + call + repeat)
            )
            rows[name] = [imported, first - imported, first]
            rows[name].append((further - first) / FURTHER_CALLS)
        print_table("instructions, millions", COLUMNS[:4], rows)
        ratio = rows["autumn_portal"][0] / rows["floor: urllib and dataclasses"][0]
        print(f"\nimport: {ratio:.3f} of the floor's instructions")
        read = f"{start}source = open(sys.path[0] + '/autumn_portal.py').read()\n"
        count = count_instructions(
            environment, f"{read}compile(source, 'autumn_portal.py', 'exec')\n"
        )
        count -= count_instructions(environment, read)
        print(f"compiling autumn_portal.py: {count:.1f} million instructions")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25, metavar="N")
    parser.add_argument(
        "--sdk", metavar="FOLDER", help="where pip install --target put autumn-sdk"
    )
    parser.add_argument(
        "--cgroup",
        metavar="FOLDER",
        help="also measure the first request in this cgroup, joined after import",
    )
    parser.add_argument("--serve", type=pathlib.Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        return serve(args.serve)

    contenders = CONTENDERS
    if not args.sdk:
        contenders = {k: v for k, v in contenders.items() if "sdk" not in k}
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        shutil.copy(MODULE, folder)
        path = [str(folder)] + ([args.sdk] if args.sdk else [])
        certificate, bundle = make_certificate(folder)
        environment = {
            "PATH": os.environ["PATH"],
            "AUTUMN_SECRET_KEY": "am_sk_test_bench",
            "PYTHONHASHSEED": "0",
            "SSL_CERT_FILE": str(bundle),
        }
        command = [sys.executable, __file__, "--serve", certificate]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            url = f"https://127.0.0.1:{int(server.stdout.readline())}"
            start = f"import sys\nsys.path[:0] = {path!r}\nSERVER = {url!r}\n"
            report(start, environment, contenders, args.rounds, args.cgroup)
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
