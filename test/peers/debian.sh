#!/bin/sh
# Debian as mmdebstrap installs it, made into images as people build theirs: debian.sh DIRECTORY makes there
#   debian       an OCI layout (buildah): "debian" has three layers, of which the second and third install, remove and replace what
#                the lower ones have; "devices" has a layer with device nodes
#   debian-zstd  "debian" with its layers compressed with zstd (skopeo)
# What this script has made is kept, so that a directory that stays is a cache. Needs root. The status is 75 where packages
# cannot be had: there is no network.
set -eu
version=$(sha256sum <"$0")
cd "$1"
[ "$(cat debian.done 2>/dev/null)" != "$version" ] || exit 0
rm -rf debian.done debian debian-zstd debian.tar.part

[ -e debian.tar ] || {
  # Device nodes are left out: images have none, and every container has its own.
  mmdebstrap --quiet --variant=essential --include=adduser --skip=output/dev --format=tar bookworm debian.tar.part || exit 75
  mv debian.tar.part debian.tar
}

storage=$(mktemp -d)
driver=overlay
tool() { buildah --root "$storage/root" --runroot "$storage/run" --storage-driver "$driver" "$@"; }
finish() {
  tool umount --all >"$storage/log" 2>&1 || true
  tool rm --all >"$storage/log" 2>&1 || true
  umount "$storage/root/overlay" 2>/dev/null || true
  rm -rf "$storage"
}
trap finish EXIT
# Where the directory is on an overlay itself, none can be made of it.
tool from scratch >"$storage/log" 2>&1 || driver=vfs

box=$(tool from scratch)
tar -x --numeric-owner --xattrs --xattrs-include='*' -f debian.tar -C "$(tool mount "$box")"
tool config --cmd /bin/bash --env LANG=C.UTF-8 "$box"
tool commit --quiet --rm --format oci "$box" localhost/debian:base >"$storage/log"

box=$(tool from localhost/debian:base)
tool run --isolation chroot "$box" -- sh -ec '
  adduser --disabled-password --gecos "" worker
  dpkg --purge --force-all adduser
  mkdir -p /srv/data/old /srv/replaced
  echo one >/srv/data/old/file
  ln /bin/ls /srv/ls
  install -m 4755 -o worker -g games /bin/true /srv/setuid
  rm -r /usr/share/doc /etc/alternatives' >"$storage/log" 2>&1
tool config --user worker --workingdir /srv "$box"
tool commit --quiet --rm --format oci "$box" localhost/debian:work >"$storage/log"

box=$(tool from localhost/debian:work)
tool run --user root --isolation chroot "$box" -- sh -ec '
  rm -r /srv/data /srv/replaced
  mkdir /srv/data /usr/share/doc
  echo two >/srv/data/new
  echo now a file >/srv/replaced
  chmod 700 /home/worker
  chown -R worker:worker /var/mail
  ln -s ../bin/true /srv/link
  userdel games' >"$storage/log" 2>&1
tool config --entrypoint '["/bin/sh", "-c"]' --cmd '"id -un; pwd"' --stop-signal SIGINT --port 80/tcp --volume /data "$box" 2>"$storage/log"
tool commit --quiet --rm --format oci "$box" localhost/debian:top >"$storage/log"
tool push --quiet localhost/debian:top oci:debian:debian

box=$(tool from localhost/debian:base)
root=$(tool mount "$box")
mkdir -p "$root/dev"
mknod -m 666 "$root/dev/null" c 1 3
mknod -m 600 "$root/dev/disk" b 8 0
echo beside >"$root/dev/file"
tool commit --quiet --rm --format oci "$box" localhost/debian:devices >"$storage/log"
tool push --quiet localhost/debian:devices oci:debian:devices

skopeo --insecure-policy copy --quiet --dest-compress-format zstd --dest-compress oci:debian:debian oci:debian-zstd:debian
echo "$version" >debian.done
