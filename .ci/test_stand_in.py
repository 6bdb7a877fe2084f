# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of the stand-in for Autumn and of the demo, in test_autumn_portal.py.

    python3 -m unittest discover .ci -p test_stand_in.py

They need nothing but Python, and send nothing beyond 127.0.0.1.
"""

import contextlib
import html
import io
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import unittest
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import test_autumn_portal as tests
from autumn_portal import AutumnAPIError, AutumnTimeoutError, OpenCustomerPortalParams


class StandInTests(tests.TestCase):
    def test_the_portal_page_escapes_and_links_back(self):
        autumn = self.start_stand_in()
        autumn.portal_url = None
        good = "https://app.example.com/?a='1'&b=2"
        for return_url, link in (
            (good, f'<a href="{html.escape(good)}">'),
            ("javascript:alert(1)", "<p>javascript:alert(1)</p>"),
        ):
            with self.subTest(return_url=return_url):
                fields = {"customer_id": "<script>&", "return_url": return_url}

                with urllib.request.urlopen(autumn.open_session(fields)) as response:
                    page = response.read().decode()

                self.assertIn(link, page)
                self.assertIn("<b>&lt;script&gt;&amp;</b>", page)

    def test_only_its_own_key_is_accepted(self):
        """Like Autumn, it quotes the first 15 characters of any other key."""
        autumn = self.start_stand_in()

        for key, code in (
            ("am_sk_test_wrong_key", "invalid_secret_key"),
            ("am_oauth_x", "invalid_request"),
        ):
            error = self.assert_call_raises(AutumnAPIError, autumn.url, secret_key=key)

            self.assertEqual((error.status, error.code), (401, code))
        self.assertIn(b"am_sk_test_wron***", autumn.exchanges[0][-1])

    def test_customers_can_be_created(self):
        autumn = self.start_stand_in()
        fields = {"customer_id": "user_1", "name": "A", "email": None}
        request = urllib.request.Request(
            f"{autumn.url}/v1/customers.get_or_create",
            data=json.dumps(fields).encode(),
            headers={"Authorization": f"Bearer {tests.KEY}"},
        )

        with urllib.request.urlopen(request) as response:
            customer = json.load(response)

        self.assertEqual(customer["id"], "user_1")
        self.assertEqual(customer["name"], "A")


class ServeTests(tests.TestCase):
    def start(self, *arguments):
        """Start serve, set the variables that it prints, and return the process."""
        command = [sys.executable, tests.__file__, "serve", "0", *arguments]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, encoding="ascii")
        self.addCleanup(server.stdout.close)
        self.addCleanup(server.wait)
        self.addCleanup(server.kill)
        start = ""
        while "Ctrl-C" not in start:
            start += server.stdout.readline()
        os.environ.update(re.findall(r"(?m)^(AUTUMN_\w+)=(.+)$", start))
        return server

    def call(self, customer_id="user_1", **options):
        params = OpenCustomerPortalParams(customer_id)
        return tests.open_customer_portal(params, **options)

    def test_serve_logs_each_request_until_ctrl_c(self):
        server = self.start()

        self.call()
        for customer_id, options in (
            ("unknown_1", {}),
            ("busy_1", {"max_retries": 0}),
            ("slow_1", {"timeout": 0.2}),
        ):
            with contextlib.suppress(AutumnAPIError, AutumnTimeoutError):
                self.call(customer_id, **options)
        server.send_signal(signal.SIGINT)
        log = server.stdout.read().split("\n")

        self.assertEqual(server.wait(), 0)
        lines = [
            "200 'user_1'",
            "404 'unknown_1'",
            "429 'busy_1'",
            "no response 'slow_1'",
        ]
        lines = [f"{line} billing.open_customer_portal" for line in lines]
        self.assertEqual(log, ["", *lines, ""])

    def test_all_customers_can_fail(self):
        for behavior, error_type in (
            ("unknown", AutumnAPIError),
            ("busy", AutumnAPIError),
            ("slow", AutumnTimeoutError),
        ):
            self.start("--all", behavior)

            with self.assertRaises(error_type):
                self.call(max_retries=0, timeout=0.5)

    def test_containers_can_connect(self):
        """On Linux, 127.0.0.2 is local too. The printed URL is for this machine."""
        self.start("--host", "0.0.0.0")
        server_url = os.environ["AUTUMN_SERVER_URL"]

        portal = self.call(server_url=server_url.replace("127.0.0.1", "127.0.0.2"))

        self.assertIn("://127.0.0.1:", server_url)
        self.assertTrue(portal.url.startswith("https://127.0.0.1:"))

    def test_a_bad_address_is_a_clear_error(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            taken = str(listener.getsockname()[1])
            for arguments, text in (
                ([taken], f"Cannot listen on port {taken} of 127.0.0.1: "),
                (["99999"], "Cannot listen on port 99999 of 127.0.0.1: "),
                (["http"], "usage: test_autumn_portal.py serve "),
            ):
                with self.subTest(arguments=arguments):
                    done = tests.run_python(tests.__file__, "serve", *arguments)

                    self.assertTrue(done.stderr.startswith(text), done.stderr)
                    self.assertEqual(done.stdout, "")
                    self.assertNotEqual(done.returncode, 0)


class DemoTests(tests.TestCase):
    def test_the_demo_shows_everything_but_the_key(self):
        with contextlib.redirect_stdout(io.StringIO()) as output:
            self.assertEqual(tests.demo(), 0)

        shown = output.getvalue()
        self.assertNotIn(tests.KEY, shown)
        self.assertTrue(shown.endswith("\nAll as it should be.\n"))
        for part in (
            "> Authorization: Bearer am_sk_***\n",
            '> {"customer_id": "user_123", "return_url": "https://app.example.com/a',
            f"Redirect the customer to {tests.DEMO_PORTAL_URL}\nexit status 0\n",
            "AutumnAPIError: 404 customer_not_found: Customer unknown_user not found\n",
            "(nothing was sent)\n\nAutumnValidationError: secret_key: ",
        ):
            self.assertIn(part, shown)


if __name__ == "__main__":
    unittest.main()
