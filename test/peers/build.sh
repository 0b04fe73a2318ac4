#!/bin/sh
# Images by other people's tools: build.sh DIRECTORY makes there, of this system's essential packages (so it is Debian or
# one like it),
#   layout          an OCI layout (umoci), tags "one" (the base) and "many" (layers with whiteouts, opaque directories, and
#                   all that a tree can have)
#   layout-zstd     the same images, layers compressed with zstd (skopeo)
#   many.docker.tar the image "many" as `docker save` writes it
#   many.oci.tar    the same as an OCI archive
# What this script has made is kept, so that a directory that stays is a cache. Needs root.
set -eu
version=$(sha256sum <"$0")
cd "$1"
[ "$(cat done 2>/dev/null)" != "$version" ] || exit 0
rm -rf done layout layout-zstd bundle ./*.docker.tar ./*.oci.tar

# The files of the packages that every system has, from this one; where /bin is a link, by the names that they have in /usr.
[ -e base.tar ] || {
  dpkg-query -W -f '${Essential} ${Package}\n' | sed -n 's/^yes //p' | xargs dpkg -L |
    sed -nE 's,^/(bin|sbin|lib[^/]*)/,/usr/\1/,; s,^/([^.]),\1,p' | sort -u >base.list
  tar -c --numeric-owner --no-recursion --ignore-failed-read --warning=no-failed-read -C / -T base.list -f base.tar.part
  mv base.tar.part base.tar
}

umoci init --layout layout
umoci new --image layout:one
umoci unpack --image layout:one bundle
tar -x --numeric-owner --xattrs --xattrs-include='*' -f base.tar -C bundle/rootfs
umoci repack --image layout:one bundle
rm -rf bundle

# A layer that adds everything.
umoci unpack --image layout:one bundle
root=bundle/rootfs
mkdir -p $root/srv/many $root/srv/a/b $root/srv/opaque/old $root/srv/gone $root/srv/inserted/old
i=0
while [ $i -lt 10000 ]; do
  echo "content of $i" >"$root/srv/many/file-$i"
  i=$((i + 1))
done
echo linked >$root/srv/a/name
ln $root/srv/a/name $root/srv/a/b/other-name
ln $root/srv/a/name $root/srv/last-name
ln -s ../nowhere $root/srv/a/dangling
cp -p $root/bin/true $root/srv/setuid
chown 1000:2000 $root/srv/setuid
chmod 6755 $root/srv/setuid
cp -p $root/bin/true $root/srv/capable
setcap cap_net_bind_service+ep $root/srv/capable
echo x >$root/srv/attributes
setfattr -n user.note -v 'a value' $root/srv/attributes
touch "$root/srv/$(printf 'latin-\351-\377')" "$root/srv/$(printf 'tab\tand\nnewline')"
mkfifo $root/srv/fifo
mkdir -m 1777 $root/srv/sticky
echo old >$root/srv/opaque/old/file
echo gone >$root/srv/gone/file
echo replaced >$root/srv/becomes-directory
TZ=UTC touch -d '2001-02-03 04:05:06.789' $root/srv/attributes
umoci repack --image layout:many bundle
rm -rf bundle

# A layer that takes away, and puts other things in the place.
umoci unpack --image layout:many bundle
rm -r $root/srv/gone $root/srv/opaque $root/srv/a/b/other-name $root/usr/share/doc
mkdir -p $root/srv/opaque/new $root/usr/share/doc/new
rm $root/srv/becomes-directory
mkdir $root/srv/becomes-directory
echo in >$root/srv/becomes-directory/file
chmod 700 $root/srv/sticky
umoci repack --image layout:many bundle
rm -rf bundle

# A directory that a layer makes opaque. Times are whole seconds in umoci's archives (rounded); here they are exact.
mkdir -p opaque/srv/many
touch opaque/srv/many/.wh..wh..opq
echo only >opaque/srv/many/only
TZ=UTC touch -d '2001-02-03 04:05:06.789' opaque/srv/many/only opaque/srv/many
tar -c --format=posix --numeric-owner -C opaque -f opaque.tar srv/many
umoci raw add-layer --image layout:many opaque.tar
rm -r opaque opaque.tar

# And one by `umoci insert`, whose archive (umoci 0.4.7) has neither padding nor an end.
mkdir inserted
echo inserted >inserted/only
umoci insert --image layout:many --opaque inserted /srv/inserted
rm -r inserted

umoci config --image layout:many --config.entrypoint /bin/sh --config.env A=1 --config.workingdir /srv --config.user 1000:2000

for tag in one many; do
  skopeo --insecure-policy copy --quiet --dest-compress-format zstd --dest-compress oci:layout:$tag oci:layout-zstd:$tag
done
skopeo --insecure-policy copy --quiet oci:layout:many docker-archive:many.docker.tar:example.org/many:latest
skopeo --insecure-policy copy --quiet oci:layout:many oci-archive:many.oci.tar:many
echo "$version" >done
