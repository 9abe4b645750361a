#!/usr/bin/env bash
# The grid of the paper's Table 8 at a small size: the same weights evaluated with other thresholds and numbers of points.
#   configs/mini/table-8/run.sh MODEL OUT [questions]
set -euo pipefail
model=$(cd "$1" && pwd) out=$2 questions=${3:-1000}
settings=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/../table-6/both-with-dtoc.json
maskwise=${MASKWISE:-maskwise}
mkdir -p "$out"
for points in 4 12 24; do
  for thresholds in "0.8 0.2" "0.7 0.3" "0.6 0.4"; do
    read -r t_pos t_neg <<<"$thresholds"
    name=$points-points-$t_pos-$t_neg
    [ -f "$out/$name.md" ] && continue
    folder=$(mktemp -d)
    cp -r "$model"/. "$folder"
    sed "s/\"num_points\": 12/\"num_points\": $points/; s/\"t_pos\": 0.8/\"t_pos\": $t_pos/; s/\"t_neg\": 0.2/\"t_neg\": $t_neg/" \
      "$settings" >"$folder/maskwise.json"
    "$maskwise" eval tabletop --model "$folder" --count "$questions" --quiet >"$out/$name.md"
    rm -rf "$folder"
    tail -n 2 "$out/$name.md" | sed "s/^/$name /"
  done
done
