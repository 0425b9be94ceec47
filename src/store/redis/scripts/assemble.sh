#!/bin/sh
#
# Prints the text of a script as Redis gets it: common.lua, what its first line
# names, and itself, without comments and indentation.  What they have in common
# comes first, or where a line of the script says so.
#
#     sh assemble.sh put

set -e

dir=$(dirname "$0")
parts=$(sed -n '1s/^-- uses: //p' "$dir/$1.lua")
place='^ *-- the common parts$'

bare() { sed -e 's/^ *//' -e '/^--/d' -e '/^$/d' "$@"; }

if grep -q "$place" "$dir/$1.lua"; then
    sed "/$place/,\$d" "$dir/$1.lua" | bare
fi

for part in common $parts; do
    bare "$dir/$part.lua"
done

if grep -q "$place" "$dir/$1.lua"; then
    sed "1,/$place/d" "$dir/$1.lua" | bare
else
    bare "$dir/$1.lua"
fi
