"""`mana work`: what has to be done with purchases after the requests."""

from __future__ import annotations

import asyncio
import contextlib
import os

import click

from gateway.operate.interruptible import interruptible
from gateway.settings.working import load_work


@click.command()
def work() -> None:
    """Look again at purchases that may have changed, and ask for refunds, until it is stopped.

    Needs WORKER_DATABASE_URL, of role mana_worker; without STRIPE_SECRET_KEY it has nothing to do. Serves metrics
    on WORKER_PORT. Any number of workers may run at once. SIGTERM lets what has begun finish.
    """
    # Late: these imports take a moment, and other commands need not wait for them.
    from gateway import logs  # noqa: PLC0415
    from gateway.operate import work as worker  # noqa: PLC0415

    settings = load_work(os.environ)
    logs.configure(settings.log_level)
    with contextlib.suppress(asyncio.CancelledError):  # SIGTERM is how it ends
        interruptible(worker.work(settings))
