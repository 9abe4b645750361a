# Everything a contributor runs; `just` lists it.

default:
    @just --list

# All that CI runs.
ci:
    .ci/run

# Unit, integration and parity tests; parity against recordings needs MASKWISE_GOLDENS.
test:
    cargo test --workspace

# Format and lints.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Format in place.
fmt:
    cargo fmt --all

# Rustdoc as CI checks it.
docs:
    RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

# Licences, advisories, duplicates (needs cargo-deny).
deny:
    cargo deny check

# Answers a question with the embedded model.
demo:
    cargo run --release -p maskwise-cli -- segment assets/demo/tabletop-a.jpg "Please point to the part of the scissors that is held in the hand."

# A random READ-7B in the published layout, about 15 GB: for trying whether a machine can hold it.
random-7b folder:
    cargo run --release -p maskwise-models --example random_checkpoint -- 7b tests/tiny-read/model {{folder}}
