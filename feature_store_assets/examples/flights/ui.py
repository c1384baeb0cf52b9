"""The Dagster UI on the state that `make demo` left: `make ui`."""

import os
import sys

from feature_store_assets.examples.flights.demo import prepare

PORT = "3000"


def main() -> None:
    """Become `dagster dev`, bound to this machine only."""
    prepare()
    port = os.environ.get("PORT", PORT)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "dagster",
        "dev",
        "-h",
        "127.0.0.1",
        "-p",
        port,
    ]
    os.execv(sys.executable, command)  # noqa: S606  # this very Python


if __name__ == "__main__":
    main()
