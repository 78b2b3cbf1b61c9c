"""For tests that need more than Python's own library: use() goes on in the tree's .venv."""
import os
import sys

SOURCE = os.environ.get("STPN_SOURCE_DIR") or os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
ENVIRONMENT = os.path.join(SOURCE, ".venv")


def use():
    """To be called on top of a test, before it imports what it needs: starts the test anew with .venv's Python."""
    python = os.path.join(ENVIRONMENT, "bin", "python")
    if os.path.abspath(sys.prefix) in (ENVIRONMENT, os.path.realpath(ENVIRONMENT)):
        return
    if not os.path.exists(os.path.join(ENVIRONMENT, "complete")):
        sys.exit("this test needs packages of Python: run scripts/python-env.sh, which installs them from "
                 "PyPI into %s" % ENVIRONMENT)
    os.execv(python, [python, *sys.argv])
