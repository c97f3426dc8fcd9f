#!/bin/sh
set -eu

# Text as a JSON string.
quote() {
    printf '"%s"' "$(printf '%s' "$1" | LC_ALL=C tr '[:cntrl:]' ' ' | LC_ALL=C sed 's/["\\]/\\&/g')"
}

case $ATTUNE_ACTION_MOOD in
    curious) reply='Then ask me why: I remember every event, every rule and every condition.' ;;
    tired) reply='Then rest: I stay awake, even when somebody pulls the plug.' ;;
    happy) reply='So am I: that was one event, one decision and one run, exactly.' ;;
    unspoken) reply='And how are you? Tell me your mood next time.' ;;
    *) reply='I only know curious, tired and happy. Teach me more of them in greet.sh.' ;;
esac

printf 'somebody said hello: %s\n' "$ATTUNE_ACTION_NAME" >&2
printf '{"greeting": %s, "reply": %s}\n' "$(quote "Hello, $ATTUNE_ACTION_NAME!")" "$(quote "$reply")"
