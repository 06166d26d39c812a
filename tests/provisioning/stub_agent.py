"""A project that does as a rendered agent does towards its driver, and answers questions."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

MAIN = '''\
"""Listens where it is told, and tells what it finds."""

import asyncio
import json
import os
import resource
import socket
import subprocess
import sys


def tried(action):
    try:
        return action() or "done"
    except OSError as error:
        return type(error).__name__


def write(path):
    with open(path, "w") as file:
        file.write("x")


def connect(place):
    host, _, port = place.rpartition(":")
    socket.create_connection((host, int(port)), 2).close()


def answer(question, value):
    if question == "environment":
        return dict(os.environ)
    if question == "credentials":
        with open(os.environ["AGENT_CREDENTIALS_FILE"]) as file:
            return json.load(file)
    if question == "mode-of":
        status = os.stat(value)
        return [oct(status.st_mode & 0o777), status.st_uid]
    if question == "identity":
        with open("/proc/self/status") as file:
            status = dict(line.rstrip().split(":", 1) for line in file)
        return {
            "uid": os.getuid(),
            "gid": os.getgid(),
            "capabilities": status["CapBnd"].strip(),
            "no_new_privileges": status["NoNewPrivs"].strip(),
        }
    if question == "write":
        return tried(lambda: write(value))
    if question == "read":
        with open(value) as file:
            return file.read()
    if question == "connect":
        return tried(lambda: connect(value))
    if question == "resolve":
        return tried(lambda: str(socket.getaddrinfo(value, 80)))
    if question == "print":
        print(value, flush=True)
        return "printed"
    if question == "print-raw":
        sys.stdout.buffer.write(bytes.fromhex(value))
        sys.stdout.flush()
        return "printed"
    if question == "print-much":
        for number in range(int(value)):
            print(f"{number:07d} " + "x" * 92)
        sys.stdout.flush()
        return "printed"
    if question == "run":
        done = subprocess.run([sys.executable, "-c", value], capture_output=True, text=True)
        return [done.returncode, done.stdout.strip(), done.stderr.strip()[-200:]]
    if question == "leave-child":
        child = subprocess.Popen(
            [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); "
             "print('child', flush=True); time.sleep(600)"]
        )
        return child.pid
    if question == "limits":
        return {
            "files": resource.getrlimit(resource.RLIMIT_NOFILE),
            "data": resource.getrlimit(resource.RLIMIT_DATA),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
        }
    if question == "stubborn":
        import signal
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        return "stubborn"
    if question == "exit":
        asyncio.get_running_loop().call_later(0.05, os._exit, int(value))
        return "leaving"
    if question == "import":
        return __import__(value).__file__
    return "alive"


async def handle(reader, writer):
    line = await reader.readline()
    length = 0
    while header := (await reader.readline()).strip():
        name, _, rest = header.partition(b":")
        if name.lower() == b"content-length":
            length = int(rest)
    asked = json.loads(await reader.readexactly(length) or b"{}")
    try:
        result = answer(asked.get("question"), asked.get("value"))
    except Exception as error:
        result = f"{type(error).__name__}: {error}"
    body = json.dumps(result).encode()
    writer.write(b"HTTP/1.1 200 OK\\r\\nConnection: close\\r\\n")
    writer.write(b"Content-Length: %d\\r\\n\\r\\n" % len(body))
    writer.write(body)
    await writer.drain()
    writer.close()


async def main():
    import signal
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    host, port = os.environ["AGENT_HOST"], int(os.environ["AGENT_PORT"])
    server = await asyncio.start_server(handle, host, port)
    print("listening", flush=True)
    await stop.wait()
    print("stopped when asked", flush=True)


asyncio.run(main())
'''

FILES = {
    "main.py": MAIN,
    "capabilities/__init__.py": "CAPABILITIES = {}\n",
    "README.md": "# Stub ü\n",
    "spec.json": "{}",
}
_WAIT_SECONDS = 30.0


def ask(address: str, question: str = "", value: object = None) -> Any:
    """Return the agent's answer, waiting for it to listen."""
    body = json.dumps({"question": question, "value": value}).encode()
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        try:
            request = urllib.request.Request(f"{address}/ask", data=body)  # noqa: S310 - the driver's address
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 - as above
                return json.loads(response.read())
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
