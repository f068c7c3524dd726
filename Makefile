# make demo · make serve · make test · make lint · make bench
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/installed
RUN ?= runs/demo

.PHONY: setup demo serve test lint bench clean-demo

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v[:2] <= (3, 13) else f"found Python {v[0]}.{v[1]}; wanted 3.11 to 3.13: make PYTHON=python3.12 ...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing hallmark into $(VENV) (about 3 minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar off -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

# make demo DATA=<folder> does the same with your photographs: <product>/[<part>/]<genuine|counterfeit>/...
demo: $(STAMP)
	@$(BIN)/hallmark demo --out $(RUN) $(if $(DATA),--data "$(DATA)")

serve: $(STAMP)
	@$(BIN)/hallmark serve --out $(RUN) $(if $(PORT),--port $(PORT))

test: $(STAMP)
	@$(BIN)/python -m pytest $(TESTS)

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports

bench: $(STAMP)
	@for bench in benchmarks/*.py; do echo "== $$bench"; $(BIN)/python $$bench || exit 1; done

clean-demo:
	rm -rf $(RUN)
