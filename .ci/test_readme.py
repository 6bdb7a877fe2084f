# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of the examples in README.md and RECIPES.md.

    python3 -m unittest discover .ci

The examples run on their real frameworks, against the stand-in for Autumn. Needs the
packages of requirements.txt, and sends nothing beyond 127.0.0.1.
"""

import asyncio
import importlib
import inspect
import io
import json
import logging
import os
import pathlib
import re
import sys
import tempfile
import threading
import unittest
from unittest import mock

import django
import django.conf
import django.core.management
import django.test
import django.urls
import httpx
from django.http import HttpResponse
from fastapi.responses import PlainTextResponse
from flask import render_template_string
from starlette.exceptions import HTTPException

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from test_autumn_portal import KEY, MODULE, PORTAL_URL, TestCase

TOP = MODULE.parent
README = TOP / "README.md"
RECIPES = TOP / ".github" / "RECIPES.md"
RETURN_URL = "https://app.example.com/account"  # the one in the examples


# --- Helpers, also for the other scripts of this folder ---


def read(path):
    return path.read_text(encoding="utf-8")


def code_blocks(language):
    """Return the code blocks of a language, the README's before those of RECIPES.md."""
    text = read(README) + read(RECIPES)
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


def copy_examples(folder, replacements=()):
    """Write the module and the Python blocks of both pages into a folder.

    Blocks that do not name a file are called example_0.py and so on. Replacements are
    pairs of texts.
    """
    sources = {"autumn_portal.py": read(MODULE)}
    for block in code_blocks("python"):
        name = re.match(r"# (\w+\.py)\n", block)
        unnamed = sum(name.startswith("example_") for name in sources)
        sources[name[1] if name else f"example_{unnamed}.py"] = block
    for name, source in sources.items():
        for old, new in replacements:
            source = source.replace(old, new)
        (folder / name).write_text(source, encoding="utf-8")


def lambda_event(customer_id, query):
    """Return the event that an HTTP API passes to a function for a customer."""
    context = {"authorizer": {"jwt": {"claims": {"sub": customer_id}}}}
    return {"requestContext": context, "queryStringParameters": query}


# --- The examples ---


def setUpModule():
    loader = "django.template.loaders.locmem.Loader"
    options = {"loaders": [(loader, {"billing_error.html": "our page"})]}
    backend = "django.template.backends.django.DjangoTemplates"
    sessions = "django.contrib.sessions"
    authentication = "django.contrib.auth.middleware.AuthenticationMiddleware"
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
    django.conf.settings.configure(
        DATABASES={"default": sqlite},
        INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", sessions],
        LOGIN_URL="/login",
        MIDDLEWARE=[f"{sessions}.middleware.SessionMiddleware", authentication],
        SECRET_KEY="for tests",
        TEMPLATES=[{"BACKEND": backend, "OPTIONS": options}],
    )
    django.setup()
    django.test.utils.setup_test_environment()
    django.core.management.call_command("migrate", verbosity=0)


