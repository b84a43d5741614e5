"""Runs a double by itself: ``python -m harness.stripe_double --port 12111 --webhook URL --secret whsec_..``."""

from __future__ import annotations

import argparse
import signal

from harness.stripe_double.double import Double


def main() -> None:
    parser = argparse.ArgumentParser(prog="harness.stripe_double", description="A stand-in for Stripe.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--webhook", default="", help="where to send events")
    parser.add_argument("--secret", default="", help="to sign them with")
    given = parser.parse_args()
    with Double(port=given.port) as double:
        if given.webhook:
            double.endpoint(given.webhook, secret=given.secret)
        print(f"stripe double at {double.url}", flush=True)
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


if __name__ == "__main__":
    main()
