# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of README.md, and of the pages that it links to.

    python3 -m unittest discover .ci

The examples run on their real frameworks, against the stand-in for Autumn: first as files
in one folder, then as a package. Needs the packages of requirements.txt, and sends nothing
beyond 127.0.0.1.
"""

import asyncio
import contextlib
import importlib
import inspect
import io
import json
import logging
import os
import pathlib
import re
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
import types
import unittest
from unittest import mock

import django
import django.conf
import django.test
import django.urls
import httpx
from django.http import HttpResponse
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import autumn_portal
from test_autumn_portal import KEY, MODULE, PORTAL_URL, TestCase, run_python

TOP = MODULE.parent
README = TOP / "README.md"
RECIPES = TOP / ".github" / "RECIPES.md"
REVIEW = TOP / ".github" / "REVIEW.md"
RETURN_URL = "https://app.example.com/account"  # the one in the examples


# --- Helpers, also for browser.py and run ---


def read(path):
    return path.read_text(encoding="utf-8")


def read_prose(path):
    """Return a page's text without its fenced code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", read(path))


def code_blocks(language):
    """Return the code blocks of a language, the README's before those of RECIPES.md."""
    text = read(README) + read(RECIPES)
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def copy_examples(folder, package="", replacements=()):
    """Write the module and the Python blocks of both pages into a folder.

    Blocks that do not name a file are called example_0.py and so on. For a package, a dot
    is added to the imports. Replacements are pairs of texts.
    """
    sources = {"autumn_portal.py": read(MODULE)}
    for block in code_blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        unnamed = sum(name.startswith("example_") for name in sources)
        sources[name[1] if name else f"example_{unnamed}.py"] = block
    for name, source in sources.items():
        for old, new in replacements:
            source = source.replace(old, new)
        if package:
            source = re.sub(
                r"(?m)^from (\w+_portal) import", r"from .\1 import", source
            )
            source = re.sub(r"(?m)^import (\w+_portal)", r"from . import \1", source)
            source = source.replace('"billing_portal.', f'"{package}.billing_portal.')
        (folder / name).write_text(source, encoding="utf-8")


def lambda_event(customer_id, query):
    """Return what an HTTP API passes to a function. JWT claims name the customer."""
    context = {"authorizer": {"jwt": {"claims": {"sub": customer_id}}}}
    return {"requestContext": context, "queryStringParameters": query}


# --- The examples ---


def sign_in(get_response):
    """A Django middleware that takes the user's primary key from the test client."""

    def respond(request):
        pk = request.META["pk"]
        request.user = types.SimpleNamespace(pk=pk, is_authenticated=pk is not None)
        return get_response(request)

    return respond


def setUpModule():
    templates = {"404.html": "our page", "billing_error.html": "our page"}
    loader = ("django.template.loaders.locmem.Loader", templates)
    backend = "django.template.backends.django.DjangoTemplates"
    django.conf.settings.configure(
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
        LOGIN_URL="/login",
        MIDDLEWARE=[f"{__name__}.sign_in"],
        TEMPLATES=[{"BACKEND": backend, "OPTIONS": {"loaders": [loader]}}],
    )
    django.setup()


