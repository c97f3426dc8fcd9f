# What the scripts share; sourced by them. POSIX sh.

say() {
    printf '\n== %s\n' "$*" >&2
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

has() {
    command -v "$1" >/dev/null 2>&1
}

# Runs a command as root: as it is, or through a sudo that asks nothing. Fails without either.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif has sudo && sudo -n true 2>/dev/null; then
        sudo -n "$@"
    else
        return 1
    fi
}

# install_packages WHAT-FOR PACKAGE...: installs Debian packages, or says what to install and ends.
install_packages() {
    purpose=$1
    shift
    has apt-get || die "$purpose is missing, and this is not a Debian or Ubuntu: install it, then run this again"
    say "installing $purpose: $*"
    export DEBIAN_FRONTEND=noninteractive
    if as_root apt-get update -qq >&2 && as_root apt-get install -y -qq --no-install-recommends "$@" >&2; then
        return 0
    fi
    die "$purpose is missing and could not be installed; run: sudo apt-get install $*"
}

# The newest PostgreSQL binaries on this machine, as their major version; 0 without any.
postgres_major() {
    newest=0
    for initdb in "$(command -v initdb || true)" /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] || continue
        major=$("$initdb" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
        [ "$major" -gt "$newest" ] && newest=$major
    done
    echo "$newest"
}

need_postgres() {
    [ "$(postgres_major)" -ge 15 ] && return 0
    install_packages "PostgreSQL" postgresql
    [ "$(postgres_major)" -ge 15 ] && return 0
    die "PostgreSQL 15 or newer is needed, and this distribution has $(postgres_major): install a newer one (Debian 12 and
Ubuntu 24.04 have it), or run attune against another server with DATABASE_URL"
}

# A Rust toolchain is not installed behind anybody's back.
need_rust() {
    if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
        export PATH
    fi
    has cargo || die "cargo is missing: install a Rust toolchain (1.94 or newer) with rustup, then run this again"
    has cc || install_packages "a C compiler (the linker of Rust programs)" gcc libc6-dev
}
