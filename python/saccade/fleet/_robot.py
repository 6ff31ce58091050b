"""A robot's end of a connection, from its first byte to an engine or an answer."""

from __future__ import annotations

import asyncio
import email.message
import email.parser
from dataclasses import dataclass
from typing import Callable, Optional

from ._relay import End

MAX_HEAD_BYTES = 16384
HEAD_TIMEOUT_S = 5


@dataclass(frozen=True)
class Head:
    """The head of a HTTP request."""

    method: str
    path: str
    headers: email.message.Message

    @staticmethod
    def parse(data: bytes) -> Optional[Head]:
        """None where this is no HTTP."""
        line, _, rest = data.decode("latin-1").partition("\r\n")
        words = line.split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1."):
            return None
        headers = email.parser.Parser().parsestr(rest, headersonly=True)
        return Head(words[0], words[1].partition("?")[0], headers)

    @property
    def opens_websocket(self) -> bool:
        return str(self.headers.get("Upgrade", "")).lower() == "websocket"

    @property
    def authorization(self) -> Optional[str]:
        return self.headers.get("Authorization")


class RobotEnd(End):
    """A robot's end. `serve` is told when the head of its request is there."""

    def __init__(self, serve: Callable[[RobotEnd, Optional[Head]], asyncio.Task[None]]) -> None:
        super().__init__()
        self.received = b""  # until an engine is there to take it
        self._serve = serve
        self._task: Optional[asyncio.Task[None]] = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        asyncio.get_running_loop().call_later(HEAD_TIMEOUT_S, self._hang_up_without_head)

    def _hang_up_without_head(self) -> None:
        if self._task is None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self.other:
            return super().data_received(data)
        self.received += data
        if self._task is None and b"\r\n\r\n" in self.received:
            self._task = self._serve(self, Head.parse(self.received))
        if len(self.received) <= MAX_HEAD_BYTES:
            return
        if self._task is None:
            self.transport.close()
        else:
            self.transport.pause_reading()  # observations wait for their engine

    def connection_lost(self, error: Optional[Exception]) -> None:
        super().connection_lost(error)
        if self._task:
            self._task.cancel()

    def answer(self, status: str, body: str, kind: str = "text/plain; charset=utf-8") -> None:
        """Answers a plain request, or refuses to open a WebSocket."""
        content = body.encode()
        head = (f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\n"
                f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n")
        self.transport.write(head.encode() + content)
        self.transport.close()