class FileTests(TestCase):
    """The examples as files in one folder."""

    package = ""

    def setUp(self):
        super().setUp()
        self.autumn = self.start_stand_in()
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        target = self.folder / self.package
        target.mkdir(exist_ok=True)
        server_url = (autumn_portal.DEFAULT_SERVER_URL, self.autumn.url)
        copy_examples(target, self.package, [server_url])
        os.environ.pop("AUTUMN_SERVER_URL", None)
        self.enter(mock.patch.object(sys, "path", [str(self.folder), *sys.path]))
        del sys.modules["autumn_portal"]
        self.addCleanup(self.forget_examples)
        self.patch("time.sleep")  # the waits of retries
        self.log = io.StringIO()
        handler = logging.StreamHandler(self.log)
        handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
        self.enter(mock.patch.object(logging.getLogger(), "handlers", [handler]))
        self.addCleanup(self.take_log)

    def forget_examples(self):
        for name, module in list(sys.modules.items()):
            if str(self.folder) in str(getattr(module, "__file__", None)):
                del sys.modules[name]
        sys.modules.pop(self.package, None)
        sys.modules["autumn_portal"] = autumn_portal

    def load(self, name):
        """Import an example, as new."""
        name = f"{self.package}.{name}".lstrip(".")
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    def sent(self):
        """Return the bodies of the requests to Autumn."""
        return [json.loads(exchange[2]) for exchange in self.autumn.exchanges]

    def take_log(self):
        """Return which customers new lines of billing_portal.py are about."""
        log = self.log.getvalue()
        self.log.seek(0)
        self.log.truncate()
        self.assertNotIn("SENTINEL", log)
        return re.findall(r"billing_portal: .* for customer '?(.*?)'?: ", log)

    def test_the_first_example(self):
        module = self.load("example_0")

        self.assertEqual(module.location, PORTAL_URL)
        fields = {"customer_id": "user_123", "return_url": RETURN_URL}
        self.assertEqual(self.sent(), [fields])

    def test_the_example_of_a_test_sends_nothing(self):
        del os.environ["AUTUMN_SECRET_KEY"]

        self.load("example_1")

        self.assertEqual(self.autumn.exchanges, [])

    def test_each_failure_has_a_status_and_a_log_line(self):
        module = self.load("billing_portal")
        autumn = self.autumn.url
        refusing = "http://{}:{}".format(*self.refusing_address())
        for status, customer_id, return_url, key, server_url in (
            (303, "user_123", RETURN_URL, KEY, autumn),
            (400, "user_123", "javascript:SENTINEL", KEY, autumn),
            (400, "user_123", "", KEY, autumn),
            (404, "unknown_user", RETURN_URL, KEY, autumn),
            (500, "a b", RETURN_URL, KEY, autumn),
            (500, 7, RETURN_URL, "", autumn),
            (500, "user_123", RETURN_URL, "am_pk_SENTINEL", autumn),
            (500, "user_123", RETURN_URL, "sk_live_SENTINEL", autumn),
            (500, "user_123", RETURN_URL, "am_sk_SENTINEL_unknown", autumn),
            (502, "busy_user", RETURN_URL, KEY, autumn),
            (502, "slow_user", RETURN_URL, KEY, autumn),
            (502, "user_123", RETURN_URL, KEY, refusing),
        ):
            with self.subTest(status=status, customer_id=customer_id, key=key):
                os.environ["AUTUMN_SECRET_KEY"] = key
                module.SERVER_URL = server_url
                timeout = 0.3 if customer_id == "slow_user" else 8.0

                got, headers = module.open_billing_portal(
                    customer_id, return_url, timeout
                )

                about = [str(customer_id)] if status != 303 else []
                self.assertEqual(self.take_log(), about)
                self.assertEqual(got, status)
                self.assertEqual(bool(headers), status == 303)

    def test_each_api_error_has_a_status(self):
        module = self.load("billing_portal")
        for status, of_response, code in (
            (404, 404, "customer_not_found"),
            (500, 401, "no_auth_header"),
            (500, 403, "insufficient_scopes"),
            (502, 400, "stripe_error"),
            (502, 404, None),  # such as a proxy's
            (502, 500, "internal_error"),
        ):
            with self.subTest(of_response=of_response, code=code):
                error = module.AutumnAPIError(of_response, "a message", code)

                self.assertEqual(module.get_status(error), status)

    def test_the_server_is_autumns_or_that_of_the_environment(self):
        for value, server_url in (
            (None, self.autumn.url),  # in the place of Autumn's own
            ("", self.autumn.url),
            ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ):
            with self.subTest(value=value):
                os.environ.update({} if value is None else {"AUTUMN_SERVER_URL": value})
                module = self.load("billing_portal")

                with mock.patch.object(module, "open_customer_portal") as call:
                    module.open_billing_portal("user_123", RETURN_URL, 2.0, "context")

                options = {"server_url": server_url, "timeout": 2, "context": "context"}
                self.assertEqual(call.call_args[1], options)

    def check_application(self, module, request):
        """Check a framework's application.

        request() sends a method and a path, as a customer or, if the ID is None, signed
        out. It returns the status, the headers and the body.
        """
        original = module.open_billing_portal
        for status, customer_id, key, opener in (
            (303, "user_123", KEY, original),
            (303, 7, KEY, original),
            (400, "user_123", KEY, lambda id, _: original(id, "x:SENTINEL")),
            (404, "unknown_user", KEY, original),
            (500, "user_123", "am_pk_SENTINEL", original),
            (502, "busy_user", KEY, original),
        ):
            with self.subTest(status=status, customer_id=customer_id):
                os.environ["AUTUMN_SECRET_KEY"] = key
                module.open_billing_portal = opener

                got, headers, text = request("POST", "/billing", customer_id)

                about = [str(customer_id)] if status != 303 else []
                self.assertEqual(self.take_log(), about)
                self.assertEqual(got, status)
                self.assertEqual(text, "" if status == 303 else "our page")
                self.assertEqual("Location" in headers, status == 303)
                if status == 303:
                    self.assertEqual(headers["Location"], PORTAL_URL)
                    self.assertEqual(headers["Cache-Control"], "no-store")
                    fields = {"customer_id": str(customer_id), "return_url": RETURN_URL}
                    self.assertEqual(self.sent()[-1], fields)

        status, headers, _ = request("POST", "/billing", None)

        self.assertIn(status, (302, 303))  # after both, a browser sends a GET
        self.assertEqual(request("GET", headers["Location"], None)[2], "log in")
        self.assertEqual(request("GET", "/billing", "user_123")[0], 405)

    def test_flask(self):
        module = self.load("flask_app")
        module.app.get("/login")(lambda: "log in")
        for status in (400, 404, 500, 502):
            module.app.errorhandler(status)(lambda error: ("our page", error.code))

        def request(method, path, customer_id):
            client = module.app.test_client()
            with client.session_transaction() as session:
                session.update({"customer_id": customer_id} if customer_id else {})
            response = client.open(path, method=method)
            return response.status_code, response.headers, response.text

        self.check_application(module, request)
        self.assertEqual(module.app.config["SESSION_COOKIE_SAMESITE"], "Lax")

    def test_fastapi(self):
        module = self.load("fastapi_app")
        module.app.get("/login")(lambda: PlainTextResponse("log in"))

        @module.app.exception_handler(HTTPException)
        def show_error(_, error):
            return PlainTextResponse("our page", error.status_code, error.headers)

        async def send(method, path):
            transport = httpx.ASGITransport(module.app)
            async with httpx.AsyncClient(transport=transport) as client:
                return await client.request(method, f"http://testserver{path}")

        def request(method, path, customer_id):
            signed_in = {module.current_customer: lambda: customer_id}
            module.app.dependency_overrides = signed_in if customer_id else {}
            response = asyncio.run(send(method, path))
            return response.status_code, response.headers, response.text

        self.check_application(module, request)
        self.assertFalse(inspect.iscoroutinefunction(module.billing))

    def test_django(self):
        module = self.load("django_views")
        billing = django.urls.path("billing", module.billing)
        login = django.urls.path("login", lambda request: HttpResponse("log in"))
        settings = django.test.override_settings(ROOT_URLCONF=(billing, login))
        settings.enable()
        self.addCleanup(settings.disable)

        def request(method, path, customer_id):
            response = django.test.Client().generic(method, path, pk=customer_id)
            return response.status_code, response.headers, response.content.decode()

        self.check_application(module, request)

    def test_async_view(self):
        module = self.load("async_view")

        with mock.patch.object(module, "open_billing_portal") as call:
            call.side_effect = lambda *args: (args, threading.current_thread())
            args, thread = asyncio.run(module.open_portal("user_123"))

        self.assertEqual(args, ("user_123", RETURN_URL))
        self.assertIsNot(thread, threading.current_thread())

    def test_lambda_function(self):
        create = ssl.create_default_context
        created = self.patch("ssl.create_default_context", side_effect=create)
        module = self.load("lambda_function")
        call = mock.Mock(side_effect=module.open_billing_portal)
        module.open_billing_portal = call
        home, page = module.APPLICATION, "https://app.example.com/plans?x=1"
        for status, customer_id, query, return_url in (
            (200, "user_123", None, home),
            (200, "user_123", {}, home),
            (200, "user_123", {"return_url": page}, page),
            (404, "unknown_user", None, home),
            (502, "busy_user", None, home),
        ):
            with self.subTest(status=status, query=query):
                reply = module.lambda_handler(lambda_event(customer_id, query), None)

                self.assertEqual(call.call_args[0], (customer_id, return_url))
                self.assertIs(call.call_args[1]["context"], module.CONTEXT)
                self.assertLess(call.call_args[1]["timeout"], 3)  # Lambda's by default
                self.assertEqual(reply.pop("statusCode"), status)
                if status == 200:
                    self.assertEqual(json.loads(reply["body"]), {"url": PORTAL_URL})
                    self.assertIn("no-store", reply["headers"]["Cache-Control"])
                else:
                    self.assertEqual(reply, {})
        self.assertEqual(created.call_count, 1)

    def test_lambda_function_refuses_hostile_return_urls(self):
        module = self.load("lambda_function")
        for url in (
            "https://evil.example/",
            "https://app.example.com@evil.example/",
            "https://app.example.com.evil.example/",
            "https://evil.example/?https://app.example.com/",
            "https://app.example.com\\@evil.example/",
            "https://app.example.com/SENTINEL >",
            "//app.example.com/",
            "javascript:SENTINEL",
            "",
        ):
            with self.subTest(url=url):
                event = lambda_event("user_123", {"return_url": url})

                reply = module.lambda_handler(event, None)

                self.assertEqual(reply, {"statusCode": 400})
        self.assertEqual(self.autumn.exchanges, [])

    def check_client(self, module, *args):
        """Check an open_portal() that uses another HTTP client."""

        async def open_portal(customer_id):
            params = module.portal.OpenCustomerPortalParams(customer_id)
            return await module.open_portal(params, *args)

        async def open_portals():
            self.assertEqual((await open_portal("user_123")).url, PORTAL_URL)
            with self.assertRaisesRegex(module.portal.AutumnAPIError, "not_found"):
                await open_portal("unknown_user")

        asyncio.run(open_portals())

    def test_httpx_client(self):
        self.check_client(self.load("httpx_client"))

    def test_pyodide_client(self):
        """Outside Pyodide, pyfetch does not work, so it is imitated here."""

        async def pyfetch(url, *, method, headers, body, redirect):
            self.assertEqual(redirect, "manual")
            request = httpx.Request(method, url, headers=headers, content=body)
            async with httpx.AsyncClient() as client:
                response = await client.send(request)
            return types.SimpleNamespace(
                status=response.status_code,
                headers=dict(response.headers),
                bytes=mock.AsyncMock(return_value=response.content),
            )

        fake = types.SimpleNamespace(pyfetch=pyfetch)
        self.enter(mock.patch.dict(sys.modules, {"pyodide.http": fake}))
        self.check_client(self.load("pyodide_client"), KEY)


