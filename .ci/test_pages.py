# SPDX-FileCopyrightText: 2026 the autumn_portal authors
# SPDX-License-Identifier: 0BSD
"""The tests of what the pages say: commands, links, defaults and versions.

    python3 -m unittest discover .ci -p test_pages.py

Needs the packages of requirements.txt, and sends nothing beyond 127.0.0.1.
"""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

from test_readme import README, RECIPES, TOP, code_blocks, read

import autumn_portal
from test_autumn_portal import MODULE, TestCase, run_python

GITHUB = TOP / ".github"


def read_prose(path):
    """Return a page's text without its fenced code blocks."""
    return re.sub(r"(?ms)^```.*?^```$", "", read(path))


class PageTests(TestCase):
    """What the pages say, compared with the files and tools that they are about."""

    def copy_module(self, *folders, old=b"\n", new=b"\n"):
        """Copy the module below a new folder, and return the folder and the copy."""
        folder = pathlib.Path(self.enter(tempfile.TemporaryDirectory()))
        copy = folder.joinpath(*folders, "autumn_portal.py")
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(MODULE.read_bytes().replace(old, new))
        return folder, copy

    def test_the_configuration_keeps_ruff_and_coverage_away(self):
        (config,) = code_blocks("toml")
        folder, copy = self.copy_module("shop")
        (folder / "pyproject.toml").write_text(config, encoding="utf-8")
        (folder / "main.py").write_bytes(b"import shop.autumn_portal")

        for command in (
            "ruff check --no-cache --fix --select ALL .",
            "ruff format --no-cache --line-length 60 shop/autumn_portal.py",
            "coverage run main.py",
        ):
            run_python("-m", *command.split(), cwd=folder)
        report = run_python("-m", "coverage", "report", cwd=folder).stdout

        self.assertEqual(copy.read_bytes(), MODULE.read_bytes())
        self.assertIn("main.py", report)
        self.assertNotIn("autumn_portal.py", report)

    @unittest.skipUnless(shutil.which("sh"), "needs a POSIX shell")
    def test_the_shell_commands(self):
        demo, tests, key = re.findall("(?m)^ {4,}(python3 .*)$", read_prose(README))
        changelog, review = read(GITHUB / "CHANGELOG.md"), read(GITHUB / "REVIEW.md")
        (checksum,) = re.findall("(?m)^ {4}(python3 .*)$", changelog)
        sha256 = re.search("SHA-256: `([0-9a-f]{64})`", changelog)[1]
        crlf, _ = self.copy_module(new=b"\r\n")
        server = f"AUTUMN_SERVER_URL={self.start_stand_in().url}"
        rows = [
            (demo, "All as it should be.", TOP),
            (f"{server} {key}", r".*AutumnAPIError: 404 customer_not_found: .*", TOP),
            (checksum, sha256, TOP),
            (checksum, sha256, crlf),
        ]
        for command, line in re.findall(
            "(?m)^ {4}(.*python3 -c .*)\n {4}(.*)$", review
        ):
            rows.append((command, re.escape(line), TOP))
        for command in re.findall(r"`(python3 -m unittest -k .*?)`", review):
            rows.append((command, "OK.*", TOP))
        python = os.path.dirname(sys.executable)
        os.environ["PATH"] = python + os.pathsep + os.environ["PATH"]
        for command, last_line, folder in rows:
            with self.subTest(command=command, folder=folder):
                output = subprocess.getoutput(f"cd '{folder}' && {command}")

                self.assertRegex(output.splitlines()[-1], f"^{last_line}$")
                self.assertNotIn("Ran 0 tests", output)
        for pattern in re.findall(r"-k (\w+)", review):
            names = read(TOP / "test_autumn_portal.py")
            self.assertRegex(names, rf"def test_\w*{pattern}")
        self.assertEqual(tests, "python3 -m unittest")  # .ci/run begins with it
        # Nothing between the quotes has a meaning in cmd or PowerShell either.
        for command in (checksum, key):
            self.assertRegex(command, r'^python3 -c "[^"$%`\\!^]+"$')

    def test_the_options_have_their_defaults(self):
        parameters = inspect.signature(autumn_portal.open_customer_portal).parameters
        defaults = {name: str(it.default) for name, it in parameters.items()}
        del defaults["params"]

        rows = re.findall(r"(?m)^\| `(\w+)` \| ([\w.]+) \|", read(README))

        self.assertEqual(dict(rows), defaults)

    def test_the_changelog_begins_with_this_version(self):
        changelog = read(GITHUB / "CHANGELOG.md")

        newest = re.search(r"(?m)^## (\S+), \d{4}-\d\d-\d\d$", changelog)

        self.assertEqual(newest[1], autumn_portal.__version__)

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


if __name__ == "__main__":
    unittest.main()
