"""The one address of a fleet: gives each connection to an engine, for as long as it lasts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, Dict, List, Optional, Set

import aiohttp
import ray
from ray.serve.exceptions import RayServeException
from ray.serve.handle import DeploymentHandle

from ._engine import ANNOUNCE_S
from ._relay import FAREWELL, EngineEnd
from ._robot import Head, RobotEnd
from ._settings import Settings

# openpi's client gives up on a handshake after 10 s; a refusal before that tells it why.
WAIT_FOR_ENGINE_S = 8
RETRY_S = 0.1
# An engine that has not announced itself for so long has gone.
FORGET_S = 5 * ANNOUNCE_S
# What the engines may take to answer their last observations.
GOODBYE_S = 30
ALIVE_TIMEOUT = aiohttp.ClientTimeout(total=5)

_log = logging.getLogger("ray.serve")


class Gateway:
    """Listens for robots, and gives each one to the engine that Ray Serve chooses."""

    async def __init__(self, engines: DeploymentHandle, settings: Settings) -> None:
        self._engine = engines.options(method_name="lease", stream=True)
        self._settings = settings
        self._actor = ray.get_runtime_context().current_actor
        self._heard: Dict[str, float] = {}  # when each engine last announced itself
        self._leases: Set[Any] = set()
        self._relays: Set[asyncio.Task[None]] = set()
        self._server: Optional[asyncio.Server] = None
        # Connections are refused until an engine can answer, as by `saccade serve` itself.
        await self.announce(await engines.address.remote())
        self._server = await asyncio.get_running_loop().create_server(
            lambda: RobotEnd(self._serve), settings.host, settings.port)

    def address(self) -> str:
        """host:port where robots connect."""
        assert self._server is not None
        return "{}:{}".format(*self._server.sockets[0].getsockname()[:2])

    async def announce(self, engine: str) -> None:
        """An engine says again that it answers at this address."""
        self._heard[engine] = time.monotonic()

    async def __del__(self) -> None:
        """Ray Serve awaits this before it ends the gateway.

        It stops the engines at the same time, each one once its leases are given back. They then
        take leave of their robots, and that still has to go through here.
        """
        if self._server is not None:
            self._server.close()
        for lease in self._leases:
            lease.cancel()
        if self._relays:
            await asyncio.wait(self._relays, timeout=GOODBYE_S)

    def _engines(self) -> List[str]:
        """The addresses of the engines that are there."""
        since = time.monotonic() - FORGET_S
        self._heard = {engine: heard for engine, heard in self._heard.items() if heard > since}
        return sorted(self._heard)

    def _serve(self, robot: RobotEnd, head: Optional[Head]) -> asyncio.Task[None]:
        """Starts what answers a request: for a WebSocket, until one of its ends leaves."""
        if head is None or not head.opens_websocket:
            return asyncio.ensure_future(self._answer(robot, head))
        task = asyncio.ensure_future(self._relay(robot))
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)
        return task

    async def _answer(self, robot: RobotEnd, head: Optional[Head]) -> None:
        if head is None:
            robot.answer("400 Bad Request", "this is no HTTP request\n")
        elif head.method != "GET":
            robot.answer("405 Method Not Allowed", "only GET is answered here\n")
        elif head.path == "/healthz":
            there = bool(self._engines())
            robot.answer(*(("200 OK", "OK\n") if there
                           else ("503 Service Unavailable", "no engine is there\n")))
        elif head.path == "/engines":
            await self._list_engines(robot, head)
        else:
            robot.answer("404 Not Found", "a fleet has /healthz and /engines; each engine has its "
                         "status page and metrics at its own address\n")

    async def _list_engines(self, robot: RobotEnd, head: Head) -> None:
        """All engines, as Prometheus wants its targets listed. The engines know who may ask."""
        engines = self._engines()
        if not engines:
            return robot.answer("503 Service Unavailable", "no engine is there\n")
        key = {"Authorization": head.authorization} if head.authorization else {}
        try:
            async with aiohttp.ClientSession() as session:
                async with session.get(f"http://{engines[-1]}/metrics", headers=key) as reply:
                    status, body = f"{reply.status} {reply.reason}", await reply.text()
        except aiohttp.ClientError as error:
            return robot.answer("503 Service Unavailable", f"an engine does not answer: {error}\n")
        if reply.status != 200:
            return robot.answer(status, body)
        robot.answer(status, json.dumps([{"targets": engines}]) + "\n", "application/json")

    async def _relay(self, robot: RobotEnd) -> None:
        lease = None
        try:
            lease, engine = await asyncio.wait_for(self._connect(), WAIT_FOR_ENGINE_S)
            self._leases.add(lease)
            address = engine.transport.get_extra_info("peername")
            engine.join(robot)
            engine.transport.write(robot.received)
            robot.transport.resume_reading()
            await asyncio.wait((robot.closed, engine.closed), return_when=asyncio.FIRST_COMPLETED)
            if engine.owes_goodbye and not await _answers(*address[:2]):
                robot.transport.write(FAREWELL)
            robot.transport.close()
        except asyncio.TimeoutError:
            robot.answer("503 Service Unavailable", f"no engine has had a free place for "
                         f"{WAIT_FOR_ENGINE_S} s: each one takes "
                         f"{self._settings.connections_per_replica} robots\n")
        finally:
            if lease is not None:
                self._leases.discard(lease)
                lease.cancel()

    async def _connect(self) -> tuple[Any, EngineEnd]:
        """The lease of a free place, and a connection to its engine."""
        while True:
            lease = self._engine.remote(self._actor)
            try:
                host, port = (await lease.__anext__()).rsplit(":", 1)
                _, engine = await asyncio.get_running_loop().create_connection(
                    EngineEnd, host, int(port))
                return lease, engine
            except (OSError, ray.exceptions.RayError, RayServeException) as error:
                # The engine has died; Ray Serve learns of it too.
                _log.warning(f"an engine does not answer: {error}")
                lease.cancel()
                await asyncio.sleep(RETRY_S)
            except asyncio.CancelledError:
                lease.cancel()
                raise


async def _answers(host: str, port: int) -> bool:
    """Whether an engine that has broken a connection off is alive: it does so to those who go on
    sending after it has closed. To connect is no proof, as the kernel does that for the dying."""
    try:
        async with aiohttp.ClientSession(timeout=ALIVE_TIMEOUT) as session:
            async with session.get(f"http://{host}:{port}/healthz"):
                return True
    except (aiohttp.ClientError, asyncio.TimeoutError):
        return False
