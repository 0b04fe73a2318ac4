#!/bin/sh
# Builds the launcher: a static program without a C library. Usage: build.sh OUTPUT (run by node-gyp; $CC as set there).
set -eu
here=$(dirname "$0")
output=$1
${CC:-cc} -std=gnu17 -O2 -Wall -Wextra -Werror -Wno-unused-parameter -ffreestanding -fno-stack-protector \
  -fno-asynchronous-unwind-tables -fno-pic -no-pie -static -nostdlib -nostartfiles \
  -Wl,-z,noexecstack -Wl,-z,norelro -Wl,--build-id=none -Wl,--gc-sections -ffunction-sections -s \
  -I "$here" "$here"/*.c -o "$output"
