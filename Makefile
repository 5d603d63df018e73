# One line a target: the work is in `cargo xtask`, which says the same with `cargo xtask help`.
# Arguments go through ARGS: `make up ARGS=--detach`.
.DEFAULT_GOAL := help
.PHONY: up test bench bench-events bench-gateway bench-judge chaos lint gen audit help

up: ## build the platform and run it with the embedded default
	@cargo xtask up $(ARGS)

test: ## install what the tests need, then pass everything CI passes
	@cargo xtask ci $(ARGS)

bench: ## measure a release build and write docs/benchmarks.md
	@cargo xtask bench $(ARGS)

bench-events: ## the same for events alone: relay, JetStream, replay, retention
	@cargo xtask bench events kept $(ARGS)

bench-gateway: ## the same for the gateway: CPU and isolation beside nginx and HAProxy
	@cargo xtask bench gateway $(ARGS)

bench-judge: ## the same for the judge of releases: simulated rollouts, beside a fixed threshold and Mann-Whitney
	@cargo xtask bench judge $(ARGS)

chaos: ## break the event engine in every known way; writes its report into docs/reliability.md
	@cargo xtask chaos $(ARGS)

lint: ## formatting, clippy, tidy, licences, secrets; no tests
	@cargo xtask lint $(ARGS)

gen: ## write the generated reference, completions, man pages and OpenAPI files
	@cargo xtask gen $(ARGS)

audit: ## look every dependency up in the advisory database
	@cargo xtask audit $(ARGS)

help: ## this table
	@cargo xtask help
