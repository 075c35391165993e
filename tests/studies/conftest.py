"""The studies are not installed: they are found in the checkout, after the installed package."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[2]))
