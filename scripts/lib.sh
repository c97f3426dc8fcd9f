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

# Whether as_root will work: root itself, or a sudo that asks nothing.
can_be_root() {
    [ "$(id -u)" = 0 ] || { has sudo && sudo -n true 2>/dev/null; }
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

# install_packages WHAT DEBIAN FEDORA HOMEBREW: installs the Debian packages on Debian and its relatives; anywhere else, or without
# the right to, says what to run and ends. Each list of packages is one argument.
install_packages() {
    if ! has apt-get; then
        if has dnf; then
            die "$1 is missing; run: sudo dnf install $3"
        elif has brew; then
            die "$1 is missing; run: brew install $4"
        fi
        die "$1 is missing; install it with this system's package manager, then run this again"
    fi
    can_be_root || die "$1 is missing; run: sudo apt-get install $2"
    say "installing $1: apt-get install $2"
    # A list of packages, so it is split at its spaces.
    # shellcheck disable=SC2086
    as_root apt-get update -qq >&2 &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $2 >&2 ||
        die "$1 could not be installed, see above; install it by hand: sudo apt-get install $2"
}

# The newest PostgreSQL server on this machine, as its major version; 0 without any. Looks where attune looks.
postgres_major() {
    newest=0
    bindir=$(pg_config --bindir 2>/dev/null || true)
    for initdb in "$(command -v initdb || true)" "$bindir/initdb" /usr/lib/postgresql/*/bin/initdb \
        /usr/lib/postgresql*/bin/initdb /usr/pgsql-*/bin/initdb /usr/local/pgsql/bin/initdb \
        /opt/homebrew/opt/postgresql*/bin/initdb /usr/local/opt/postgresql*/bin/initdb \
        /Applications/Postgres.app/Contents/Versions/*/bin/initdb; do
        [ -x "$initdb" ] || continue
        major=$("$initdb" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
        if [ "${major:-0}" -gt "$newest" ]; then newest=$major; fi
    done
    echo "$newest"
}

need_postgres() {
    if [ "$(postgres_major)" -ge 15 ]; then return 0; fi
    install_packages "PostgreSQL 15 or newer" postgresql postgresql-server postgresql@17
    installed=$(postgres_major)
    if [ "$installed" -ge 15 ]; then return 0; fi
    die "PostgreSQL 15 or newer is needed, but the package of this distribution is version $installed: install a newer one
from the PostgreSQL project's own packages (Debian 12 and Ubuntu 24.04 have one that is new enough)"
}

# A Rust toolchain is not installed behind anybody's back.
need_rust() {
    wanted=$(sed -n 's/^rust-version = "1\.\([0-9]*\).*/\1/p' Cargo.toml)
    if ! has cargo && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH="$HOME/.cargo/bin:$PATH"
        export PATH
    fi
    has cargo || die "cargo is missing: install Rust 1.$wanted or newer with rustup, then run this again"
    version=$(cargo --version) || die "cargo does not run, see above: rustup default stable"
    minor=$(printf '%s\n' "$version" | sed -n 's/^cargo 1\.\([0-9]*\).*/\1/p')
    if [ "${minor:-0}" -lt "$wanted" ]; then
        die "Rust 1.$wanted or newer is needed, this is $version: rustup update stable"
    fi
    if ! has cc; then
        install_packages "a C compiler" "gcc libc6-dev" gcc gcc
    fi
    if ! has make; then install_packages "make" make make make; fi
}

# An SSH server that tests start for themselves; no service is needed.
need_sshd() {
    for sshd in /usr/sbin/sshd /usr/local/sbin/sshd /opt/homebrew/sbin/sshd; do
        if [ -x "$sshd" ] && has ssh; then return 0; fi
    done
    install_packages "OpenSSH" "openssh-client openssh-server" "openssh-clients openssh-server" openssh
}

# uv and mypy, in a virtual environment of the tests' own: target/test-data/python-tools.
need_python_tools() {
    tools=target/test-data/python-tools
    wanted=scripts/python-tools.txt
    # The list is copied last, so an installation that was interrupted is done again.
    if cmp -s "$wanted" "$tools/installed.txt"; then return 0; fi
    has python3 || install_packages "Python" python3 python3 python3
    python3 -c 'import ensurepip' 2>/dev/null || install_packages "Python's venv" python3-venv python3 python3
    say "installing uv and mypy from PyPI"
    rm -rf "$tools"
    mkdir -p target/test-data
    python3 -m venv "$tools" >&2 &&
        "$tools/bin/python" -m pip install --quiet --disable-pip-version-check -r "$wanted" >&2 ||
        die "uv and mypy could not be installed from PyPI, see above"
    cp "$wanted" "$tools/installed.txt"
}

# The oldest Python that the SDK is for, where it is on this machine: on the path, or with pyenv. Nothing is downloaded.
oldest_python() {
    for python in python3.9 "$HOME"/.pyenv/versions/3.9.*/bin/python3.9; do
        if "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 9))' 2>/dev/null; then
            command -v "$python"
            return 0
        fi
    done
    return 1
}

# A container engine for the tests, which give it a directory of its own, and what they make an image of: no registry is
# reached. Containers are Linux.
need_container_engine() {
    [ "$(uname)" = Linux ] || return 0
    # The image has nothing but busybox, so that has to do without libraries. Of the two that run containers for podman, runc
    # needs less of a machine.
    if has podman && { has runc || [ -x /usr/sbin/runc ]; } &&
        has busybox && ! ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>'; then
        return 0
    fi
    install_packages "podman" "podman runc busybox-static" "podman runc busybox" podman
}

# What the tests of the example packs talk to.
need_counterparts() {
    has python3 || install_packages "Python" python3 python3 python
    has unshare || install_packages "unshare" util-linux util-linux util-linux
    if has prometheus-alertmanager || has alertmanager; then return 0; fi
    install_packages "Alertmanager" prometheus-alertmanager golang-github-prometheus-alertmanager alertmanager
}
