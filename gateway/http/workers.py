"""Worker processes: one that serves right here, or several that share a port and are kept alive."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Semaphore

import structlog
import uvloop
from aiohttp import web
from prometheus_client.multiprocess import mark_process_dead

from gateway import logs
from gateway.http import health
from gateway.http.app import create_app
from gateway.http.metrics import MULTIPROCESS
from gateway.http.own_url import own_url
from gateway.http.protocol import Room, Runner, raise_file_limit
from gateway.problems import OperatorError
from gateway.settings.serving import Settings

DRAINED_WITHIN = 10.0  # seconds that requests in flight get when a worker stops
KILLED_AFTER = 15.0  # seconds that a worker gets in all, once it takes no more requests
RESTARTED_AFTER = 0.2  # seconds
NOT_SET_UP = 78  # exit code of a worker that would fail again (EX_CONFIG)
BACKLOG = 1024  # connections
UNREAD_FOR = 30  # seconds that bytes may be on their way to a client that takes none of them
MEMORY = "/dev/shm"  # noqa: S108 - the directory in it is ours alone

_log = structlog.get_logger()


def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests in flight are finished.

    ``announce`` gets the address once it answers. Raises OperatorError when it cannot start.
    """
    logs.configure(settings.log_level)
    room = raise_file_limit()
    if settings.workers > 1:
        # SO_REUSEPORT would also share a port with another service, so first see that it is free.
        _listen(settings, shared=False).close()
    listener = _listen(settings, shared=settings.workers > 1)
    port = listener.getsockname()[1]

    def ready() -> None:
        announce(address)
        _log.info("file_limit", before=room.before, files=room.files, connections=room.connections)

    address = own_url(settings.host, port)
    try:
        if settings.workers == 1:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(_work(settings, room, listener, ready))
        else:
            # The port stays ours through the listener, which itself never listens.
            _Supervisor(replace(settings, port=port), room, ready).run()
    finally:
        listener.close()


def _listen(settings: Settings, shared: bool) -> socket.socket:
    """A bound socket; ``shared`` lets other workers of ours bind the port as well."""
    listener = socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # of Linux; connections inherit it
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNREAD_FOR * 1000)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        raise OperatorError(
            f"cannot listen on {settings.host} port {settings.port}: {error.strerror}",
            hint="set PORT to a free port",
        ) from error
    return listener


async def _work(settings: Settings, room: Room, listener: socket.socket, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)

    app = create_app(settings)
    runner = Runner(app, room, DRAINED_WITHIN)
    try:
        await runner.setup()
        await web.SockSite(runner, listener, backlog=BACKLOG).start()
        ready()
        await stopped.wait()
        # Proxies see this at their next health check and send no more requests here.
        app[health.DRAINING].set()
        await asyncio.sleep(settings.drain_seconds)
    finally:
        await runner.cleanup()


class _Supervisor:
    """Starts the workers, starts another for one that dies, and stops them all."""

    def __init__(self, settings: Settings, room: Room, ready: Callable[[], None]) -> None:
        self._settings = settings
        self._room = room
        self._announce = ready
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._up = self._context.Semaphore(0)
        self._workers: list[SpawnProcess] = []

    def run(self) -> None:
        """Until SIGINT or SIGTERM. Raises OperatorError when a worker finds that it cannot start."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: self._stopping.set())
        # Workers add up their metrics in files of this directory. They map them, and on a disk that becomes full
        # such a file kills its worker: so it is in memory where it can be.
        directory = tempfile.mkdtemp(prefix="mana-metrics-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None)
        os.environ[MULTIPROCESS] = directory
        try:
            self._workers = [self._start() for _ in range(self._settings.workers)]
            announced = False
            while not self._stopping.wait(RESTARTED_AFTER):
                self._replace_dead()
                if not announced and self._all_up():
                    announced = True
                    self._announce()
        finally:
            self._stop()
            del os.environ[MULTIPROCESS]
            shutil.rmtree(directory, ignore_errors=True)

    def _start(self) -> SpawnProcess:
        process = self._context.Process(target=_run_worker, args=(self._settings, self._room, os.getpid(), self._up))
        process.start()
        return process

    def _all_up(self) -> bool:
        return self._up.get_value() >= self._settings.workers

    def _replace_dead(self) -> None:
        for index, worker in enumerate(self._workers):
            if worker.is_alive():
                continue
            if worker.exitcode == NOT_SET_UP:
                raise OperatorError("a worker could not start", hint="its lines above say why")
            _log.warning("worker_died", exit_code=worker.exitcode)
            mark_process_dead(worker.pid)
            self._workers[index] = self._start()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            worker.join(self._settings.drain_seconds + KILLED_AFTER)
            if worker.is_alive():
                worker.kill()
                worker.join()


def _run_worker(settings: Settings, room: Room, supervisor: int, up: Semaphore) -> None:
    """The main function of a worker process."""
    logs.configure(settings.log_level)
    # A Ctrl-C in a terminal reaches the whole group; the supervisor alone decides when we stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(supervisor,), daemon=True).start()
    listener = _listen(settings, shared=True)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, room, listener, up.release))
    except OperatorError as error:
        with contextlib.suppress(OSError):  # the exit code tells it as well
            os.write(2, "".join(f"error: {line}\n" for line in str(error).splitlines()).encode())
        sys.exit(NOT_SET_UP)


def _end_with(supervisor: int) -> None:
    """Stop if the supervisor dies: nothing else would stop this worker."""
    while os.getppid() == supervisor:
        threading.Event().wait(1)
    os.kill(os.getpid(), signal.SIGTERM)
