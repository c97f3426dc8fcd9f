#!/bin/sh
# Parameters come as ATTUNE_ACTION_<NAME>; what is written to standard output becomes the result.
printf '{"greeting": "hello, %s"}\n' "$ATTUNE_ACTION_NAME"
