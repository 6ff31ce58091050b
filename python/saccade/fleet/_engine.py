"""One `saccade serve` process, and what Ray Serve asks of the replica that owns it."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request
from typing import Any, AsyncIterator, Deque, Optional

import ray
from ray import serve
from ray.serve.exceptions import RayServeException

from .._errors import Error, InvalidArgument
from ._settings import Settings

GATEWAY = "Gateway"
ANNOUNCE_S = 2
GATEWAY_CHECK_S = 5
HEALTH_TIMEOUT_S = 10
STOP_TIMEOUT_S = 30

# Asks the kernel to send SIGTERM once the parent has died, however it did: no engine outlives its
# replica. Not by preexec_fn, which may deadlock in a process with threads.
_DIE_WITH_PARENT = ("import ctypes, os, signal, sys; ctypes.CDLL(None).prctl(1, signal.SIGTERM); "
                    "os.execv(sys.argv[1], sys.argv[1:])")
_LISTENING = re.compile(r" info listening address=(\S+) ")

_log = logging.getLogger("ray.serve")


class Engine:
    """Owns one `saccade serve`, which robots reach at its address.

    An engine that ends takes its replica with it: Ray Serve stops sending robots there at once, and
    starts another.
    """

    async def __init__(self, settings: Settings) -> None:
        self._stopping = False
        self._address: Optional[str] = None
        self._last_lines: Deque[str] = collections.deque(maxlen=1)
        self._started = threading.Event()
        self._process: Optional[subprocess.Popen[str]] = None
        self._process = self._start(settings)
        threading.Thread(target=self._watch, args=(self._process,), daemon=True).start()
        self._started.wait()
        if self._address is None:
            raise Error(f"the engine does not start: {' '.join(self._last_lines)}")
        self._announcing = asyncio.ensure_future(self._announce())

    def _start(self, settings: Settings) -> subprocess.Popen[str]:
        binary = shutil.which(settings.saccade_binary)
        if binary is None:
            raise InvalidArgument(
                f"there is no program '{settings.saccade_binary}' on {os.uname().nodename}: "
                "--saccade-binary, SACCADE_BIN or the PATH must lead to it")
        command = settings.command(os.path.abspath(binary), ray.util.get_node_ip_address())
        # A session of its own: Ctrl-C is for the fleet, which then stops its engines in order.
        return subprocess.Popen([sys.executable, "-c", _DIE_WITH_PARENT, *command],
                                stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                errors="replace", cwd=settings.directory, start_new_session=True)

    def _watch(self, process: subprocess.Popen[str]) -> None:
        """Passes the engine's log on, and ends with the engine."""
        assert process.stderr is not None
        for line in process.stderr:
            self._last_lines.append(line.strip())
            _log.info(line.rstrip())
            found = _LISTENING.search(line)
            if found:
                self._address = found.group(1)
                self._started.set()
        status = process.wait()
        self._started.set()
        if self._address is not None and not self._stopping:
            _log.error(f"the engine at {self._address} has ended with status {status}")
            os._exit(1)

    async def lease(self, gateway: Any) -> AsyncIterator[str]:
        """Yields the address, and then stays for as long as the robot is connected.

        So a connection is an ongoing request of this replica: Ray Serve bounds them, scales by
        them, and waits for them before it stops a replica. The gateway cancels this call when the
        robot has left; where the gateway has died, asking for it raises.
        """
        assert self._address is not None
        yield self._address
        while True:
            await asyncio.sleep(GATEWAY_CHECK_S)
            await gateway.__ray_ready__.remote()

    def address(self) -> str:
        """host:port of the engine."""
        assert self._address is not None
        return self._address

    async def _announce(self) -> None:
        """Tells the gateway again and again that this engine is there.

        The gateway cannot ask: a replica with all its robots takes no further calls.
        """
        gateway = serve.get_deployment_handle(GATEWAY, serve.get_replica_context().app_name)
        while not self._stopping:
            try:
                await gateway.announce.remote(self._address)
            except (ray.exceptions.RayError, RayServeException) as error:
                _log.warning(f"the gateway does not answer: {error}")
            await asyncio.sleep(ANNOUNCE_S)

    def _stop(self) -> None:
        """Ends the engine: robots get the answers that are under way, and then the code 1001."""
        self._stopping = True
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            _log.error(f"the engine at {self._address} does not stop, and is killed")
            self._process.kill()
            self._process.wait()

    async def check_health(self) -> None:
        """Raises where the engine no longer answers. Its /healthz needs no key."""
        await asyncio.to_thread(self._ask_health)

    def _ask_health(self) -> None:
        if not self._stopping:
            with urllib.request.urlopen(f"http://{self._address}/healthz",
                                        timeout=HEALTH_TIMEOUT_S):
                pass

    def __del__(self) -> None:
        """Ray Serve calls this when it has drained the replica."""
        self._stop()
