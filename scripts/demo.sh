#!/usr/bin/env bash
# Usage: scripts/demo.sh: trains associative retrieval to its end into runs/demo and shows what was learned. A demo that was
# interrupted goes on where it was, a finished one is shown again. `make demo` builds first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=runs/demo
stpn=build/stpn
file=experiments/retrieval/stpn.json

if [ ! -x "$stpn" ]; then
    echo "scripts/demo.sh: there is no $stpn; run make first" >&2
    exit 2
fi

if [ -e "$run/summary.json" ]; then
    echo "$run is trained already. To start anew: rm -r $run && make demo"
else
    echo "A sequence such as c9k8j3??k asks for the value that stood behind a key: here it is 8."
    echo "Eleven neurons whose synapses remember for a moment learn to answer, from 100,000 such sequences."
    echo "That takes a few minutes. Ctrl-C interrupts it, and make demo goes on."
    echo
    status=0
    "$stpn" train "$file" --out "$run" --resume >/dev/null || status=$?
    if [ "$status" -eq 2 ]; then echo "To start anew: rm -r $run && make demo" >&2; fi
    if [ "$status" -ne 0 ]; then exit "$status"; fi
fi
echo
"$stpn" eval "$run"
cat <<EOF

What to try next:
  $stpn inspect $run
      how long the synapses have learned to remember
  $stpn train $file --set units.0.hidden=6 --out runs/six
      whether six neurons are enough
  $stpn bench
      how fast this machine is
  $stpn help
      everything else
EOF
