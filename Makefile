# The one entry point. Every target is one line; what it does stands in scripts/ or xtask/. CI calls the same targets.
.PHONY: help up down status build test test-kernels bench fuzz fmt lint check-deps figures
SHELL := /bin/bash
.DEFAULT_GOAL := help

help: ## List the targets
	@scripts/help.sh
up: ## Install what is missing, build, start server and agent here, wait until events flow [DETACH=1] [PICKET_STATE=.picket]
	@DETACH='$(DETACH)' scripts/up.sh
down: ## Stop what `make up` started
	@scripts/down.sh
status: ## Say what runs, and what the agent and the server report
	@scripts/status.sh
build: ## Build every program, unoptimised but for the dependencies
	@scripts/build.sh
test: ## Everything that must pass, from a fresh clone; names what it skipped and why
	@scripts/test.sh
test-kernels: ## The probe tests inside guests with Debian's kernels, where virtualisation allows [ONLY=6.12] [PICKET_EMULATE=1]
	@ONLY='$(ONLY)' scripts/test-kernels.sh
bench: ## Take the figures, beside their peers, one JSON object a figure [ONLY=name] [PROFILE=release]
	@ONLY='$(ONLY)' PROFILE='$(PROFILE)' scripts/bench.sh
fuzz: ## Fuzz every parser from the corpus [ONLY=target] [SECONDS=60 each]
	@ONLY='$(ONLY)' SECONDS_EACH='$(SECONDS)' scripts/fuzz.sh
fmt: ## Format the sources
	@cargo fmt --all
lint: ## Format check, lints as errors, rules of the tree
	@scripts/lint.sh
check-deps: ## Who may depend on whom; cargo-deny beside it where it is installed
	@scripts/check-deps.sh
figures: ## Write the tables of SPECIFICATION.md from docs/figures.json
	@cargo xtask figures
