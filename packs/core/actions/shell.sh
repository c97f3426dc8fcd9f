#!/bin/sh
exec /bin/sh -c "$ATTUNE_ACTION_COMMAND"
