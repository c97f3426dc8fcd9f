#!/bin/sh
set -eu
printf '%s %s\n' "$ATTUNE_ACTION_TEXT" "$ATTUNE_ACTION_URL"
