#!/bin/sh
# Runs a command, then prints how long it took: timed.sh NAME COMMAND...
name=$1
shift
begin=$(date +%s)
"$@"
status=$?
echo "$name: $(($(date +%s) - begin)) s"
exit $status
