#!/bin/bash
# Process 1 of the machine: mounts what a distribution mounts, makes cgroups as systemd would, runs the command in one of
# them (as root, or as a user to whom a subtree is delegated), leaves its status behind, and turns the machine off.
io=/run/vm/io
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
. $io/settings # DIRECTORY, WRITABLE, AS_USER
cd /
ulimit -Hn 524288
ulimit -Sn 1024

mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t devtmpfs -o nosuid,mode=755 devtmpfs /dev
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o nosuid,noexec,gid=5,mode=620,ptmxmode=666 devpts /dev/pts
[[ -c /dev/ptmx ]] || ln -sf pts/ptmx /dev/ptmx
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs /dev/shm
mount -t mqueue -o nosuid,nodev,noexec mqueue /dev/mqueue
ln -sfn /proc/self/fd /dev/fd
for n in 0:stdin 1:stdout 2:stderr; do ln -sf "/proc/self/fd/${n%:*}" "/dev/${n#*:}"; done
[[ ! -e /dev/fuse ]] || chmod 666 /dev/fuse
mount -t securityfs -o nosuid,nodev,noexec securityfs /sys/kernel/security
mount -t bpf -o nosuid,nodev,noexec,mode=700 bpf /sys/fs/bpf

# Temporary directories are empty ones, in which an overlay may have its upper directory. The working directory stays,
# also where it is below one of them.
mkdir -p /run/vm/keep
mount --bind "$DIRECTORY" /run/vm/keep
for directory in /tmp /var/tmp; do mount -t tmpfs -o nosuid,nodev,mode=1777,size=75% tmpfs $directory; done
mkdir -p "$DIRECTORY"
mount --move /run/vm/keep "$DIRECTORY"
[[ -z $WRITABLE ]] || mount -t hostfs -o "$WRITABLE" none "$WRITABLE"
umount -l /run/vm/old

# Cgroup v2 alone. Every controller is handed down to where the command runs.
root=/sys/fs/cgroup
mount -t cgroup2 -o nosuid,nodev,noexec,nsdelegate,memory_recursiveprot cgroup2 $root
hand_down() {
  local controller
  for controller in $(<"$1/cgroup.controllers"); do echo "+$controller" >"$1/cgroup.subtree_control"; done 2>/dev/null
}
mkdir $root/init.scope
echo 1 >$root/init.scope/cgroup.procs
hand_down $root

ip link set lo up
echo vm >/proc/sys/kernel/hostname
mount --make-rshared /

as=()
cd "$DIRECTORY" || exit
if [[ $AS_USER == yes ]]; then
  name=$(getent passwd 1000 | cut -d: -f1)
  if [[ -z $name ]]; then
    name=vm
    getent group 1000 >/dev/null || echo vm:x:1000: >>/etc/group
    echo vm:x:1000:1000:vm:/home/vm:/bin/bash >>/etc/passwd
  fi
  # No ids are granted: test/integration/rootless.test.ts grants some to a user of its own.
  : >/etc/subuid
  : >/etc/subgid
  export HOME=/home/$name USER=$name LOGNAME=$name XDG_RUNTIME_DIR=/run/user/1000
  mkdir -p "$HOME" $XDG_RUNTIME_DIR
  mount -t tmpfs -o nosuid,nodev,mode=700,uid=1000,gid=1000,size=50% tmpfs "$HOME"
  mount -t tmpfs -o nosuid,nodev,mode=700,uid=1000,gid=1000,size=20% tmpfs $XDG_RUNTIME_DIR
  # The project, where the user can reach it whoever owns the directories above it.
  mkdir "$HOME/project"
  mount --rbind "$DIRECTORY" "$HOME/project"
  cd "$HOME/project" || exit
  # As systemd does for user@1000.service with Delegate=yes: the user owns it and all below it.
  slice=$root/user.slice/user-1000.slice
  mkdir -p $slice
  service=$slice/user@1000.service
  cgroup=$service/app.slice/run.scope
  mkdir -p $cgroup
  for directory in $root/user.slice $slice $service $service/app.slice; do hand_down $directory; done
  for directory in $service $service/app.slice $cgroup; do
    chown 1000:1000 $directory $directory/cgroup.{procs,threads,subtree_control}
  done
  as=(setpriv --reuid 1000 --regid 1000 --init-groups --inh-caps=-all)
else
  cgroup=$root/system.slice/run.scope
  mkdir -p $cgroup
  hand_down $root/system.slice
fi

mkfifo -m 666 /run/vm/out /run/vm/err
cat </run/vm/out >>$io/out &
out=$!
cat </run/vm/err >>$io/err &
err=$!
(
  echo "$BASHPID" >$cgroup/cgroup.procs
  . $io/environment
  exec setsid "${as[@]}" "${COMMAND[@]}"
) </dev/null >/run/vm/out 2>/run/vm/err &
wait $!
status=$?
# What is left in the pipes; no longer if something still holds them.
for _ in {1..40}; do
  kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
  sleep 0.02
done
echo $status >$io/status.new && mv $io/status.new $io/status
sync
exec perl -e 'syscall 169, 0xfee1dead, 672274793, 0x4321fedc, 0' # reboot(2): power off
