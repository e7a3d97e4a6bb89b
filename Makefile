# Each target is one script or one cargo command; `make demo` and `make test` are all one needs.

.PHONY: demo test lint dist peers differential emulation bench clean-demo

demo: ## the main job on examples/shop; everything lies in .demo/
	scripts/demo

test: ## all tests
	scripts/test

lint: ## formatting, clippy, and what comes in from outside
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --quiet -- -D warnings
	@if command -v cargo-deny >/dev/null; then cargo deny --all-features check bans licenses sources; else echo "skipped: cargo-deny is not installed"; fi

dist: ## dist/plimsoll, one static binary
	scripts/dist

peers: ## the suites against Docker, skopeo, Debian's registry and an S3 server
	peers/run
	peers/s3

differential: ## the same Dockerfiles built here and with BuildKit, images compared
	python3 peers/differential

emulation: ## steps for arm64 through qemu, nothing registered with the machine
	peers/emulation

bench: ## the figures in benches/README.md, against Docker and skopeo
	benches/run

clean-demo:
	rm -rf .demo
