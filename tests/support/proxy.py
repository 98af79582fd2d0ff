"""A TCP relay between a client and a server that can drop the server's answers."""

from __future__ import annotations

import asyncio


class Relay:
    """Listens on a port of its own and passes all bytes on, except those that it is set to drop."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.deaf = False  # drop all bytes from the server
        self.lose_next: bytes | None = None  # drop the next piece from the server that holds these bytes
        self.lost_count = 0

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        if self._server:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # lets closed transports close their sockets

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target)
        for pipe in (self._pass(reader, to_server, False), self._pass(from_server, writer, True)):
            self._tasks.add(asyncio.ensure_future(pipe))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, from_server: bool) -> None:
        try:
            while piece := await reader.read(1 << 20):
                if from_server and (self.deaf or (self.lose_next and self.lose_next in piece)):
                    self.lose_next = None
                    self.lost_count += 1
                    continue
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass  # one side closed its connection: close the other too
        finally:
            writer.close()
