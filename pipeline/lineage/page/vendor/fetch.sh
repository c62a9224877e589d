#!/usr/bin/env bash
# Fetches the vendored graph libraries again and checks that they are what stands here. Needs npm and a registry.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# fetch PACKAGE VERSION INTEGRITY FILE NAME
fetch() {
  (cd "$work" && npm pack --silent "$1@$2" >name)
  local archive integrity
  archive=$work/$(cat "$work/name")
  integrity="sha512-$(openssl dgst -sha512 -binary "$archive" | openssl base64 -A)"
  if [ "$integrity" != "$3" ]; then echo "$1@$2: the registry gave $integrity, expected $3" >&2; exit 1; fi
  tar xzf "$archive" -C "$work"
  grep -v '^//# sourceMappingURL' "$work/package/$4" >"$5.min.js"
  cp "$work/package/LICENSE" "$5.LICENSE"
  rm -r "$work/package"
}

fetch cytoscape 3.34.4 "sha512-msY99tMY8iWTg+sIPGfSqDcPNOt4xcj+v/K/7qUFaCUxxlqnMkUYLBjRUzn9W5CU/R2hrmtJa5+UtovrEM2ctg==" dist/cytoscape.min.js cytoscape
fetch @dagrejs/dagre 3.1.3 "sha512-X4aUTwOReZvthaZWOVHqlJ52/ZdhZFEM4+Lh/uR4XooUSLE6p71bcy7MPGzYnNUcNh+nj+i/qJQpCMIdQnSmrg==" dist/dagre.min.js dagre
echo "cytoscape 3.34.4 and dagre 3.1.3 are as published"