class PackageTests(FileTests):
    """The same files in a package, with a dot in their imports."""

    package = "shop"


# --- The pages ---


class PageTests(TestCase):
    """What the pages say, compared with the files and tools that they are about."""

    def make_folder(self):
        return pathlib.Path(self.enter(tempfile.TemporaryDirectory()))

    def test_the_configuration_keeps_ruff_and_coverage_away(self):
        (config,) = code_blocks("toml")
        for name, is_kept in (("autumn_portal.py", True), ("another.py", False)):
            for command in (
                "ruff check --no-cache --fix --select ALL .",
                "ruff check --no-cache --fix shop/autumn_portal.py",
                "ruff format --no-cache --line-length 60 .",
                "coverage run main.py",
            ):
                with self.subTest(name=name, command=command):
                    folder = self.make_folder()
                    text = config.replace("autumn_portal.py", name)
                    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
                    (folder / "main.py").write_bytes(b"import shop.autumn_portal")
                    (folder / "shop").mkdir()
                    copy = pathlib.Path(shutil.copy(MODULE, folder / "shop"))

                    run_python("-m", *command.split(), cwd=folder)
                    report = run_python("-m", "coverage", "report", cwd=folder).stdout

                    is_same = copy.read_bytes() == MODULE.read_bytes()
                    is_measured = "autumn_portal.py" in report
                    self.assertEqual(is_same and not is_measured, is_kept)

    def test_ruff_would_not_change_the_examples(self):
        for package in ("", "shop"):
            folder = self.make_folder()
            copy_examples(folder, package)
            (folder / "autumn_portal.py").write_bytes(b"")
            for command in ("ruff check --extend-select I", "ruff format --check"):
                with self.subTest(command=command, package=package):
                    done = run_python("-m", *command.split(), "--isolated", cwd=folder)

                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    @unittest.skipUnless(shutil.which("sh"), "needs a POSIX shell")
    def test_the_shell_commands(self):
        demo, tests, checksum = re.findall("(?m)^    (.*)$", read_prose(README))
        (sha256,) = re.findall(r"(?m)^\*\*([0-9a-f]{64})\*\*$", read(README))
        promises = re.findall("(?m)^    (.*python3 -c .*)\n    (.*)$", read(REVIEW))
        crlf = self.make_folder()
        source = MODULE.read_bytes().replace(b"\n", b"\r\n")
        (crlf / "autumn_portal.py").write_bytes(source)
        python = os.path.dirname(sys.executable)
        os.environ["PATH"] = python + os.pathsep + os.environ["PATH"]
        commands = [
            (demo, "All as it should be.", TOP),
            (checksum, sha256, TOP),
            (checksum, sha256, crlf),
        ]
        commands += [(*pair, TOP) for pair in promises if "8765" not in pair[0]]
        for command, last_line, folder in commands:
            with self.subTest(command=command, folder=folder):
                output = subprocess.getoutput(f"cd '{folder}' && {command}")

                self.assertEqual(output.splitlines()[-1], last_line)
        self.assertEqual(tests, "python3 -m unittest")  # .ci/run begins with it
        # Nothing between the quotes has a meaning in cmd or PowerShell either.
        self.assertRegex(checksum, r'^python3 -c "[^"$%`\\!^]+"$')

    def test_the_options_have_their_defaults(self):
        parameters = inspect.signature(autumn_portal.open_customer_portal).parameters
        defaults = {name: str(it.default) for name, it in parameters.items()}
        del defaults["params"]

        rows = re.findall(r"(?m)^\| `(\w+)` \| `?([\w.]+)`? \|", read(README))

        rows = {name: getattr(autumn_portal, text, text) for name, text in rows}
        self.assertEqual(rows, defaults)

    def test_the_version_is_the_same_everywhere(self):
        newest = re.search(r"(?m)^## (\S+)", read(TOP / ".github" / "CHANGELOG.md"))
        checked = re.search(r"version\s(\d+\.\d+\.\d+)", read(README))

        self.assertEqual(newest[1], autumn_portal.__version__)
        self.assertEqual(checked[1], autumn_portal.__version__)

    def test_each_code_block_is_tested(self):
        tests = read(pathlib.Path(__file__)) + read(TOP / ".ci" / "browser.py")
        folder = self.make_folder()
        copy_examples(folder)

        languages = re.findall(r"(?m)^```(\w+)$", read(README) + read(RECIPES))
        names = {path.stem for path in folder.iterdir()} - {"autumn_portal"}

        for language in set(languages) - {"python", "mermaid"}:
            self.assertTrue(f'code_blocks("{language}")' in tests, language)
        for name in names:
            self.assertTrue(f'self.load("{name}")' in tests, name)

    def test_each_link_leads_somewhere(self):
        pages = [*TOP.glob("*.md"), *TOP.glob(".github/*.md"), *TOP.glob(".ci/*.md")]
        self.assertIn(RECIPES, pages)
        for page in pages:
            for target in re.findall(r"\]\(([^)]+)\)", read_prose(page)):
                with self.subTest(page=page.name, target=target):
                    path, _, anchor = target.partition("#")
                    if not path.startswith("https://"):
                        path = page.parent / path if path else page
                        self.assertTrue(path.exists())
                        self.assertIn(anchor, ["", *self.find_anchors(path)])

    def find_anchors(self, path):
        """Return the anchors that GitHub gives to the headings of a page."""
        titles = re.findall("(?m)^#+ (.+)$", read_prose(path)) if path.is_file() else []
        return [re.sub(r"[^\w -]", "", it).lower().replace(" ", "-") for it in titles]

    def test_the_table_of_contents_has_each_section(self):
        prose = read_prose(RECIPES)

        entries = re.findall(r"(?m)^- \[(.+)\]\(#.+\)$", prose)

        self.assertEqual(entries, re.findall("(?m)^## (.+)$", prose))

    def test_the_review_guide_names_what_exists(self):
        tests = read(TOP / "test_autumn_portal.py")
        for line in read_prose(REVIEW).splitlines():
            names = re.findall(r"`(test_\w+|_\w+|\w+(?=\(\)))(?:\(\))?`", line)
            if line.startswith("|") and "](https://" in line:
                names = []  # of the standard library, at the other end of the link
            for name in names:
                with self.subTest(name=name):
                    is_test = name.startswith("test_")
                    source = tests if is_test else read(MODULE)
                    word = f"def {name}\\(" if is_test else f"\\b{name}\\b"
                    self.assertTrue(re.search(word, source))
            text = re.sub(r"\]\(.*?\)", "", line)
            self.assertNotRegex(text, r"(?i)\blines? [0-9]|\.py:[0-9]|#L[0-9]")


