#!/bin/sh
# Prints a go that go.mod is content with.  Since 1.21 any go fetches the one
# that a module asks for; an older one, as Debian 12 has, is told to.

set -eu

cd "$(dirname "$0")"

go=$(command -v go) || go=/usr/lib/go/bin/go

case $($go env GOVERSION) in
    go1.[0-9]|go1.1[0-9]*|go1.20*) ;;
    *) echo "$go"; exit ;;
esac

wanted=$(sed -n 's/^go //p' go.mod)
cd /
dir=$($go mod download -json \
    "golang.org/toolchain@v0.0.1-go$wanted.$($go env GOOS)-$($go env GOARCH)" \
    | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')

# modules have no executable files
chmod -R u+w "$dir"
chmod +x "$dir"/bin/* "$dir"/pkg/tool/*/*

echo "$dir/bin/go"
