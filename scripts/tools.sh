# Sourced by the other scripts: finds the tools they need and installs what is missing, cargo's into target/tools.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools_dir="${IZE_TOOLS_DIR:-$repository/target/tools}"
export PATH="$tools_dir/bin:$PATH"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# cargo_tool NAME VERSION [PROFILE]: that version of a cargo package's program, built once; PROFILE is debug where it is not given.
cargo_tool() {
    local name=$1 version=$2 profile=${3:-debug}
    if [[ "$("$name" --version 2>/dev/null)" == "$name $version" ]]; then return; fi
    CARGO_TARGET_DIR="$tools_dir/build" cargo install --quiet --locked --profile "${profile/debug/dev}" --root "$tools_dir" --version "$version" "$name" \
        || fail "cargo install $name $version"
}

# debian_package PROGRAM PACKAGE: a program, from Debian's package if it is missing.
debian_package() {
    local program=$1 package=$2 attempt
    if command -v "$program" >/dev/null; then return; fi
    for attempt in 1 2 3; do
        if apt-get update -qq >/dev/null 2>&1 &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" >/dev/null 2>&1; then
            return
        fi
        sleep "$attempt"
    done
    fail "$program is missing, and the package $package cannot be installed"
}

# workspace_program PACKAGE NAME: builds a program of the workspace and prints its path.
workspace_program() {
    local package=$1 name=$2
    cargo build --quiet --locked --manifest-path "$repository/Cargo.toml" --package "$package" --bin "$name"
    echo "${CARGO_TARGET_DIR:-$repository/target}/debug/$name"
}

# release_programs: builds all programs of the workspace to be measured, and prints the folder that has them.
release_programs() {
    cargo build --quiet --release --locked --manifest-path "$repository/Cargo.toml" --workspace --bins
    realpath "${CARGO_TARGET_DIR:-$repository/target}/release"
}

# pijul_command [PROFILE]: the command `pijul`: PIJUL where that names one, else what PATH has, else installed, which takes minutes.
pijul_command() {
    local version=1.0.0-beta.26
    if [[ -n "${PIJUL:-}" ]]; then
        mkdir -p "$tools_dir/bin"
        ln -sf "$(realpath "$PIJUL")" "$tools_dir/bin/pijul"
    elif ! command -v pijul >/dev/null; then
        debian_package pkg-config pkg-config
        pkg-config --exists libsodium || apt-get install -y -qq libsodium-dev >/dev/null 2>&1 || fail "libsodium-dev is missing"
        cargo_tool pijul "$version" "$@"
    fi
    [[ "$(pijul --version)" == *"$version"* ]] || fail "this is $(pijul --version), not $version"
}

# pijul_identity KEY: makes who records for the command `pijul`, below HOME, which signs with a key that an agent holds. The
# key is a new file. Whoever calls this ends the agent: kill "$SSH_AGENT_PID".
pijul_identity() {
    debian_package ssh-agent openssh-client
    eval "$(ssh-agent -s)" >/dev/null
    ssh-keygen -q -t ed25519 -N '' -f "$1"
    ssh-add -q "$1"
    pijul identity new --no-link --display-name Tester --email tester@example.org tester </dev/null >/dev/null 2>&1 ||
        fail "pijul identity new"
}
