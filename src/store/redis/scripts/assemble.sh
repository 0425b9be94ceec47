#!/bin/sh
#
# Prints the text of a script as Redis gets it: common.lua, what its first line
# names, and itself, without comments and indentation.
#
#     sh assemble.sh put

set -e

dir=$(dirname "$0")
parts=$(sed -n '1s/^-- uses: //p' "$dir/$1.lua")

for part in common $parts "$1"; do
    sed -e 's/^ *//' -e '/^--/d' -e '/^$/d' "$dir/$part.lua"
done
