"""Images made on this machine by buildah, for the node's registry."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cluster.node import REGISTRY

PROJECT = Path(__file__).resolve().parents[2]
PYTHON_IMAGE = "docker.io/library/python:3.10-slim-bookworm"
LIBRARIES = (
    "ca-certificates", "libssl3", "libffi8", "libsqlite3-0", "zlib1g", "libbz2-1.0", "liblzma5", "libreadline8",
    "libncursesw6", "libuuid1", "libexpat1",
)  # fmt: skip
MIRROR = "http://deb.debian.org/debian"
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")


class Images:
    """buildah's images in a storage of their own; an image that is there is not made again."""

    def __init__(self, folder: Path):
        self._buildah = [
            "buildah", "--root", str(folder / "storage"), "--runroot", str(folder / "run"),
            "--storage-driver", "overlay",
        ]  # fmt: skip
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def buildah(self, *arguments: str | Path) -> str:
        done = subprocess.run(
            [*self._buildah, *map(str, arguments)], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"buildah {arguments[0]}: {done.stderr[-2000:]}")
        return done.stdout.strip()

    def has(self, image: str) -> bool:
        return bool(self.buildah("images", "--filter", f"reference={image}", "--quiet"))

    def of_folder(self, image: str, root: Path, *configuration: str) -> str:
        """An image whose file system is a folder; returns its digest."""
        container = self.buildah("from", "scratch")
        try:
            self.buildah("add", "--quiet", container, root, "/")
            self.buildah("config", *configuration, container)
            self.buildah("commit", "--quiet", container, image)
        finally:
            self.buildah("rm", container)
        return self.digest(image)

    def of_containerfile(self, image: str, file: Path, target: str, context: Path) -> None:
        """A target of a Containerfile; layers are kept, so that a second build is a matter of seconds."""
        self.buildah(
            "bud", "--isolation", "chroot", "--pull-never", "--layers", "--file", file, "--target", target,
            "--tag", image, context,
        )  # fmt: skip

    def digest(self, image: str) -> str:
        (listed,) = json.loads(self.buildah("images", "--json", image))
        return listed["digest"]

    def python(self) -> str:
        """The Dockerfile's base under its own name: Debian with this interpreter's Python; returns its digest."""
        if not self.has(PYTHON_IMAGE):
            with tempfile.TemporaryDirectory(dir=self._folder) as temporary:
                root = Path(temporary) / "root"
                subprocess.run(
                    ["debootstrap", "--variant=minbase", f"--include={','.join(LIBRARIES)}", "bookworm", root, MIRROR],
                    check=True, capture_output=True,
                )  # fmt: skip
                _copy_python(Path(sys.base_prefix), root / "usr" / "local")
                subprocess.run(["ldconfig", "-r", root], check=True)
                if CA_BUNDLE.exists():  # a machine behind a proxy of its own trusts more than Debian does
                    shutil.copy(CA_BUNDLE, root / CA_BUNDLE.relative_to("/"))
                    (root / "etc" / "pip.conf").write_text(f"[global]\ncert = {CA_BUNDLE}\n")
                self.of_folder(
                    PYTHON_IMAGE, root, "--env", "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                    "--env", "LANG=C.UTF-8", "--cmd", "python3",
                )  # fmt: skip
        return self.digest(PYTHON_IMAGE)

    def of_dockerfile(self, image: str, target: str) -> None:
        """A target of `kubeflow/image/Dockerfile`, by its own arguments."""
        digest = self.python()
        lock = hashlib.sha256((PROJECT / "requirements.lock").read_bytes()).hexdigest()
        revision = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
        ).stdout.strip()
        given = {
            "PYTHON_DIGEST": digest, "BEAM_DIGEST": digest, "LOCK_SHA256": lock, "REVISION": revision,
        }  # fmt: skip
        arguments = [part for name, value in given.items() for part in ("--build-arg", f"{name}={value}")]
        self.buildah(
            "bud", "--isolation", "chroot", "--pull-never", "--layers", "--file", "kubeflow/image/Dockerfile",
            "--target", target, *arguments, "--tag", image, ".",
        )  # fmt: skip

    def push(self, image: str) -> None:
        """Sends an image to the node's registry, under its path there; layers that are there are not sent again."""
        place = f"docker://{REGISTRY}/{image.partition('/')[2]}"
        packed = ("--format", "oci", "--compression-format", "zstd")  # a third of the size, in seconds
        self.buildah("push", "--quiet", "--tls-verify=false", *packed, image, place)


def _copy_python(prefix: Path, into: Path) -> None:
    """A Python installation, without tests and packages, whose scripts begin with its new place."""

    def left_out(folder: str, names: list[str]) -> set[str]:
        here = {name for name in names if name in ("test", "tests", "__pycache__") or name.endswith(".a")}
        if Path(folder).name == "site-packages":
            here |= {
                name
                for name in names
                if not name.startswith(("pip", "setuptools", "pkg_resources", "_distutils"))
            }
        return here

    for name in ("bin", "include", "lib"):
        shutil.copytree(prefix / name, into / name, symlinks=True, ignore=left_out, dirs_exist_ok=True)
    for script in (into / "bin").iterdir():
        if script.is_file() and not script.is_symlink() and script.read_bytes()[:2] == b"#!":
            script.write_text(script.read_text().replace(str(prefix), "/usr/local", 1))
            os.chmod(script, 0o755)
