#!/bin/sh
# Uploads FILE to the tus server at URL with curl, asking for the offset after each failure.
# Usage: upload.sh URL FILE STORAGE FLAGS_OF_CURL_FOR_THE_BODY...   The body is given on stdin.
# STORAGE is a file that keeps the URL of the upload for the next run, or empty.
set -eu
endpoint=$1 file=$2 storage=$3
shift 3

tus() { curl -sS -H 'Tus-Resumable: 1.0.0' "$@"; }
field() { tr -d '\r' | sed -n "s/^$1: //Ip"; }
say() { echo "{\"event\": \"$1\", \"url\": \"$url\"}"; }

size=$(wc -c <"$file")
if [ -n "$storage" ] && [ -s "$storage" ]; then
  url=$(cat "$storage")
else
  location=$(tus -D - -o /dev/null -X POST -H "Upload-Length: $size" "$endpoint" | field Location)
  case $location in
  /*) url=$(echo "$endpoint" | sed 's|\(://[^/]*\)/.*|\1|')$location ;;
  *) url=$location ;;
  esac
  [ -z "$storage" ] || echo "$url" >"$storage"
fi
say url

for _ in $(seq 200); do
  offset=$(tus -I "$url" | field Upload-Offset) || true
  if [ "$offset" = "$size" ]; then
    say success
    exit 0
  fi
  if [ -n "$offset" ]; then
    tail -c "+$((offset + 1))" "$file" |
      tus -v -o /dev/null --expect100-timeout 20 -X PATCH -H "Upload-Offset: $offset" \
        -H 'Content-Type: application/offset+octet-stream' "$@" "$url" || true
  fi
done
exit 1