class ServeTests(TestCase):
    def test_serve_prints_what_to_set_and_a_line_for_each_request(self):
        """It ends with Ctrl-C. browser.py looks at its portal page."""
        command = [sys.executable, TOP / "test_autumn_portal.py", "serve", "0"]
        serve = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="ascii")
        self.addCleanup(serve.stdout.close)
        self.addCleanup(serve.kill)
        start = ""
        while "Ctrl-C" not in start:
            start += serve.stdout.readline()
        os.environ.update(re.findall(r"(?m)^(AUTUMN_\w+)=(.+)$", start))
        server_url = os.environ["AUTUMN_SERVER_URL"]

        for customer_id, options in (
            ("user_1", {}),
            ("unknown_1", {}),
            ("busy_1", {"max_retries": 0}),
            ("slow_1", {"timeout": 0.2}),
        ):
            params = autumn_portal.OpenCustomerPortalParams(customer_id)
            with contextlib.suppress(autumn_portal.AutumnAPIError, TimeoutError):
                autumn_portal.open_customer_portal(
                    params, server_url=server_url, **options
                )
        serve.send_signal(signal.SIGINT)
        log = serve.stdout.read().split("\n")

        self.assertEqual(serve.wait(), 0)
        lines = ["200 'user_1'", "404 'unknown_1'", "429 'busy_1'"]
        self.assertEqual(log, ["", *lines, "no response 'slow_1'", ""])


if __name__ == "__main__":
    unittest.main()
