# make demo:     sets everything up in .venv, and shows what this is about.
# make test:     sets everything up in .venv, and runs the tests.
# make test-all: the same, and then the tests that need further packages, or take long.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-slow test-extras clean

demo: .venv/installed
	$(BIN)/ibnseg demo $(DEMO)

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal -m "not slow"

test-all: test test-slow test-extras

test-slow: .venv/installed
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal -m slow

test-extras: .venv/extras
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist worksteal -m "extras or upstream"

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

.venv/extras: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[test,official,export,hf]' segmentation-models-pytorch
	touch $@

clean:
	rm -rf .venv build dist *.egg-info
