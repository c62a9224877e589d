"""The images of the steps: they exist, and were built from this lock file and revision."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from hares.digests import file_digest
from hares.version_lines import version_lines
from kubeflow.cluster_file import read_resources
from kubeflow.doctor.finding import Finding, Severity, Subject
from kubeflow.doctor.image_registry import (
    ImageMissingError,
    ImageRefusedError,
    UnreachableError,
    labels_of,
    parse_image,
)
from pipeline.hosts import without_user

LOCK_LABEL = "hares.lock.sha256"
REVISION_LABEL = "org.opencontainers.image.revision"
BASE_LABEL = "org.opencontainers.image.base.digest"
ACCELERATOR_LABEL = "hares.accelerator"  # of the targets `gpu` and `tpu`
_BUILD = "build and push it as docs/images.md says"


def check_images(subject: Subject) -> Iterator[Finding]:
    """Every image that the cluster file or the compiled pipeline names."""
    for image, where in _images(subject).items():
        yield from _image(subject, image, where)


def _images(subject: Subject) -> dict[str, str]:
    """For each image, the setting or step that names it first."""
    found: dict[str, str] = {}
    settings = {name: subject.cluster.get(name) for name in ("image", "beam_image")}
    for kind, image in (subject.cluster.get("images") or {}).items():
        settings[f"images.{kind}"] = image
    for setting, image in settings.items():
        if image:
            found.setdefault(str(image), f"{subject.cluster_file}: {setting}")
    for label, executor in subject.compiled.get("deploymentSpec", {}).get("executors", {}).items():
        if image := executor.get("container", {}).get("image"):
            found.setdefault(str(image), f"{subject.compiled_file}: {label}")
    return found


def _image(subject: Subject, image: str, where: str) -> Iterator[Finding]:
    name = without_user(image)
    try:
        labels = labels_of(parse_image(image))
    except ValueError as error:
        yield Finding("image", Severity.FATAL, where, str(error), "give the image's full name")
        return
    except ImageMissingError as error:
        yield Finding("image", Severity.FATAL, where, f"{name} is missing: {error}", _BUILD)
        return
    except ImageRefusedError as error:
        yield Finding(
            "image", Severity.WARNING, where, f"{name} cannot be seen with this machine's credentials: {error}",
            "log in with `gcloud auth application-default login`, and ask for the role Artifact Registry Reader",
        )  # fmt: skip
        return
    except UnreachableError as error:
        yield Finding(
            "image", Severity.WARNING, where, f"it is unknown whether {name} exists: {error}",
            "check whether the registry can be reached from here; the cluster has to reach it too",
        )  # fmt: skip
        return
    if subject.lock is not None:
        here = file_digest(subject.lock)
        if labels.get(LOCK_LABEL) != here:
            made = _lock_of(labels.get(LOCK_LABEL, ""), subject.lock.parent)
            yield Finding(
                "image", Severity.FATAL, where, f"{name} was built from {made}, and {subject.lock.name} is {here[:12]}",
                _BUILD,
            )  # fmt: skip
            return
    for kind, needed in _accelerators(subject, image).items():
        if labels.get(ACCELERATOR_LABEL, "") != needed:
            yield Finding(
                "image", Severity.FATAL, f"{subject.cluster_file}: resources.{kind}",
                f"it asks for a {needed}, but {name} is not made for one (label {ACCELERATOR_LABEL}): the step fails",
                f"build the target `{needed.lower()}` (docs/images.md), and name it in images.{kind}",
            )  # fmt: skip
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", labels.get(BASE_LABEL, "")):
        yield Finding(
            "image", Severity.WARNING, where, f"{name} does not name its base image (label {BASE_LABEL})",
            f"{_BUILD}, with the digest of the base",
        )  # fmt: skip
    revision = _revision(subject)
    if revision and labels.get(REVISION_LABEL) != revision:
        made = labels.get(REVISION_LABEL, "")[:12] or "an unknown revision"
        yield Finding(
            "image", Severity.WARNING, where, f"{name} holds the code of {made}, but the checkout is {revision[:12]}",
            f"{_BUILD}, or check out that revision",
        )  # fmt: skip


def _accelerators(subject: Subject, image: str) -> dict[str, str]:
    """Kinds of steps that run in an image and ask for an accelerator, with its kind."""
    resources = subject.cluster.get("resources") or {}
    images = subject.cluster.get("images") or {}
    found = {}
    for kind, given in resources.items():
        if images.get(kind, subject.cluster.get("image")) != image:
            continue
        try:
            needed = read_resources(kind, given or {}).accelerator_kind
        except ValueError:
            continue  # the check of the cluster file reports it
        if needed:
            found[kind] = needed
    return found


def _revision(subject: Subject) -> str:
    if subject.project is None:
        return ""
    done = subprocess.run(
        ["git", "-C", str(subject.project), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _lock_of(digest: str, folder: Path) -> str:
    """What to call the lock file of an image: its name, where it is another line's of this folder."""
    for line in version_lines():
        path = folder / line.lock
        if path.is_file() and file_digest(path) == digest:
            return f"{line.lock}, which is of another line of versions (docs/versions.md)"
    return digest[:12] or "an unknown lock file"
