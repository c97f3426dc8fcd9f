#!/bin/sh
# What was given stays out of arguments, which every user of a machine can read: the command too.
set -u

fail() {
    printf 'core.shell: %s\n' "$1" >&2
    exit 2
}

if [ -n "${ATTUNE_ACTION_STDIN:-}" ]; then
    # In the directory of the run, which nobody else can enter; and gone before the command begins.
    umask_before=$(umask)
    umask 077
    printf '%s' "$ATTUNE_ACTION_STDIN" >.attune-stdin || fail "\`stdin\` cannot be kept in $(pwd)"
    umask "$umask_before"
    exec <.attune-stdin
    rm -f .attune-stdin
fi

if [ -n "${ATTUNE_ACTION_CWD:-}" ]; then
    CDPATH='' cd -- "$ATTUNE_ACTION_CWD" || fail "\`cwd\` has to be a directory that the worker may enter"
fi

assignments=
if [ -n "${ATTUNE_ACTION_ENV:-}" ]; then
    # The worker writes {"NAME":"text","OTHER":1} without blanks; in a text only \ and what controls is escaped.
    assignments=$(LC_ALL=C awk '
        function quoted(text) {
            gsub(quote, quote "\"" quote "\"" quote, text)
            return quote text quote
        }
        function digit(character) { return index("0123456789abcdef", tolower(character)) - 1 }
        function refuse(problem) {
            print "core.shell: " problem | "cat >&2"
            refused = 1
            exit 2
        }
        BEGIN {
            quote = sprintf("%c", 39)
            short["n"] = "\n"; short["t"] = "\t"; short["r"] = "\r"; short["b"] = "\b"; short["f"] = "\f"
            short["\""] = "\""; short["\\"] = "\\"; short["/"] = "/"
            rest = substr(ENVIRON["ATTUNE_ACTION_ENV"], 2)
            while (match(rest, /^,?"[^"\\]*":/)) {
                name = substr(rest, 1, RLENGTH)
                rest = substr(rest, RLENGTH + 1)
                sub(/^,?"/, "", name)
                sub(/":$/, "", name)
                if (name !~ /^[A-Za-z_][A-Za-z0-9_]*$/) refuse("`env` has `" name "`, which is no name of a variable")
                value = ""
                if (match(rest, /^[^",}]+/)) {
                    value = substr(rest, 1, RLENGTH)
                    rest = substr(rest, RLENGTH + 1)
                } else {
                    rest = substr(rest, 2)
                    while (match(rest, /^[^"\\]+/) || match(rest, /^\\./)) {
                        piece = substr(rest, 1, RLENGTH)
                        rest = substr(rest, RLENGTH + 1)
                        if (piece !~ /^\\/) value = value piece
                        else if (piece != "\\u") value = value short[substr(piece, 2)]
                        else {
                            code = digit(substr(rest, 3, 1)) * 16 + digit(substr(rest, 4, 1))
                            if (code == 0) refuse("`" name "` in `env` has a character U+0000, which no variable can hold")
                            value = value sprintf("%c", code)
                            rest = substr(rest, 5)
                        }
                    }
                    rest = substr(rest, 2)
                }
                print "export " name "=" quoted(value)
            }
            if (rest != "}") refuse("`env` is not understood; a name in it is no name of a variable")
        }') || exit 2
fi

set -- "$ATTUNE_ACTION_COMMAND" "$assignments"
unset ATTUNE_ACTION_STDIN ATTUNE_ACTION_CWD ATTUNE_ACTION_ENV ATTUNE_ACTION_TIMEOUT assignments umask_before
eval "$2"
export ATTUNE_ACTION_COMMAND="$1"
exec /bin/sh -c 'eval "$ATTUNE_ACTION_COMMAND"'
