# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""Click the README's form, and call its openBilling(), in a real browser.

    PYTHONPATH=. python3 .ci/browser.py PATH_OF_CHROMIUM

Needs Flask and Playwright. The form is on a page of the README's Flask application.
openBilling() is on a page of the same origin, but calls the README's Lambda function on
another origin, behind a small imitation of an API Gateway HTTP API with CORS and a JWT
authorizer. Both must end on the portal page, which is on an origin of its own, as
Stripe's is. Everything is on 127.0.0.1.
"""

import contextlib
import http.server
import importlib
import logging
import os
import pathlib
import sys
import tempfile
import threading
import urllib.parse

from playwright.sync_api import sync_playwright

import test_autumn_portal as tests

CHROMIUM_OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
    # Chromium looks up Google's hosts at its start, whatever its other options say.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SINGLE_PAGE = """\
<button onclick="openBilling('{api}', 'user_123').catch(alert)">Billing</button>
<button onclick="openBilling('{api}', 'user_999').catch(alert)">Unknown</button>
<script>{script}</script>
"""


class Handler(http.server.BaseHTTPRequestHandler):
    """Responds with what the server's `reply` function returns for a request."""

    def do_POST(self):
        status, headers, body = self.server.reply(self)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    do_GET = do_OPTIONS = do_POST

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(reply, context=None):
    """Serve a reply function; yield the server's URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.reply = reply
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http{'s' if context else ''}://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def portal_page(request):
    """Stand in for Stripe: a page that shows how it was asked for."""
    headers = {"Content-Type": "text/html"}
    return 200, headers, f"<title>Portal</title><p>{request.command}</p>"


def make_gateway(lambda_handler, origin):
    """Imitate an HTTP API with CORS for one origin. The bearer token is the claim sub."""
    cors = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": "authorization",
        "Access-Control-Allow-Methods": "POST",
    }

    def reply(request):
        if request.command == "OPTIONS":
            return 204, cors, ""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        path, _, query = request.path.partition("?")
        if (request.command, path) != ("POST", "/billing"):
            return 404, cors, ""
        if scheme != "Bearer":
            return 401, cors, ""
        event = {
            "requestContext": {"authorizer": {"jwt": {"claims": {"sub": token}}}},
            "queryStringParameters": dict(urllib.parse.parse_qsl(query)) or None,
        }
        result = lambda_handler(event, None)
        headers = {**result.get("headers", {}), **cors}
        return result["statusCode"], headers, result.get("body", "")

    return reply


def make_flask_site(flask_app, pages):
    """Return a WSGI application: the README's, a login, and pages by their paths."""
    app = flask_app.app

    @app.get("/login")
    def login():
        flask_app.session["customer_id"] = "user_123"
        return "signed in"

    @app.get("/<name>")
    def page(name):
        return pages.get(name, "")

    return app


def check(browser, start, button, portal_url):
    """Click a button, and check that the browser ends on the portal page, by GET."""
    context = browser.new_context(ignore_https_errors=True)
    page = context.new_page()
    page.goto(start.rpartition("/")[0] + "/login")
    page.goto(start)
    page.click(f"text={button}")
    page.wait_for_url(portal_url, timeout=15_000)
    shown = (page.title(), page.text_content("p"))
    if shown != ("Portal", "GET"):
        raise SystemExit(f"{start} ended on {page.url}, which shows {shown}")
    print(f"{button}: {start} -> {page.url}")
    context.close()


def check_error(browser, start):
    """Click a button whose customer is unknown: the page must get an error."""
    page = browser.new_page()
    page.goto(start)
    messages = []
    page.on("dialog", lambda dialog: (messages.append(dialog.message), dialog.accept()))
    with page.expect_event("dialog"):
        page.click("text=Unknown")
    if "404" not in messages[0] or page.url != start:
        raise SystemExit(f"{page.url} says {messages}")
    print(f"Unknown: {start} says {messages[0]!r}")


def main(chromium):
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        tls = tests.server_context()
        autumn = enter(tests.StandIn(tls))
        autumn.portal_url = enter(serving(portal_page, tls)) + "/p/session/x"
        folder = pathlib.Path(enter(tempfile.TemporaryDirectory()))
        tests.copy_examples(folder, autumn.url)
        os.environ["AUTUMN_SECRET_KEY"] = tests.KEY
        (folder / "ca.pem").write_text(tests.TEST_CA, encoding="ascii")
        os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
        sys.path.insert(0, str(folder))
        sys.modules.pop("autumn_portal", None)
        flask_app = importlib.import_module("flask_app")
        handler = importlib.import_module("lambda_function").lambda_handler

        from werkzeug.serving import make_server

        pages = {}
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        site = make_server("127.0.0.1", 0, make_flask_site(flask_app, pages))
        threading.Thread(target=site.serve_forever, daemon=True).start()
        stack.callback(site.shutdown)
        origin = f"http://127.0.0.1:{site.server_port}"
        api = enter(serving(make_gateway(handler, origin)))
        (pages["form"],) = tests.readme_blocks("html")
        (script,) = tests.readme_blocks("js")
        pages["single-page"] = SINGLE_PAGE.format(api=api, script=script)

        playwright = enter(sync_playwright())
        browser = playwright.chromium.launch(
            executable_path=chromium, args=list(CHROMIUM_OPTIONS)
        )
        stack.callback(browser.close)
        print(f"Chromium {browser.version}")
        check(browser, f"{origin}/form", "Manage billing", autumn.portal_url)
        check(browser, f"{origin}/single-page", "Billing", autumn.portal_url)
        check_error(browser, f"{origin}/single-page")


if __name__ == "__main__":
    main(sys.argv[1])
