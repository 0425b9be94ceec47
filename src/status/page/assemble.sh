#!/bin/sh
#
# Prints the status location's page as a string of C: page.html with its style
# and its scripts in it, without comments and indentation.
#
#     sh assemble.sh

set -e

cd "$(dirname "$0")"

# What is in a line of its own goes, /* */ and // comments; and "?" is escaped,
# since "??" begins a trigraph.

{
    sed '/^<style>$/q' page.html
    cat page.css
    sed -n '/^<\/style>$/,/^<script>$/p' page.html
    cat text.js plot.js mailboxes.js page.js
    sed -n '/^<\/script>$/,$p' page.html
} | sed -e 's/^ *//' -e '/^\/\//d' -e '/^\/\*.*\*\/$/d' -e '/^$/d' \
        -e 's/[\\"?]/\\&/g' -e 's/.*/    "&\\n"/' \
  | {
    echo 'static u_char  ngx_http_academy_page[] ='
    cat
    echo '    "";'
}
