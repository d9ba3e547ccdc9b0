# Two commands do all the set-up on a fresh machine: make demo, make test. PYTHON=… names another interpreter.
.PHONY: demo test lint format bench dev-cluster images local-cluster e2e

demo:
	@scripts/setup train && scripts/demo

test:
	@scripts/setup train,cluster,operator,cpu,test,bench && scripts/test $(ARGS)

lint:
	@scripts/setup train,cluster,operator,cpu,test,bench && scripts/lint

format:
	@scripts/setup train,cluster,operator,cpu,test,bench && .venv/bin/ruff format . && .venv/bin/ruff check --fix .

bench:
	@scripts/setup train,cluster,operator,cpu,test,bench && scripts/bench $(ARGS)

dev-cluster:
	@scripts/setup operator && scripts/dev-cluster $(ARGS)

images:
	@scripts/setup operator && scripts/images

local-cluster:
	@scripts/setup operator && scripts/local-cluster up

e2e:
	@scripts/setup train,cluster,operator,cpu,test,bench && scripts/e2e $(ARGS)
