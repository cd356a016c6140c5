# `make` alone lists the targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-builtin-rules

STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2
# The race detector is for Go code that runs at the same time: the packages
# whose tests keep a device busy would only be slow under it.
DEVICE_PACKAGES := /(cli(/.*)?|engine|engine/vk|shaders_test)$$
# Of the command line, the tests in which streams, jobs and adapters meet.
CLI_AT_ONCE := Requests|Interrupt|Demo|Ordered|Chat|Unified

.PHONY: help
help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 25

.PHONY: demo
demo: setup ## base and adapters of the built-in model, side by side from one batch
	@go run . demo

.PHONY: build
build: ## build ./loquetier
	go build -o loquetier .

.PHONY: test
test: setup tokenizers ## run the tests
	go test -timeout 30m ./...

.PHONY: test-validation
test-validation: ## run the kernels' and engine's tests under the Vulkan validation layer
	@scripts/setup.sh validation
	@scripts/validation.sh

.PHONY: test-long
test-long: setup tokenizers ## run the tests with their long cases
	LOQUETIER_LONG=1 go test -timeout 4h ./...

.PHONY: test-kernels
test-kernels: setup ## run the kernels' tests in all shapes and types
	LOQUETIER_LONG=1 go test -timeout 60m ./shaders_test

.PHONY: test-matrix
test-matrix: setup ## run the tests of the kernels on cooperative matrices, on a newer lavapipe (Debian)
	@scripts/matrix.sh

.PHONY: test-gpu
test-gpu: ## run the tests that use the device, several at a time; DEVICE= and WORKERS=8 choose
	@$(if $(DEVICE),LOQUETIER_DEVICE="$(DEVICE)") WORKERS="$(WORKERS)" scripts/test-gpu.sh

.PHONY: bench
bench: setup ## run the benchmarks (benchstat reads the output)
	go test -run '^$$' -bench . -benchmem ./...

.PHONY: bench-gpu
bench-gpu: ## print the GPU figures of BENCHMARKS.md, with random weights; WHAT="decode train" and DEVICE= choose
	@$(if $(DEVICE),LOQUETIER_DEVICE="$(DEVICE)") scripts/bench-gpu.sh $(WHAT)

.PHONY: shaders
shaders: ## compile the kernels to shaders/spv
	go run ./shaders/gen

.PHONY: check
check: setup tokenizers ## check format, vet, staticcheck, architecture, shaders, go.mod, races, a clean tree
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "run gofmt -w on:" $$unformatted >&2; exit 1; }
	go vet ./...
	$(STATICCHECK) ./...
	go test ./internal/archtest
	go run ./shaders/gen -check
	go mod tidy -diff
	go mod verify
	@$(MAKE) --no-print-directory race
	@dirty=$$(git status --porcelain); [ -z "$$dirty" ] || { printf 'the working tree is not clean:\n%s\n' "$$dirty" >&2; exit 1; }

.PHONY: race
race: setup ## run the tests of what runs at the same time under the race detector
	go test -race -timeout 30m -skip '^(TestRenderIsLimited|TestTrainingGetsWhatIsLeft|TestRowsApart)$$' $$(go list ./... | grep -vE '$(DEVICE_PACKAGES)') # the limit of one is of time, the others are long and about shares
	go test -race -timeout 30m -run '$(CLI_AT_ONCE)' ./cli

.PHONY: clean
clean: ## remove what was built here
	rm -rf loquetier loquetier.exe build

# Quiet where there is nothing to do.
.PHONY: setup tokenizers
setup:
	@scripts/setup.sh
tokenizers:
	@scripts/fetch-tokenizers.sh
