"""ML Metadata's gRPC service in a process of its own, over the wheel's own C++ store.

    python tests/kits/grpc_store_server.py STORE.sqlite [--key FILE --certificate FILE --ca FILE]

Google publishes the server as a container image alone; the wheel has the service's definition and the C++ library
behind it, so every call of the service is answered here by the function of that name. Prints its port, then serves
until it is ended. With a key it speaks TLS, and with --ca it asks its clients for a certificate that this authority
signed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as library
from ml_metadata.proto import metadata_store_pb2 as pb
from ml_metadata.proto import metadata_store_service_pb2 as service_pb
from ml_metadata.proto import metadata_store_service_pb2_grpc as service_grpc

CODES = {code.value[0]: code for code in grpc.StatusCode}


def sqlite_config(path: Path) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    return config


def servicer(config: pb.ConnectionConfig) -> Any:
    """Answers all of the service's calls that the library knows; the others stay UNIMPLEMENTED."""
    options = pb.MigrationOptions().SerializeToString()
    store = library.CreateMetadataStore(config.SerializeToString(), options)
    lock = threading.Lock()  # the library's store is for one thread
    methods = {
        method.name: _answer(getattr(library, method.name), method.output_type._concrete_class, store, lock)
        for method in service_pb.DESCRIPTOR.services_by_name["MetadataStoreService"].methods
        if hasattr(library, method.name)
    }
    return type("Servicer", (service_grpc.MetadataStoreServiceServicer,), methods)()


def _answer(call: Callable, response: type, store: Any, lock: threading.Lock) -> Callable:
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        with lock:
            body, message, code = call(store, request.SerializeToString())
        if code:
            context.abort(CODES[code], message.decode("utf-8", "replace"))
        return response.FromString(body)

    return answer


def serve(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("store", type=Path)
    for name in ("--key", "--certificate", "--ca"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(arguments)
    server = grpc.server(ThreadPoolExecutor(4))
    service_grpc.add_MetadataStoreServiceServicer_to_server(servicer(sqlite_config(options.store)), server)
    place = f"127.0.0.1:{options.port}"
    if options.key:
        pairs = [(options.key.read_bytes(), options.certificate.read_bytes())]
        ca = options.ca.read_bytes() if options.ca else None
        port = server.add_secure_port(place, grpc.ssl_server_credentials(pairs, ca, ca is not None))
    else:
        port = server.add_insecure_port(place)
    server.start()
    print(port, flush=True)
    server.wait_for_termination()


@contextmanager
def grpc_server(store: Path, *options: str) -> Iterator[int]:
    """A serving process; its port."""
    process = subprocess.Popen(
        [sys.executable, __file__, str(store), *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.strip().isdecimal(), (
            "the gRPC server did not start; its complaint is in the captured stderr"
        )
        yield int(line)
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    serve(sys.argv[1:])
