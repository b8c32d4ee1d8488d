# Everything here starts from a fresh machine: .venv is created or brought up to date first.
# ROS=jazzy takes the wheels of another distribution, into an environment beside it: .venv-jazzy.
ROS ?=
VENV = .venv$(if $(ROS_DISTRO),,$(addprefix -,$(filter-out kilted,$(ROS))))
# The Python that the environment was made with, so that PYTHON= need be given once only.
PYTHON ?= $(or $(wildcard $(VENV)/bin/python),python3)
DURATION ?= 20
MODEL ?=
JOBS ?= 2

# A sourced ROS 2 needs the path of the messages; with wheels .venv knows it.
VENV_PYTHON = $(if $(ROS_DISTRO),. $(VENV)/local_setup.sh &&) . $(VENV)/bin/activate && python

.PHONY: help setup demo test bench fuzz soak signals lint format lock dist clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup:  ## Create or update .venv: ROS 2 (or use the sourced one), dependencies, messages (ROS=jazzy)
	@$(PYTHON) setup_env/setup_env.py $(if $(ROS),--ros $(ROS))

demo: setup  ## Eight simulated cameras through the node, live table and report (DURATION=20 MODEL=m.onnx ARGS='--labels l.txt --source DIR')
	@$(VENV_PYTHON) -m yolox_trt_ros demo --duration $(DURATION) $(if $(MODEL),--model $(MODEL)) $(ARGS)

test: setup  ## Run the tests, two processes at a time (ARGS='-k name', JOBS=1 for one)
	@$(VENV_PYTHON) -m pytest --numprocesses $(JOBS) --dist loadscope --no-loadscope-reorder \
		--max-worker-restart 0 $(ARGS)

bench: setup  ## Run the benchmark: table and JSON (ARGS='...')
	@$(VENV_PYTHON) -m benchmarks $(ARGS)

fuzz: setup  ## Hostile and damaged input for every edge: a table (ARGS='--inputs 1000000', ARGS='bags --seed 7')
	@$(VENV_PYTHON) test/fuzz/harness.py $(ARGS)

soak: setup  ## Eight cameras that stop, change and are killed: memory and counts (ARGS='--seconds 3600')
	@$(VENV_PYTHON) test/soak/soak.py $(ARGS)

signals: setup  ## Start nodes and tools, signal them at random moments: clean ends, nothing left (ARGS='--starts 200')
	@$(VENV_PYTHON) test/ros/signals.py $(ARGS)

lint: setup  ## Check style, types, layers, words and the package's description
	@. $(VENV)/bin/activate && ruff check . && ruff format --check . && mypy && lint-imports
	@$(VENV_PYTHON) -m pytest --quiet --no-header test/test_package.py test/test_words.py

format: setup  ## Rewrite the sources in the project's style
	@. $(VENV)/bin/activate && ruff check --fix-only --quiet . && ruff format .

lock:  ## Resolve the dependencies again after an edit of setup_env/*.in (ARGS=--upgrade)
	@setup_env/lock.sh $(ARGS)

dist: setup  ## Build wheel and sdist into dist/, and try the wheel in an environment of its own
	@setup_env/dist.sh

clean:  ## Remove .venv and all build results
	rm -rf .venv .venv-* build dist
