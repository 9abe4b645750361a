#!/usr/bin/env bash
# The rows of the paper's Table 6 from one trunk, each with three seeds: trains, merges and evaluates, and leaves one table a run.
#   configs/mini/table-6/run.sh TRUNK OUT [questions]
# TRUNK is a model folder, OUT takes runs and results. What is there already is not done again, so it can be stopped and started.
set -euo pipefail
trunk=$(cd "$1" && pwd) out=$2 questions=${3:-1000}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
maskwise=${MASKWISE:-maskwise}
mkdir -p "$out"
for seed in 1 2 3; do
  for row in seg-only points-only both-without-dtoc both-with-dtoc; do
    name=$row-$seed start=$out/$row-start
    [ -f "$out/$name.md" ] && continue
    if [ ! -d "$start" ]; then
      cp -r "$trunk" "$start"
      cp "$here/$row.json" "$start/maskwise.json"
    fi
    sed "s#TRUNK#$start#; s#RUN#$out/$name#; s#^seed = 1#seed = $seed#" "$here/recipe.toml" >"$out/$name.toml"
    rm -rf "${out:?}/$name" "$out/$name-model"
    "$maskwise" train "$out/$name.toml" --quiet
    "$maskwise" merge "$out/$name" -o "$out/$name-model" --checkpoint last --quiet
    "$maskwise" eval tabletop --model "$out/$name-model" --count "$questions" --accept-random --quiet >"$out/$name.part"
    mv "$out/$name.part" "$out/$name.md"
    grep '^| all' "$out/$name.md" | sed "s/^/$name /"
  done
done
