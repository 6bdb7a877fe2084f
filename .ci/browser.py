# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Click through the README's Flask application and the recipes' page in a browser.

    python3 .ci/browser.py PATH_OF_CHROMIUM

The portal pages are those of `test_autumn_portal.py serve`. The Lambda function is behind a
small imitation of an API Gateway, on another origin. Everything is on 127.0.0.1.
"""

import atexit
import importlib
import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import threading

import flask
from playwright.sync_api import sync_playwright
from test_readme import TOP, code_blocks, copy_examples, lambda_event
from werkzeug.serving import make_server


def serve(app):
    """Serve an application, and return its origin."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def add_pages(app, lambda_handler, origin, api_origin):
    """Add a login, error pages, a page for the form, one for the script, and an API."""
    form, _, button = code_blocks("html")
    (script,) = code_blocks("js")
    call = f"connectBilling('{api_origin}/api', () => location.search.slice(1))"
    app.get("/account", endpoint="form")(lambda: form)
    app.get("/", endpoint="script")(lambda: f"{button}<script>{script}{call}</script>")
    for status in (404, 502):
        app.errorhandler(status)(lambda error: (f"<h1>{error.code}</h1>", error.code))

    @app.get("/login")
    def login():
        flask.session["customer_id"] = flask.request.args.get("customer_id")
        return "<h1>Log in</h1>"

    @app.post("/api/billing")
    def api():
        """Imitate an API Gateway. The bearer token is the claim sub."""
        token = flask.request.headers["Authorization"].removeprefix("Bearer ")
        reply = lambda_handler(lambda_event(token, flask.request.args.to_dict()), None)
        return reply.get("body", ""), reply["statusCode"], reply.get("headers", {})

    @app.after_request
    def allow_origin(response):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Headers"] = "authorization"
        return response


def check(page, start, expected):
    """Click a page's button, and check what is shown. On a portal page, click back."""
    page.goto(start)
    page.click("button")
    shown = page.wait_for_selector("h1, #billing-error:not(:empty)").text_content()
    print(f"{start}: {shown!r} at {page.url}", flush=True)
    assert shown == expected
    if shown == "Billing portal":
        page.click("a")
        page.wait_for_url(start.partition("?")[0])  # the query may hold a token


def main(chromium):
    command = [sys.executable, str(TOP / "test_autumn_portal.py"), "serve", "0"]
    autumn = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8")
    atexit.register(autumn.terminate)
    lines = [autumn.stdout.readline().strip() for _ in range(4)]
    os.environ.update(line.split("=") for line in lines if "=" in line)
    os.environ["FLASK_SECRET_KEY"] = "for tests"
    origin = serve(lambda *args: app(*args))
    with tempfile.TemporaryDirectory() as folder:
        # Shorter timeouts, so that slow customers fail soon.
        changes = [("portal(params)", "portal(params, timeout=1.0)"), ("=2.5", "=1.0")]
        changes.append(("https://app.example.com", origin))
        copy_examples(pathlib.Path(folder), changes)
        sys.path.insert(0, folder)
        app = importlib.import_module("flask_app").app
        lambda_handler = importlib.import_module("lambda_function").lambda_handler
    add_pages(app, lambda_handler, origin, serve(app))
    with sync_playwright() as playwright:
        # When it starts, Chromium looks up Google's hosts, whatever its other options.
        no_lookups = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        options = ["--no-proxy-server", no_lookups]
        browser = playwright.chromium.launch(executable_path=chromium, args=options)
        page = browser.new_page(ignore_https_errors=True)
        for customer_id, from_form, from_script in (
            ("user_123", "Billing portal", "Billing portal"),
            ("unknown_user", "404", "You have no billing account yet."),
            ("busy_user", "502", "Billing is unavailable. Please try again later."),
            ("slow_user", "502", "Billing is unavailable. Please try again later."),
        ):
            page.goto(f"{origin}/login?customer_id={customer_id}")
            check(page, f"{origin}/account", from_form)
            check(page, f"{origin}/?{customer_id}", from_script)
        page.goto(f"{origin}/login")  # signs out
        check(page, f"{origin}/account", "Log in")


if __name__ == "__main__":
    logging.disable()  # werkzeug logs each request
    main(sys.argv[1])
