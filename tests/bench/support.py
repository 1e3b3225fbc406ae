"""What the tests of the comparison scripts share."""

import contextlib
import io
import pathlib
import sys

BENCH = pathlib.Path(__file__).resolve().parents[2] / "apps/bench"
sys.path.insert(0, str(BENCH))


@contextlib.contextmanager
def quiet():
    """Usage errors of argparse do not clutter the log."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
