# `make run` and `make test` do all of their own set-up, on a bare machine and as any user.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test check tools lint format types pgtap pytest soak stack-test clients-test bench lock psql dsn clean

BIN := .venv/bin
TESTS := PYTHONPATH=tests $(BIN)/python -m

help: ## print this list
	@sed -n 's/^\([a-z.-]*\):.*## \(.*\)/\1\t\2/p' Makefile | awk -F '\t' '{ printf "make %-12s %s\n", $$1, $$2 }'

run: .venv/run.stamp ## start everything, on PORT (3001) and with a database of its own in DATA_DIR (.dev)
	@exec $(BIN)/mana run $(ARGS)

test: tools lint types pgtap pytest ## run the whole gate, as CI does

# What is over in seconds and sees most mistakes; what is left out waits for processes, crashes or a schedule.
QUICK := tests/py/test_problems.py tests/py/api tests/py/tokens tests/py/http/test_attacks.py \
    tests/py/http/test_attacks_http.py tests/py/http/test_bad_input.py tests/py/system/test_readme.py

check: tools lint types pgtap ## run what takes less than two minutes of the gate
	$(BIN)/pytest --numprocesses 3 --dist loadfile $(QUICK)

tools: .venv/test.stamp
	@tests/tools.sh

lint: .venv/test.stamp ## check the style of Python, SQL and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint --disable-progress-bar --processes 0 sql
	@! grep -rnI --include='*.sql' '[[:blank:]]$$' sql tests/sql
	$(BIN)/hadolint postgres/Dockerfile deploy/services/*/Dockerfile tests/stack/stand_ins/Dockerfile

format: .venv/test.stamp ## format Python, functions and policies
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/sqlfluff fix --disable-progress-bar sql/functions sql/policies

types: .venv/test.stamp ## check the static types of the gateway
	$(BIN)/mypy

pgtap: .venv/test.stamp ## run the tests in SQL, in a database of their own
	@find tests/sql -name '*.sql' | grep -q . # pg_prove succeeds without any test
	$(TESTS) harness pg_prove --recurse --ext .sql tests/sql

pytest: .venv/test.stamp ## run the tests in Python
	$(BIN)/pytest --numprocesses 3 --dist loadfile $(ARGS)

soak: .venv/test.stamp tools ## run the long form of a proof; ARGS=--help lists them
	@$(TESTS) proof $(ARGS)

stack-test: .venv/test.stamp ## start docker-compose.yml in containers and use it (as root)
	@tests/tools.sh stack
	$(BIN)/pytest tests/stack -x -s $(ARGS)

clients-test: build/clients/stamp ## let validators and generators of others read tokens and the OpenAPI document
	$(BIN)/pytest tests/clients -x $(ARGS)

CLIENTS := tests/clients/package.json tests/clients/package-lock.json tests/clients/requirements.txt

build/clients/stamp: .venv/test.stamp tests/tools.sh $(CLIENTS)
	@tests/tools.sh clients
	@echo 'installing validators and generators into build/clients' >&2
	@mkdir -p build/clients && cp $(CLIENTS) build/clients
	@$(BIN)/python -m venv --clear build/clients/venv
	@build/clients/venv/bin/pip install --quiet --disable-pip-version-check --requirement tests/clients/requirements.txt
	@npm ci --prefix build/clients --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

bench: .venv/test.stamp ## measure the gateway beside the database that it calls (needs wrk)
	$(TESTS) bench $(ARGS)

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --universal --fork-strategy fewest --python-version 3.11 \
    --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

lock: .venv/test.stamp ## pin the newest packages for the gateway's image
	$(COMPILE) --upgrade --output-file deploy/services/gateway/requirements.txt pyproject.toml
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' | \
	    $(COMPILE) --upgrade --output-file deploy/services/gateway/build-requirements.txt -
	$(COMPILE) --upgrade --output-file tests/clients/requirements.txt tests/clients/requirements.in

.env: | .venv/run.stamp ## write .env for docker compose, every secret drawn at random; an old one stays
	@$(BIN)/mana keys generate --env $(ARGS)

psql: .venv/run.stamp ## open psql on the database of `make run`, as its administrator
	@exec $(BIN)/mana psql $(ARGS)

dsn: .venv/run.stamp ## print the connection string of that database; make -s dsn prints nothing else
	@exec $(BIN)/mana dsn

clean: ## delete what was built and installed here; the database in .dev stays
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist *.egg-info
	find gateway tests -name __pycache__ -prune -exec rm -rf {} +

.venv/run.stamp: .venv/location pyproject.toml
	@echo 'installing Python packages into .venv' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/test.stamp: .venv/location pyproject.toml
	@echo 'installing Python packages into .venv' >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch .venv/run.stamp $@

# A virtual environment cannot be moved, and it breaks without the Python that made it.
ifneq ($(shell $(BIN)/python -c '' 2>/dev/null && cat .venv/location 2>/dev/null),$(CURDIR))
.PHONY: .venv/location
endif

.venv/location:
	@for python in python3.13 python3.12 python3.11 python3 ''; do \
	    $${python:-:} -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'Python 3.11 or newer is needed and was not found (Debian 12, Ubuntu 24.04: apt-get install python3)' >&2; \
	    exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip' 2>/dev/null; then \
	    sudo=; [ "$$(id -u)" = 0 ] || sudo='sudo -n'; \
	    echo "installing $$python-venv with apt-get" >&2; \
	    { $$sudo apt-get update -qq && \
	      $$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $$python-venv \
	    ; } >/dev/null || { \
	        echo "$$python cannot make virtual environments here: sudo apt-get install $$python-venv" >&2; \
	        exit 1; \
	    }; \
	fi; \
	rm -rf .venv && $$python -m venv .venv && pwd -P > .venv/location
