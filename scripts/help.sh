#!/usr/bin/env bash
# `make help`: every target with the words that stand beside it in the Makefile.
. "$(dirname "$0")/lib.sh"
echo "Picket: what you can make"
sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)$/\1\t\2/p' "$REPO/Makefile" | while IFS=$'\t' read -r name words; do printf '  %-12s %s\n' "$name" "$words"; done