class ExampleTests(TestCase):
    def setUp(self):
        super().setUp()
        self.autumn = self.start_stand_in()
        os.environ.update(AUTUMN_SERVER_URL=self.autumn.url, FLASK_SECRET_KEY="x")
        self.folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        copy_examples(self.folder)
        self.enter(mock.patch.object(sys, "path", [str(self.folder), *sys.path]))
        self.enter(mock.patch.dict(sys.modules))  # forgets the examples afterwards
        del sys.modules["autumn_portal"]
        self.patch("time.sleep")  # the waits of retries
        self.log = io.StringIO()
        handler = logging.StreamHandler(self.log)
        self.enter(mock.patch.object(logging.getLogger(), "handlers", [handler]))
        self.addCleanup(self.take_log)

    def load(self, name):
        """Import an example afresh."""
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    def sent(self):
        """Return the bodies of the requests to Autumn."""
        return [json.loads(exchange[2]) for exchange in self.autumn.exchanges]

    def take_log(self):
        """Return the customers that are named in new lines of the log."""
        log = self.log.getvalue()
        self.log.seek(0)
        self.log.truncate()
        self.assertNotIn("SENTINEL", log)
        return re.findall(r"No billing portal for (?:customer )?'?(.*?)'?: ", log)

    def test_the_first_example(self):
        module = self.load("example_0")

        self.assertEqual(module.location, PORTAL_URL)
        fields = {"customer_id": "user_123", "return_url": RETURN_URL}
        self.assertEqual(self.sent(), [fields])

    def test_the_examples_of_tests_send_nothing(self):
        del os.environ["AUTUMN_SECRET_KEY"]

        self.load("example_1")
        self.load("test_lambda").test_the_page_gets_the_portal_url()

        self.assertEqual(self.autumn.exchanges, [])

    def test_each_failure_has_a_status_and_a_log_line(self):
        module = self.load("billing_portal")
        refusing = "http://{}:{}".format(*self.refusing_address())
        for status, customer_id, return_url, options in (
            (303, 7, RETURN_URL, {}),
            (400, 7, "javascript:SENTINEL", {}),
            (404, None, RETURN_URL, {}),
            (404, "unknown_user", RETURN_URL, {}),
            (500, "a b", RETURN_URL, {}),
            (500, 7, RETURN_URL, {"secret_key": "sk_live_SENTINEL"}),
            (500, 7, RETURN_URL, {"secret_key": "am_sk_SENTINEL_wrong"}),
            (502, "busy_user", RETURN_URL, {}),
            (502, "slow_user", RETURN_URL, {"timeout": 0.3}),
            (502, 7, RETURN_URL, {"server_url": refusing}),
        ):
            with self.subTest(status=status, customer_id=customer_id):
                arguments = (customer_id, return_url)

                got, headers = module.open_billing_portal(*arguments, **options)

                is_logged = status != 303 and customer_id is not None
                self.assertEqual(self.take_log(), [str(customer_id)] * is_logged)
                self.assertEqual((got, bool(headers)), (status, status == 303))

    def check_application(self, request, error_status):
        """Check a framework's application.

        request() sends a method and a path, signed in as customer "1" or signed out, and
        returns the status, the headers and the body. error_status is for a bad key.
        """
        for status, behavior, key in (
            (303, None, KEY),
            (404, "unknown", KEY),
            (502, "busy", KEY),
            (error_status, None, "am_pk_SENTINEL"),
        ):
            with self.subTest(status=status, behavior=behavior):
                self.autumn.behavior = behavior
                os.environ["AUTUMN_SECRET_KEY"] = key

                got, headers, text = request("POST", "/billing", True)

                self.assertEqual(got, status)
                self.assertEqual(self.take_log(), [] if status == 303 else ["1"])
                self.assertEqual(headers.get("Location") == PORTAL_URL, status == 303)
                self.assertEqual(text == "our page", status != 303)
        fields = {"customer_id": "1", "return_url": RETURN_URL}
        self.assertEqual(self.sent()[0], fields)

        status, headers, _ = request("POST", "/billing", False)

        self.assertIn(status, (302, 303))  # a browser follows both with a GET
        self.assertEqual(request("GET", headers["Location"], False)[2], "log in")
        self.assertEqual(request("GET", "/billing", True)[0], 405)

    def load_flask(self):
        """Import the README's application; add a login and error pages."""
        app = self.load("flask_app").app
        app.get("/login")(lambda: "log in")
        for status in (404, 502):
            app.errorhandler(status)(lambda error: ("our page", error.code))
        return app

    def test_flask(self):
        app = self.load_flask()

        def request(method, path, signed_in):
            client = app.test_client()
            with client.session_transaction() as session:
                session.update({"customer_id": 1} if signed_in else {})
            response = client.open(path, method=method)
            return response.status_code, response.headers, response.text

        self.check_application(request, 502)
        self.assertEqual(app.config["SESSION_COOKIE_SAMESITE"], "Lax")

    def test_flask_with_csrf_protection(self):
        app = self.load_flask()
        self.load("csrf_app")
        _, token_field, _ = code_blocks("html")
        app.get("/form", endpoint="form")(lambda: render_template_string(token_field))
        client = app.test_client()
        with client.session_transaction() as session:
            session["customer_id"] = "user_123"
        token = re.search('value="(.+)"', client.get("/form").text)[1]

        expired = client.post("/billing")
        valid = client.post("/billing", data={"csrf_token": token})

        self.assertEqual((expired.status_code, expired.location), (303, "/account"))
        self.assertEqual((valid.status_code, valid.location), (303, PORTAL_URL))

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

        def request(method, path, signed_in):
            overrides = {module.current_customer: lambda: "1"} if signed_in else {}
            module.app.dependency_overrides = overrides
            response = asyncio.run(send(method, path))
            return response.status_code, response.headers, response.text

        self.check_application(request, 500)
        self.assertFalse(inspect.iscoroutinefunction(module.billing))

    def test_django(self):
        """Also run the recipe's test of the view."""
        billing = django.urls.path("billing", self.load("django_views").billing)
        login = django.urls.path("login", lambda request: HttpResponse("log in"))
        urls = django.test.override_settings(ROOT_URLCONF=(billing, login))
        self.enter(urls)
        user = django.contrib.auth.get_user_model().objects.get_or_create(pk=1)[0]

        def request(method, path, signed_in):
            client = django.test.Client()
            if signed_in:
                client.force_login(user)
            response = client.generic(method, path)
            return response.status_code, response.headers, response.content.decode()

        self.check_application(request, 500)
        suite = unittest.defaultTestLoader.loadTestsFromName("test_billing")
        result = suite.run(unittest.TestResult())
        self.assertEqual((result.testsRun, result.errors, result.failures), (1, [], []))

    def test_async_view(self):
        module = self.load("async_view")
        call = mock.Mock(side_effect=lambda *_: threading.current_thread().name)
        module.open_billing_portal = call

        thread = asyncio.run(module.open_portal("user_123"))

        call.assert_called_once_with("user_123", RETURN_URL)
        self.assertTrue(thread.startswith("billing"), thread)

    def test_create_customer(self):
        self.load("create_customer").create_customer("user_1", "A", "a@example.com")

        ((line, headers, body, status, _),) = self.autumn.exchanges
        self.assertEqual(line, "POST /v1/customers.get_or_create HTTP/1.1")
        fields = {"customer_id": "user_1", "name": "A", "email": "a@example.com"}
        self.assertEqual((status, json.loads(body)), (200, fields))
        self.assertTrue(headers["User-Agent"].startswith("autumn-portal/"))

    def test_lambda_function(self):
        module = self.load("lambda_function")
        call = mock.Mock(side_effect=module.open_billing_portal)
        module.open_billing_portal = call
        for status, customer_id, url in (
            (200, "user_123", None),
            (200, "user_123", "https://app.example.com/plans?x=1"),
            (404, "unknown_user", None),
            (502, "busy_user", None),
            (400, "user_123", "https://app.example.com@evil.example/"),
            (400, "user_123", "https://app.example.com.evil.example/"),
            (400, "user_123", "https://app.example.com\\@evil.example/"),
            (400, "user_123", "https://app.example.com/SENTINEL >"),
            (400, "user_123", ""),
        ):
            with self.subTest(status=status, url=url):
                query = None if url is None else {"return_url": url}

                reply = module.lambda_handler(lambda_event(customer_id, query), None)

                self.assertEqual(reply.pop("statusCode"), status)
                if status == 200:
                    self.assertEqual(json.loads(reply["body"]), {"url": PORTAL_URL})
                    self.assertIn("no-store", reply["headers"]["Cache-Control"])
                    return_url = self.sent()[-1]["return_url"]
                    self.assertEqual(return_url, url or module.APPLICATION)
                else:
                    self.assertEqual(reply, {})
        self.assertIs(call.call_args[1]["context"], module.CONTEXT)
        self.assertLess(call.call_args[1]["timeout"], 3)  # Lambda's default timeout

    def test_httpx_client(self):
        module = self.load("httpx_client")

        async def open_portals():
            params = module.portal.OpenCustomerPortalParams("user_123")
            self.assertEqual((await module.open_portal(params)).url, PORTAL_URL)
            params = module.portal.OpenCustomerPortalParams("unknown_user")
            with self.assertRaisesRegex(module.portal.AutumnAPIError, "not_found"):
                await module.open_portal(params)

        asyncio.run(open_portals())


if __name__ == "__main__":
    unittest.main()
