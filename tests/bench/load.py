"""Requests over kept-alive connections to a server on this machine, timed one by one."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from tests.bench.figures import Samples


@dataclass(frozen=True)
class Request:
    """What each connection sends again and again."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def as_bytes(self) -> bytes:
        """Return the request as it goes over the wire."""
        parts = urlsplit(self.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": parts.netloc, "Content-Length": str(len(self.body))} | dict(self.headers)
        lines = [f"{self.method} {path} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body


@dataclass(frozen=True)
class LoadResult:
    """How a load went."""

    samples: Samples
    errors: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Requests answered per second."""
        return len(self.samples.seconds) / self.seconds


def run_load(request: Request, *, connections: int, seconds: float) -> LoadResult:
    """Send ``request`` over ``connections`` connections for ``seconds``, one at a time on each."""
    return asyncio.run(_run(request, connections, seconds))


async def _run(request: Request, connections: int, seconds: float) -> LoadResult:
    times: list[float] = []
    errors = 0
    deadline = time.perf_counter() + seconds
    data = request.as_bytes()
    parts = urlsplit(request.url)

    async def connection() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            while time.perf_counter() < deadline:
                started = time.perf_counter()
                writer.write(data)
                status = await _read_answer(reader)
                times.append(time.perf_counter() - started)
                errors += status != 200
        finally:
            writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(connections)))
    return LoadResult(Samples(tuple(times)), errors, time.perf_counter() - started)


async def _read_answer(reader: asyncio.StreamReader) -> int:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head.split(b" ", 2)[1])
    if b"transfer-encoding: chunked" in head:
        while (size := int(await reader.readline(), 16)) > 0:
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        length = int(head.split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        await reader.readexactly(length)
    return status
