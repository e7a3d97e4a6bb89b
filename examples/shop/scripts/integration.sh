#!/usr/bin/env bash
# Talks to the api that was started from the image under test. Gets PLIMSOLL_ADDR_API=host:port and
# PLIMSOLL_IMAGE_API=repository@sha256:... from plimsoll.
set -euo pipefail

api="http://$PLIMSOLL_ADDR_API"
failed=0

# expect WORDS STATUS [CURL ARGUMENTS...] PATH: the answer has the status.
expect() {
  local words=$1 status=$2 found
  shift 2
  found=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time 10 "${@:1:$#-1}" "$api${!#}")
  if [ "$found" = "$status" ]; then
    echo "ok: $words"
  else
    echo "FAILED: $words: status $found instead of $status"
    failed=1
  fi
}

case "$PLIMSOLL_IMAGE_API" in
  *@sha256:????????????????????????????????????????????????????????????????) echo "ok: testing $PLIMSOLL_IMAGE_API" ;;
  *) echo "FAILED: not a digest: $PLIMSOLL_IMAGE_API" && failed=1 ;;
esac
expect "it is healthy" 200 /health
expect "it lists its products" 200 /products
expect "it knows a product" 200 /products/1001
expect "it does not invent products" 404 /products/9999
expect "an order is taken" 201 --data '{"product": 1006, "count": 2}' /orders
expect "what is not there cannot be ordered" 409 --data '{"product": 1006, "count": 1}' /orders
expect "nonsense is refused" 400 --data 'nonsense' /orders
exit "$failed"
