"""Carries the bytes of a robot's connection to its engine and back, as they are.

No message is unpacked on the way, so all that `saccade serve` promises of its wire holds here too:
sizes, pings, closing codes, refusals. The frames of the engine are only counted, to know where a
sentence of our own fits in when the engine dies.
"""

from __future__ import annotations

import asyncio
from typing import Optional, cast

_CLOSE = 8
_ENDED = "[fleet] the engine has ended: connect again"
# openpi's client raises RuntimeError with any text; the code and the reason are those of openpi.
_REASON = b"Internal server error. Traceback included in previous frame."


def _frame(opcode: int, payload: bytes) -> bytes:
    assert len(payload) < 126
    return bytes([0x80 | opcode, len(payload)]) + payload


FAREWELL = _frame(1, _ENDED.encode()) + _frame(_CLOSE, (1011).to_bytes(2, "big") + _REASON)


class FrameCounter:
    """Knows whether what an engine has sent so far ends between two frames of an open WebSocket."""

    def __init__(self) -> None:
        self._pending = b""  # of a header that is not complete
        self._left = 0  # bytes of the payload that are still to come
        self._open = False
        self._refused = False

    @property
    def between_frames(self) -> bool:
        return self._open and not self._pending and not self._left

    def feed(self, data: bytes) -> None:
        if not self._open:
            data = self._after_head(data)
        while data and self._open:
            if self._left:
                taken = min(self._left, len(data))
                self._left -= taken
                data = data[taken:]
            else:
                data = self._after_header(self._pending + data)

    def _after_head(self, data: bytes) -> bytes:
        """What follows the answer to the handshake, once that is complete."""
        head, end, rest = (self._pending + data).partition(b"\r\n\r\n")
        self._refused = self._refused or not b"HTTP/1.1 101 ".startswith(head[:13])
        self._open = bool(end) and not self._refused
        self._pending = b"" if end or self._refused else head
        return rest

    def _after_header(self, data: bytes) -> bytes:
        """What follows a frame's header, which a server does not mask."""
        extended = {126: 2, 127: 8}.get(data[1] & 127, 0) if len(data) > 1 else 0
        self._pending = data if len(data) < 2 + extended else b""
        if self._pending:
            return b""
        self._left = int.from_bytes(data[2:2 + extended], "big") if extended else data[1] & 127
        self._open = data[0] & 15 != _CLOSE
        return data[2 + extended:]


class End(asyncio.Protocol):
    """One end of a relayed connection: what it receives, the other end sends."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self.other: Optional[End] = None
        self.closed = asyncio.get_running_loop().create_future()

    def join(self, other: End) -> None:
        """Both ends carry from now on, and each hears when the other one closes."""
        self.other, other.other = other, self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # which uvloop's do not inherit

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other:
            self.other.transport.resume_reading()

    def connection_lost(self, error: Optional[Exception]) -> None:
        self.closed.set_result(None)
        if self.other:
            self.other.transport.close()


class EngineEnd(End):
    """The engine's end, which knows whether the engine has taken its leave."""

    def __init__(self) -> None:
        super().__init__()
        self._frames = FrameCounter()

    @property
    def owes_goodbye(self) -> bool:
        """Whether the robot waits for a frame, were it only the closing one."""
        return self._frames.between_frames

    def data_received(self, data: bytes) -> None:
        self._frames.feed(data)
        super().data_received(data)

    def connection_lost(self, error: Optional[Exception]) -> None:
        if self.owes_goodbye:
            self.closed.set_result(None)  # the gateway finds out why, and closes the robot's end
        else:
            super().connection_lost(error)
