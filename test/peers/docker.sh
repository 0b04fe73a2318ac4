#!/bin/sh
# Docker, where it is not installed: docker.sh DIRECTORY unpacks there the packages of Debian that have it, in "docker". Nothing is
# installed, and no service started. The status is 75 where packages cannot be had: there is no network.
set -eu
cd "$1"
[ ! -e docker.done ] || exit 0
rm -rf docker docker-packages
mkdir docker docker-packages
(cd docker-packages && apt-get download --quiet docker.io containerd runc >log 2>&1) || {
  tail -1 docker-packages/log >&2
  exit 75
}
for package in docker-packages/*.deb; do dpkg -x "$package" docker; done
rm -r docker-packages
touch docker.done
