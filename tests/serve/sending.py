"""What tests send, and a real server on loopback to send it to."""

from __future__ import annotations

import base64
import io
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from PIL import Image

from seeworth.serve.guard import Guard
from seeworth.serve.protocol import GracefulServer, patient


def uri(data: bytes, kind: str = "image/png") -> str:
    """As a data URI."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width: int, height: int, colour: str = "red") -> bytes:
    """A photo of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).save(buffer, "PNG")
    return buffer.getvalue()


@contextmanager
def serving(guard: Guard, *, seconds: float = 5.0) -> Iterator[int]:
    """A real server in a thread."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        config = uvicorn.Config(guard, http=patient(seconds), ws="none", lifespan="on", log_config=None, access_log=False)
        up = threading.Event()
        server = GracefulServer(config, ready=up.set, draining=lambda: None, busy=lambda: False, seconds=5)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
        thread.start()
        assert up.wait(60)
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)


class Wire:
    """A connection on which every byte is sent by hand."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)

    def send(self, *parts: bytes | str) -> None:
        """Send; a server that has hung up is what the test will see when it reads."""
        for part in parts:
            try:
                self.socket.sendall(part.encode() if isinstance(part, str) else part)
            except OSError:
                return

    def rest(self) -> bytes:
        """All that comes until the server closes."""
        found = b""
        try:
            while more := self.socket.recv(65536):
                found += more
        except ConnectionError:
            pass
        return found

    def answer(self) -> bytes:
        """The head of the next answer and its body."""
        found = b""
        while b"\r\n\r\n" not in found:
            more = self.socket.recv(65536)
            if not more:
                return found
            found += more
        head, _, body = found.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(body) < length:
            body += self.socket.recv(65536)
        return head + b"\r\n\r\n" + body

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()
