PYTHON ?= python3
BIN := .venv/bin
# Most files of the packages are never imported; Python compiles the others when they are.
PIP := $(BIN)/pip install --quiet --no-compile
# Chromium is fetched while Python's packages are.
MAKEFLAGS += --jobs=2

# PyPI's torch for Linux brings several GB of CUDA; PyTorch's own index has a small CPU build.
# Without access to that index the plain registry's torch is taken.
TORCH ?= torch==2.13.0
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu

REST_PORT ?= 8000

.PHONY: browser demo check test zoo clients hostile soak lint bundle setup clean

# Serves the model that the package brings along; needs neither torch nor the tests' packages.
demo: .venv/.serving
	$(BIN)/python demos/chat/run_demo.py --rest_port $(REST_PORT)

# All but what runs a real model, an exporter or a process of its own.
check: lint browser
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal -m "not slow"

# In the order of the folders: the many short files at the end balance the two processes. What fails
# runs once more by itself, since a busy machine can make a test late. Both results are shown. Only
# the exit code 1 says that tests have failed; others, that the run itself has.
test: lint browser
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder || { \
		[ $$? -eq 1 ] && \
		$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 1; }

# Compares every architecture of the zoo with transformers; about 20 minutes.
zoo: setup
	rm -rf build/zoo
	PYTHONPATH=tests:. $(BIN)/python -m model_zoo.table docs/model-zoo.md build/zoo

# Runs the programs of tests/clients with other people's clients, and writes their table; needs npm.
clients: setup
	$(BIN)/python tests/clients/run.py

# Attacks a server with hostile input, and prints a table; `ARGS="--requests 100000"` is the whole.
hostile: setup
	PYTHONPATH=tests:. $(BIN)/python -m hostile.run $(ARGS)

# Mixed traffic with faults, disconnects and reloads for an hour; `ARGS="--minutes 20"` for less.
soak: setup
	PYTHONPATH=tests:. $(BIN)/python -m hostile.soak $(ARGS)

# A Chromium for the tests of the page, where apt may install one; else those tests are skipped.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		timeout 300 apt-get update -qq && \
		DEBIAN_FRONTEND=noninteractive timeout 600 \
			apt-get install -qq --no-install-recommends chromium >/dev/null 2>&1; \
	} || echo "there is no Chromium, and apt cannot install one: the tests of the page are skipped"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --num-workers 2

# Exports the bundled model into the package again.
bundle: setup
	$(BIN)/python demos/tiny_chat/bundle.py

setup: .venv/.ready

.venv/.serving: pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) --editable .
	touch $@

.venv/.ready: .venv/.serving
	$(PIP) --no-deps --retries 0 --index-url $(TORCH_INDEX_URL) "$(TORCH)" \
		|| echo "no CPU build at $(TORCH_INDEX_URL): torch comes from the default registry"
	$(PIP) --editable ".[export,export-images,export-speech,media,ray,test]"
	touch $@

clean:
	rm -rf .venv build models
