# Everything needs Go, and only Go: the linters and generators are built from the
# versions pinned in internal/tools, so that the module itself does not depend on them.

GO ?= go
BENCHCOUNT ?= 6
FUZZTIME ?= 60s

tools := internal/tools/go.mod internal/tools/go.sum

.PHONY: check
check: deps format vet lint deadcode race generated clients ## all that CI runs, about 12 minutes on 2 cores

.PHONY: test
test: ## the tests, quickly
	$(GO) test ./...

# Go cannot know that the catalogue hangs on the program that it builds and runs: it
# must not take an old result from its cache.
.PHONY: race
race: ## the tests under the race detector; the catalogue of faults after the others, as it starts many programs
	$(GO) test -race -timeout 20m $$($(GO) list ./... | grep -v internal/catalogue)
	$(GO) test -race -count=1 -timeout 20m ./internal/catalogue

.PHONY: build
build: ## the program, in bin/
	$(GO) build -trimpath -o bin/chatmux ./cmd/chatmux

.PHONY: generate
generate: ## write generated files anew
	cd internal/tools && $(GO) run ./configschema ../../docs/config.schema.json

.PHONY: generated
generated: ## are the generated files what the code says?
	cd internal/tools && $(GO) test ./...

.PHONY: clients
clients: ## do other people's clients, for Go and for Node.js, run unchanged?
	cd internal/clients && $(GO) test ./...

.PHONY: format
format: bin/tools
	@unformatted=$$(bin/gofumpt -l .); if [ -n "$$unformatted" ]; then \
		echo "not formatted; run bin/gofumpt -w on:"; echo "$$unformatted"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...
	cd internal/tools && $(GO) vet ./...
	cd internal/clients && $(GO) vet ./...

.PHONY: lint
lint: bin/tools
	bin/golangci-lint run ./...

.PHONY: deadcode
deadcode: bin/tools
	@dead=$$(bin/deadcode -test ./...); if [ -n "$$dead" ]; then \
		echo "nothing calls these functions:"; echo "$$dead"; exit 1; fi

.PHONY: bench
bench: bin/tools ## what chatmux costs, end to end; then the benchmarks of the parts, BENCHCOUNT times each
	$(GO) run ./internal/bench
	$(GO) test -run '^$$' -bench . -benchmem -count $(BENCHCOUNT) ./... | tee bin/bench.out
	bin/benchstat bin/bench.out

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "== $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$package; \
		done; done

.PHONY: soak
soak: ## the long tests: those behind the build tag soak
	$(GO) test -race -tags soak -run Soak -timeout 0 -v ./...

.PHONY: deps
deps: ## in CI: install what the tests drive beside Go
	.ci/install-deps

# One file stands for all tools: they are built together, from the pinned versions.
bin/tools: $(tools)
	cd internal/tools && $(GO) build -o ../../bin/ tool
	@touch $@

.PHONY: help
help: ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'
