# Every command that a person or CI runs. CI has no step of its own: it calls `make lint test e2e`.

# rustup puts cargo there, and a fresh shell does not know it yet.
export PATH := $(PATH):$(HOME)/.cargo/bin

# Asked when a recipe runs, not before: set-up may install what a feature needs.
FEATURES = --features "$$(scripts/features.sh)"

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-laws lint fmt bless fuzz mutants bench bench-smoke docs manifests image e2e cluster clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## watch the whole job on a real JVM: patch, out of memory, dump, shipped (about 30 s once built)
	@scripts/setup.sh demo
	@echo "building (some minutes the first time)"
	@cargo build --quiet --locked --bins $(FEATURES)
	@cargo run --quiet --locked --bin heapship $(FEATURES) -- demo

test: ## all tests, with real JVMs and a real S3 server
	@scripts/setup.sh test
	@scripts/test.sh

test-laws: ## the laws of the injection on 100,000 generated pods (HEAPSHIP_LAWS_SEED and _PODS repeat a run)
	@scripts/setup.sh test
	HEAPSHIP_LAWS_SEED=$${HEAPSHIP_LAWS_SEED:-$$(date +%s)} HEAPSHIP_LAWS_PODS=$${HEAPSHIP_LAWS_PODS:-100000} \
		cargo test --locked $(FEATURES) --test laws every_law_holds_for_every_pod

lint: ## what a change must pass before its tests: format, spelling, dependencies, file sizes, clippy
	@scripts/setup.sh lint
	cargo fmt --check
	.tools/python/bin/typos
	scripts/file-sizes.sh
	.tools/bin/cargo-deny --all-features check bans licenses sources
	cargo clippy --locked --all-targets $(FEATURES) -- -D warnings
	cargo clippy --locked --test cluster $(FEATURES) -- -D warnings

fmt: ## format the sources and correct the spelling
	@scripts/setup.sh lint
	cargo fmt
	.tools/python/bin/typos --write-changes

fuzz: ## each fuzz target for a minute, or FUZZ_SECONDS (installs cargo-fuzz and a nightly toolchain)
	@scripts/setup.sh fuzz
	cd fuzz && export PATH="$$PWD/../.tools/bin:$$PATH" && for target in $$(cargo fuzz list); do \
		cargo +nightly fuzz run "$$target" -- -max_total_time=$${FUZZ_SECONDS:-60} -timeout=10 || exit 1; done

mutants: ## does a unit test notice when the core is changed: 300 mutants, and the share that is caught (about an hour)
	@scripts/setup.sh mutants
	@scripts/mutants.sh

bench: ## speed as ratios against baselines of the same minutes (release build, many minutes)
	@scripts/setup.sh bench
	cargo bench --locked $(FEATURES)

bench-smoke: ## the shipping benchmark with a small dump and one pair: does it still run, is it still far ahead
	@scripts/setup.sh bench
	cargo bench --locked $(FEATURES) --bench ship -- --smoke

docs: ## the API documentation, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items $(FEATURES)

bless: ## write the generated pages and the expected results of tests anew, for you to review
	HEAPSHIP_BLESS=1 cargo test --locked $(FEATURES) --lib -- inject::tests::cases
	HEAPSHIP_BLESS=1 cargo test --locked $(FEATURES) --test main -- docs

manifests: ## render the kustomize files from the Helm chart (needs helm)
	@scripts/manifests.sh

setup: ## install what the tests need, or say what is missing
	@scripts/setup.sh test

image: ## the container image, as an OCI archive and without a daemon (IMAGE_PROFILE=ci compiles faster)
	@scripts/setup.sh image
	@scripts/image.sh

e2e: ## the suite on a real Kubernetes of this machine (root; FILTER="names of tests", HEAPSHIP_E2E_KEEP=1)
	@scripts/e2e.sh $(FILTER)

cluster: ## only that Kubernetes, to play with: tests/cluster/cluster.sh says what it can do
	@scripts/setup.sh e2e
	@tests/cluster/cluster.sh up

clean: ## remove what was built here; tools that set-up fetched stay in .tools
	cargo clean
