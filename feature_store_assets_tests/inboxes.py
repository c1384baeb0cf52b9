"""Where alerts arrive in tests: a real webhook and a real SMTP server on loopback."""

import email
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.policy import default
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, TCPServer, ThreadingTCPServer
from typing import NamedTuple


class Received(NamedTuple):
    title: str
    body: str
    kind: str = ""


@dataclass
class Inbox:
    """What came in; while it is `shut`, everything is refused."""

    url: str
    received: list[Received] = field(default_factory=list)
    refused: int = 0
    shut: bool = False

    @property
    def titles(self) -> list[str]:
        return [each.title for each in self.received]


@contextmanager
def webhook(secret: str = "") -> Iterator[Inbox]:
    """A receiver of Apprise's JSON."""
    inbox = Inbox("")

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if inbox.shut:
                inbox.refused += 1
            else:
                inbox.received.append(Received(told["title"], told["message"], told["type"]))
            self.send_response(503 if inbox.shut else 200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Be quiet."""

    with _running(ThreadingHTTPServer(("127.0.0.1", 0), Receiver)) as port:
        inbox.url = f"json://127.0.0.1:{port}/{secret}"
        yield inbox


@contextmanager
def mailbox() -> Iterator[Inbox]:
    """A receiver of mail."""
    inbox = Inbox("")

    class Receiver(StreamRequestHandler):
        def handle(self) -> None:
            self._say(220, "ready")
            while line := self.rfile.readline():
                verb = line.split()[0].upper()
                if verb == b"QUIT":
                    self._say(221, "bye")
                    return
                if verb == b"RCPT" and inbox.shut:
                    inbox.refused += 1
                    self._say(550, "no such mailbox")
                elif verb == b"DATA":
                    self._say(354, "go on")
                    inbox.received.append(_mail(b"".join(iter(self.rfile.readline, b".\r\n"))))
                    self._say(250, "taken")
                else:
                    self._say(250, "well")

        def _say(self, code: int, text: str) -> None:
            self.wfile.write(f"{code} {text}\r\n".encode())

    with _running(ThreadingTCPServer(("127.0.0.1", 0), Receiver)) as port:
        people = "from=store@example.org&to=ann@example.org"
        inbox.url = f"mailto://127.0.0.1:{port}?{people}&format=text"
        yield inbox


def _mail(raw: bytes) -> Received:
    mail = email.message_from_bytes(raw, policy=default)
    text = mail.get_body(("plain",))
    assert text is not None
    return Received(mail["subject"], text.get_content().replace("\r\n", "\n"))


@contextmanager
def _running(server: TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
