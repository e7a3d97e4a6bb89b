"""Exits with 0 when the service on this host answers."""

import os
import sys
import urllib.request

try:
    port = os.environ.get("SHOP_PORT", "8000")
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as answer:
        sys.exit(0 if answer.status == 200 else 1)
except OSError as error:
    sys.exit(f"unhealthy: {error}")
