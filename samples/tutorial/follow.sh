#!/usr/bin/env bash
# Follows the tutorial as it is written: writes its files, runs its commands, one after the other, and compares what they print
# with what the tutorial says. Run it in an empty folder outside of the checkout: `bash …/samples/tutorial/follow.sh`.
# Needs free ports 8080 and 9070. Takes some minutes: everything is compiled from scratch.
set -uo pipefail
set -m

here=$(cd "$(dirname "$0")" && pwd)
ln -sfn "$(cd "$here/../.." && pwd)" abide
mkdir -p bin
export CARGO_INSTALL_ROOT=$PWD PATH=$PWD/bin:$PATH
failures=0

fail() {
  printf 'NOT AS WRITTEN: %s\n' "$1"
  failures=$((failures + 1))
}

# Whether text $1 is as $2 says, in which `…` is anything.
is_like() {
  local pattern=${2//\\/\\\\}
  pattern=${pattern//\[/\\[} pattern=${pattern//\*/\\*} pattern=${pattern//\?/\\?}
  [[ $1 == ${pattern//…/*} ]]
}

run() {
  local line=$1 expected= output
  [[ $line == *'    # '* ]] && expected=${line##*# }
  printf '\n$ %s\n' "$line"
  case $line in
    'cargo run &')
      cargo run >out.txt 2>&1 &
      until grep -q '^data' out.txt; do
        jobs %% >/dev/null 2>&1 || { cat out.txt; fail "$line"; return; }
        sleep 0.2
      done
      grep -A9 '^ingress' out.txt
      ;;
    'cd '* ) eval "$line" ;;
    'kill '*)
      eval "$line"
      wait 2>/dev/null
      ;;
    *)
      output=$(eval "$line" 2>&1)
      local code=$?
      printf '%s\n' "$output"
      case $expected in
        fails) [[ $output == *'the test fails with a crash'* ]] || fail "$line" ;;
        passes | '') ((code == 0)) || fail "$line" ;;
        *) is_like "$(tail -n 1 <<<"$output" | sed 's/.*\r//')" "$expected" || fail "$line" ;;
      esac
      ;;
  esac
}

block= file= before=
while IFS= read -r line <&3; do
  case $line in
    '```') block= file= ;;
    '```sh') block=sh ;;
    '```rust')
      block=rust file=$(sed -n 's/^`\(src\/[a-z]*\.rs\)`:$/\1/p' <<<"$before")
      : >"$file"
      ;;
    '```'*) block=other ;;
    *)
      case $block in
        sh) run "$line" ;;
        rust) printf '%s\n' "$line" >>"$file" ;;
        '') [[ -n $line ]] && before=$line ;;
      esac
      ;;
  esac
done 3<"$here/../TUTORIAL.md"
printf '\n%s lines are not as written\n' "$failures"
exit "$((failures > 0))"
