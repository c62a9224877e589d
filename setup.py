"""Installs the `hares` command and the packages behind it.

    pip install .               the benchmark: `hares evaluate`, `corpus`, `report`, `board`, `hares.evaluate`
    pip install .[pipeline]     all of it
    pip install .[buckets]      corpora in buckets (s3://, gs://), beside the benchmark

Ranges live here. A lock for each line of versions (hares/version_lines.tsv) pins every version of the whole with hashes
and is what the README, CI and the container image install, `requirements-benchmark.lock` those of the benchmark.
`docs/versions.md` says why the versions are what they are.
"""

from pathlib import Path

from setuptools import find_packages, setup

LINES = Path(__file__).with_name("hares") / "version_lines.tsv"
LOCKS = [row.split("\t")[1] for row in LINES.read_text(encoding="utf-8").splitlines()]
PACKAGES = ["hares", "models", "components", "pipeline", "kubeflow", "cli", "workarounds"]

# The benchmark. Encoders bring their own TensorFlow, PyTorch or other library, so nothing here is about any of them.
INSTALL_REQUIRES = [
    "numpy>=1.26",
    "scipy>=1.11",
    "scikit-learn>=1.5",
    "threadpoolctl>=3.5",
    "soundfile>=0.13",
    "soxr>=0.5,<2",
    "pillow>=10",
    "jinja2>=3",
    "click>=8,<9",
    "rich>=13",
]

# Corpora in buckets: each service by its vendor's own library.
BUCKETS = ["botocore>=1.40,<2", "google-cloud-storage>=2.19,<4"]

# Two lines of versions, by Python's (hares/version_lines.tsv); docs/versions.md says why there are two.
PIPELINE = [
    "tensorflow>=2.15.1,<2.16; python_version < '3.11'",
    "tensorflow>=2.21,<2.22; python_version >= '3.11'",
    "tf-keras>=2.21,<2.22; python_version >= '3.11'",
    "tensorboard>=2.15,<2.16; python_version < '3.11'",
    "tensorboard>=2.21,<2.22; python_version >= '3.11'",  # which TensorFlow 2.21 no longer brings
    "tfx>=1.15.1,<1.16; python_version < '3.11'",
    "tfx>=1.21,<1.22; python_version >= '3.11'",
    "tensorflow-transform>=1.15,<1.16; python_version < '3.11'",
    "tensorflow-transform>=1.21,<1.22; python_version >= '3.11'",
    "tensorflow-data-validation>=1.15.1,<1.16; python_version < '3.11'",
    "tensorflow-data-validation>=1.21,<1.22; python_version >= '3.11'",
    "tfx-bsl>=1.15.1,<1.16; python_version < '3.11'",
    "tfx-bsl>=1.21,<1.22; python_version >= '3.11'",
    "ml-metadata>=1.15,<1.16; python_version < '3.11'",
    "ml-metadata>=1.21,<1.22; python_version >= '3.11'",
    "apache-beam>=2.74,<2.75; python_version < '3.11'",
    "apache-beam>=2.77,<2.78; python_version >= '3.11'",
    "dill==0.3.1.1; python_version < '3.11'",  # tfx-bsl and TFT import it; Beam no longer brings it
    "kfp>=2.5,<2.6; python_version < '3.11'",
    "kfp>=2.16,<2.17; python_version >= '3.11'",
    "google-cloud-aiplatform>=1.165,<1.166",
    "google-auth>=2.62,<3",
    "requests>=2.34,<3",
    "tensorflow-addons>=0.23,<0.24; python_version < '3.11'",
    "tensorflow-datasets>=4.9.10,<4.10",
    "scikit-learn>=1.7,<1.8; python_version < '3.11'",
    "scikit-learn>=1.5,<1.6; python_version >= '3.11'",  # TFX 1.21 wants 1.5.2
    "numpy>=1.26,<2; python_version < '3.11'",
    "numpy>=2.1,<3; python_version >= '3.11'",
    "protobuf>=3.20.3,<3.21; python_version < '3.11'",
    "protobuf>=6.31,<7; python_version >= '3.11'",
    "pyarrow>=10,<11; python_version < '3.11'",
    "pyarrow>=18,<19; python_version >= '3.11'",
    "pyarrow-hotfix",
    "pyyaml>=6",
    # TFX calls pip and wheel for `module_file`, and imports pkg_resources: TFX 1.15 that of before setuptools 70.
    "setuptools<70; python_version < '3.11'",
    "setuptools>=78.1.1,<81; python_version >= '3.11'",
    "pip",
    "wheel",
]

# To run ingestion and embedding on a Dask cluster; for Beam 2.74 the oldest versions that it allows, and those tested.
DASK = [
    "dask>=2024.4.2,<2024.5; python_version < '3.11'",
    "dask>=2026.8,<2026.9; python_version >= '3.11'",
    "distributed>=2024.4.2,<2024.5; python_version < '3.11'",
    "distributed>=2026.8,<2026.9; python_version >= '3.11'",
]

DEV = [
    *DASK,
    "pytest>=8",
    "pytest-timeout",
    "pytest-xdist>=3.6",
    "ruff",
    "mypy",
    # Drives the fuzzing of the decoder.
    "atheris>=2.3,<2.4; sys_platform == 'linux' and python_version < '3.12'",
    "atheris>=3.1; sys_platform == 'linux' and python_version >= '3.12'",
    "pip-audit>=2.10",
    "cyclonedx-bom>=7.5",
    "types-PyYAML",
    "librosa>=0.10",
    "hypothesis>=6",
    "websocket-client>=1.8",  # the tests of pages drive Chromium with it
    "uv",
]

# Only `hares import-weights` uses it, and only for checkpoints in PyTorch's own format. Before 2.10 a checkpoint could
# run code all the same (CVE-2026-24747), and 2.10 has an advisory of its own. requirements-torch.lock pins it.
TORCH = ["torch>=2.11"]

# `make docs` builds the site in an environment of its own, pinned by requirements-docs.lock.
DOCS = ["mkdocs>=1.6,<2", "mkdocs-material>=9.7,<10"]

setup(
    name="hares-tfx",
    version="0.1.0",
    license="Apache-2.0",
    description="Universal audio representations on TFX: pretraining and the HARES benchmark",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=[p for name in PACKAGES for p in (name, f"{name}.*")]),
    py_modules=["hares_command"],
    include_package_data=True,
    package_data={
        "hares": ["**/*.json", "**/*.j2", "**/*.js", "**/*.csv", "**/*.tsv"],
        "pipeline": ["**/*.pbtxt", "**/*.yaml", "lineage/page/*", "lineage/page/vendor/*"],
        "kubeflow": ["**/*.yaml", "image/Dockerfile"],
    },
    # `hares doctor` compares what is installed with the lock file of its line, in an image too.
    data_files=[("share/hares", LOCKS)],
    install_requires=INSTALL_REQUIRES,
    extras_require={
        "pipeline": [*PIPELINE, *BUCKETS],
        "dev": DEV,
        "torch": TORCH,
        "dask": DASK,
        "docs": DOCS,
        "buckets": BUCKETS,
    },
    entry_points={"console_scripts": ["hares=hares_command:main"]},
)
