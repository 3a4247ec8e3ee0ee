#!/bin/sh
# Asks `mercury-lsp serve` to fill in the middle, and prints the JSON answer.
#
#     sh curl_fim.sh [ADDRESS]        # by default http://127.0.0.1:2088
#
# MERCURY_TOKEN holds your token where the server wants one.
set -eu

curl --silent --show-error --fail-with-body "${1:-http://127.0.0.1:2088}/v1/fim/completions" \
     --header "Content-Type: application/json" \
     --header "Authorization: Bearer ${MERCURY_TOKEN:-none}" \
     --data '{"prompt": "def area(width, height):\n    return ", "suffix": "\n", "max_tokens": 32}'
