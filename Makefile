PYTHON ?= python3
BIN := .venv/bin

# PyPI's torch for Linux brings several GB of CUDA; PyTorch's own index has a small CPU build.
# Without access to that index the plain registry's torch is taken.
TORCH ?= torch==2.13.0
TORCH_INDEX_URL ?= https://download.pytorch.org/whl/cpu

REST_PORT ?= 8000

.PHONY: demo test setup lint clean

demo: setup
	$(BIN)/export_model text_generation --source_model demos/tiny_chat/model --model_name tiny_chat \
		--weight-format int8 --kv_cache_precision u8 \
		--model_repository_path models --config_file_path models/config.json
	$(BIN)/python demos/chat/run_demo.py --config_path models/config.json --model tiny_chat \
		--rest_port $(REST_PORT)

test: setup lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

setup: .venv/.ready

.venv/.ready: pyproject.toml Makefile
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --no-deps --retries 0 --index-url $(TORCH_INDEX_URL) "$(TORCH)" \
		|| echo "no CPU build at $(TORCH_INDEX_URL): torch comes from the default registry"
	$(BIN)/pip install --quiet --editable ".[export,test]"
	touch $@

clean:
	rm -rf .venv build models
