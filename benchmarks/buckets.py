"""Corpora in buckets beside the same on the disk: what listing takes, and how fast ingestion is at a distance.

    python -m benchmarks.buckets [--clips 300] [--seconds 10] [--rounds 3] [--latency 0.005] [--objects 1000,100000]

MinIO and fake-gcs-server run on this machine, as the tests build them from their Go modules. Between them and the
reader is a line that delivers every byte of an answer `--latency` seconds late, a process of its own; what is on its
way at one time is not limited. Ingestion is `benchmarks.ingestion`'s, of FLAC and WAV files of 44.1 kHz stereo; disk
and buckets take turns, each into an empty folder, and the median of wall and processor seconds is printed. The servers
share this machine's cores with what is measured; their processor time is not in its.

Listing is measured in a fresh process a number of objects: requests, seconds, and by how much the process' memory grew
at most while it listed, walked and made the fingerprint.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT / "tests"))

from benchmarks.ingestion import ingest, make_folder, timed  # noqa: E402
from kits.bucket_servers import BUCKET, Server, fake_gcs, minio, running  # noqa: E402

_IN_A_TAR = 10_000
_MOST_OF_FAKE_GCS = 10_000  # which looks at all files for each page
_LINE = """
import asyncio, sys, time
port, latency = int(sys.argv[1]), float(sys.argv[2])
async def one_way(source, target, late):
    waiting = asyncio.Queue()
    async def deliver():
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0, due - time.monotonic()))
            if not data:
                target.close()
                return
            target.write(data)
            await target.drain()
    delivery = asyncio.create_task(deliver())
    while data := await source.read(1 << 18):
        waiting.put_nowait((time.monotonic() + late, data))
    waiting.put_nowait((0, b""))
    await delivery
async def connected(reader, writer):
    there, back = await asyncio.open_connection("127.0.0.1", port)
    await asyncio.gather(one_way(reader, back, 0), one_way(there, writer, latency), return_exceptions=True)
async def main():
    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""
_LIST = """
import sys, time
from hares.buckets import client, place
from hares.reading import source_fingerprint
place(sys.argv[1] + "-none").is_dir()  # the libraries are loaded, and connected
asked = 0
service = client.client(sys.argv[1][:2])
pages = service.pages
def counted(*given, **more):
    global asked
    for page in pages(*given, **more):
        asked += 1
        yield page
service.pages = counted
def memory(what):  # of this process, in kB
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(what))
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from here on
before, began = memory("VmRSS"), time.monotonic()
source_fingerprint(place(sys.argv[1]))
took = time.monotonic() - began
print(asked, f"{took:.1f}", f"{(memory('VmHWM') - before) / 1024:.1f}")
"""


@contextmanager
def line(server: Server, latency: float) -> Iterator[dict[str, str]]:
    """What a client needs to find a server over a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", _LINE, str(server.port), str(latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"
        yield {name: value.replace(server.url, url) for name, value in server.environment.items()}
    finally:
        process.kill()
        process.wait()


def listing(server: Server, count: int) -> None:
    """Prints a line of the listing's table; the objects are empty, a hundred folders of them."""
    keys = [f"listed-{count}/{number % 100:03}/{number:08}.wav" for number in range(count)]
    if server.scheme == "s3":
        for first in range(0, count, _IN_A_TAR):  # MinIO takes a tar apart
            file = io.BytesIO()
            with tarfile.open(fileobj=file, mode="w") as tar:
                for key in keys[first : first + _IN_A_TAR]:
                    tar.addfile(tarfile.TarInfo(key))
            server.client().put_object(
                Bucket=BUCKET,
                Key="keys.tar",
                Body=file.getvalue(),
                Metadata={"Snowball-Auto-Extract": "true"},
            )
    else:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda key: server.put(key, b""), keys))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _LIST, server.address(f"listed-{count}")],
        env={**os.environ, **server.environment}, cwd=PROJECT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    requests, seconds, grown = done.stdout.split()
    print(f"| {server.scheme} | {count:,} | {requests} | {seconds} | {grown} |", flush=True)


def speeds(servers: list[Server], clips: int, seconds: float, rounds: int, latency: float) -> None:
    """Prints the table of speeds."""
    print("\n| kind | from | wall s | of the disk's speed | processor s | of the disk's speed |")
    print("|---|---|--:|--:|--:|--:|")
    for kind in ("flac", "wav"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place) / kind
            make_folder(folder, kind, clips, seconds)
            for server in servers:
                server.upload(folder, kind)
            roots = {"disk": str(folder), **{server.scheme: server.address(kind) for server in servers}}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in roots}
            for turn in range(rounds + 1):
                for name, root in roots.items():
                    output = Path(place) / f"{name}-{turn}"
                    found = timed(lambda root=root, output=output: ingest(root, output))  # type: ignore[misc]
                    if turn:  # the first loads libraries, and starts the decoder
                        times[name].append(found)
            medians = {
                name: [statistics.median(one[clock] for one in found) for clock in (0, 1)]
                for name, found in times.items()
            }
            for name, (wall, processor) in medians.items():
                ratios = [medians["disk"][clock] / medians[name][clock] for clock in (0, 1)]
                print(
                    f"| {kind} | {name} | {wall:.2f} | {ratios[0]:.2f} | {processor:.2f} | {ratios[1]:.2f} |",
                    flush=True,
                )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.005)
    parser.add_argument("--objects", default="1000,10000,100000")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as one,
        tempfile.TemporaryDirectory() as other,
        running(minio(Path(one))) as s3,
        running(fake_gcs(Path(other))) as gs,
        line(s3, given.latency) as to_s3,
        line(gs, given.latency) as to_gs,
    ):
        if given.objects:
            print("| service | objects | requests | seconds | MiB |\n|---|--:|--:|--:|--:|")
        for count in map(int, filter(None, given.objects.split(","))):
            for server in (s3, gs):
                if server is s3 or count <= _MOST_OF_FAKE_GCS:
                    listing(server, count)
        if given.clips:
            os.environ.update(to_s3 | to_gs)
            speeds([s3, gs], given.clips, given.seconds, given.rounds, given.latency)


if __name__ == "__main__":
    main()
