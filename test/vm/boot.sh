#!/bin/sh
# The first program in the machine, where / is the host's file system, read-only: puts an overlay over it, so that
# everything can be written to and nothing of it stays, and goes on there.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
export PATH
. @IO@/settings
mount -t proc proc /proc
mount -t tmpfs -o mode=755,size=90% vm /run
mkdir -p /run/b/upper /run/b/work /run/b/root /run/b/tools
mount -t hostfs -o "$TOOLS" none /run/b/tools
mount -t overlay -o lowerdir=/run/b/tools:/,upperdir=/run/b/upper,workdir=/run/b/work root /run/b/root || exit 1
cd /run/b/root || exit 1
mount -t tmpfs -o mode=755,size=50% run run
mkdir -p run/vm/io run/vm/old
mount -t hostfs -o "$IO" none run/vm/io
pivot_root . run/vm/old
exec /bin/bash /run/vm/io/guest
