"""Where things lie."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
"""Real data beside a checkout; tests that need them skip where they are absent."""
PARITY = pathlib.Path(os.environ.get("JAXPERT_PARITY") or ROOT / "tests/parity/data")
"""Arrays of the published implementations."""
