# `make demo` and `make test` set the environment up first where it is not there.
VENV := .venv
PY := $(VENV)/bin/python
LOCKS := $(shell cut -f2 hares/version_lines.tsv)
INSTALLED := $(VENV)/.installed-$(shell cat $(LOCKS) | cksum | cut -d' ' -f1)
# LINE=2.15 or LINE=2.21 chooses the line of versions; without it an environment stays with the one it has.
STAMP := $(INSTALLED)$(LINE:%=-%)

ENGINES := build/engines

.PHONY: setup demo check test test-full test-pythons test-current test-cluster test-engines lint docs lock audit sbom dependencies clean

setup: $(STAMP)

$(STAMP): $(LOCKS) setup.py
	@LINE=$(LINE) bash bootstrap.sh $(VENV)
	@touch $(INSTALLED) $@

demo: setup
	$(VENV)/bin/hares demo

check: lint
	$(PY) -m pytest -m 'not full and not slow' --numprocesses 2 --dist loadfile --quiet

test: setup
	$(PY) -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-full: setup
	$(PY) -m pytest -m full

# Runs in the pods of a real Kubernetes and a real Kubeflow Pipelines on this machine; tests/cluster says what it needs.
test-cluster: setup
	KFP_SOURCE=$(KFP_SOURCE) $(PY) -m pytest -m full tests/cluster

# Beam's steps on a job server with workers of its own, and what a run says of a real Flink and a real Spark; prints the
# table of docs/measurements/beam_engines.md. Needs Go, Java and Maven. The job server is Beam's own, of the locked
# version; HARES_JOB_ENDPOINT=HOST:PORT names another that runs already, as Flink's or Spark's.
test-engines: setup $(ENGINES)/prism $(ENGINES)/.fetched
	$(PY) -m pytest -m full tests/pipeline/test_engines.py -rP

$(ENGINES)/prism: requirements.lock
	mkdir -p $(ENGINES)
	GOBIN=$(CURDIR)/$(ENGINES) go install github.com/apache/beam/sdks/v2/go/cmd/prism@v$(shell sed -n 's/^apache-beam==\([^ ]*\).*/\1/p' requirements.lock)
	touch $@

$(ENGINES)/.fetched: tests/engines/pom.xml
	rm -rf $(ENGINES)/flink $(ENGINES)/spark
	for engine in flink spark; do mvn --batch-mode --quiet --file $< --activate-profiles $$engine \
	  dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/$(ENGINES)/$$engine || exit 1; done
	touch $@

# The benchmark alone, in a fresh environment of every Python that it supports and this machine has; and of one, beside
# the libraries that encoders come in.
test-pythons: setup
	$(PY) -m pytest -m 'full or not full' tests/test_pythons.py --verbose

# All tests on the newest line of versions, in a Debian 13 root that .ci/current makes; says why where it cannot.
test-current: setup
	@bash .ci/current python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder; code=$$?; \
	  [ $$code = 77 ] || exit $$code

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy

# The documentation as a site, in build/site; a broken link or a page without a place in the menu is an error.
docs: build/docs-env/.installed
	NO_MKDOCS_2_WARNING=true build/docs-env/bin/mkdocs build --strict --quiet --site-dir build/site

build/docs-env/.installed: requirements-docs.lock | setup
	$(VENV)/bin/uv venv --quiet --allow-existing --python $(PY) build/docs-env
	$(VENV)/bin/uv pip install --quiet --python build/docs-env/bin/python --require-hashes -r $<
	@touch $@

lock: setup
	bash dependencies/lock.sh $(VENV)/bin/uv

# docs/dependencies.md says what these three are about.
audit: setup
	$(PY) -m dependencies.audit

sbom: setup
	$(PY) -m dependencies.sbom

dependencies: setup
	$(PY) -m dependencies.document

clean:
	rm -rf $(VENV) build *.egg-info
