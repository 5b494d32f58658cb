#!/bin/sh
# Uploads FILE to the tus server at URL with curl, asking for the offset after each failure.
# Usage: upload.sh URL FILE FLAGS_OF_CURL_FOR_THE_BODY...   The body is given on stdin.
set -eu
endpoint=$1 file=$2
shift 2

tus() { curl -sS -H 'Tus-Resumable: 1.0.0' "$@"; }
field() { tr -d '\r' | sed -n "s/^$1: //Ip"; }

size=$(wc -c <"$file")
location=$(tus -D - -o /dev/null -X POST -H "Upload-Length: $size" "$endpoint" | field Location)
case $location in
/*) url=$(echo "$endpoint" | sed 's|\(://[^/]*\)/.*|\1|')$location ;;
*) url=$location ;;
esac

for _ in $(seq 200); do
  offset=$(tus -I "$url" | field Upload-Offset) || true
  if [ "$offset" = "$size" ]; then
    echo "$url"
    exit 0
  fi
  if [ -n "$offset" ]; then
    tail -c "+$((offset + 1))" "$file" |
      tus -v -o /dev/null -X PATCH -H "Upload-Offset: $offset" \
        -H 'Content-Type: application/offset+octet-stream' "$@" "$url" || true
  fi
done
exit 1
