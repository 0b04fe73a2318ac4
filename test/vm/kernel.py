"""The machine's kernel, and the programs that only the machine needs: made once, from Debian's packages, and cached.

The kernel is Debian's source of Linux, built as a program (user-mode Linux): it needs no hardware virtualisation, boots
in a second, and runs user code at full speed. See kernel.config, and kernel.patch for the one thing that is mended.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "run-in-vm")
LOG = os.path.join(CACHE, "prepare-uml.log")
SOURCE = "linux-source-6.12"
TOOLS = "tools-2"


class MachineError(Exception):
    """The machine could not be prepared, or failed by itself; what was to run in it may be all right."""


def say(message):
    print("test:vm: " + message, file=sys.stderr, flush=True)


def run(command, cwd=None, limit=1800):
    """Runs a command, whose output goes to the log; an error has the end of it."""
    with open(LOG, "ab") as log:
        log.write(("\n$ %s\n" % (command if isinstance(command, str) else shlex.join(command))).encode())
        log.flush()
        environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
        done = subprocess.run(command, shell=isinstance(command, str), cwd=cwd, stdin=subprocess.DEVNULL, stdout=log,
                              stderr=log, timeout=limit, env=environment)
    if done.returncode:
        with open(LOG, "rb") as log:
            end = log.read()[-1500:].decode("utf-8", "replace")
        raise MachineError("status %d: %s\n%s" % (done.returncode, command, end))


def apt(*arguments, cwd=None):
    """apt-get; once more with new lists if it does not know the package, or only a version that is gone."""
    command = ["apt-get", "-q", "-y", "-o", "DPkg::Lock::Timeout=120", "-o", "APT::Sandbox::User=root", *arguments]
    try:
        run(command, cwd)
    except MachineError:
        run(["apt-get", "-q", "update"])
        run(command, cwd)


def install(programs):
    """Installs the packages of programs that are missing."""
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    missing = sorted({package for program, package in programs.items() if not shutil.which(program, path=path)})
    if missing:
        say("install " + " ".join(missing))
        apt("install", "--no-install-recommends", *missing)


def download(package, directory):
    apt("download", package, cwd=directory)
    return glob.glob(os.path.join(directory, package + "_*.deb"))[0]


@contextlib.contextmanager
def cached(name):
    """A directory of the cache to fill: None if it is there already, and there as a whole or not at all."""
    final = os.path.join(CACHE, name)
    if os.path.exists(os.path.join(final, ".done")):
        yield None
        return
    directory = tempfile.mkdtemp(prefix=name + ".", dir=CACHE)
    try:
        yield directory
        open(os.path.join(directory, ".done"), "w").close()
        shutil.rmtree(final, ignore_errors=True)
        os.rename(directory, final)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def tools():
    """AppArmor's programs and kmod, unpacked for the machine and not installed on this host."""
    with cached(TOOLS) as directory:
        for package in ("apparmor", "libapparmor1", "kmod", "libkmod2") if directory else ():
            archive = download(package, directory)
            run(["dpkg-deb", "-x", archive, directory])
            os.unlink(archive)
        for name in ("bin", "sbin", "lib") if directory else ():  # Debian 12 has them below usr
            run("[ ! -d %s ] || { mkdir -p usr/%s && cp -a %s/. usr/%s/ && rm -rf %s; }" % ((name,) * 5), directory)
    return os.path.join(CACHE, TOOLS)


def options():
    """What kernel.config asks for: lines of a .config."""
    with open(os.path.join(HERE, "kernel.config")) as file:
        words = [word for line in file if not line.startswith("#") for word in shlex.split(line, posix=False)]
    for word in words:
        if word.startswith("-"):
            yield "# CONFIG_%s is not set" % word[1:]
        else:
            yield "CONFIG_" + (word if "=" in word else word + "=y")


def fits(config):
    """Whether a kernel that was built before has every option that is asked for, however it was made."""
    with open(config) as file:
        lines = set(file.read().splitlines())
    wanted = [line for line in options() if line.endswith("=y")]
    return all(line in lines for line in wanted)


def build(directory):
    say("build a user-mode kernel from %s: once, some minutes (%s)" % (SOURCE, LOG))
    install({"gcc": "gcc", "make": "make", "flex": "flex", "bison": "bison", "bc": "bc", "xz": "xz-utils",
             "patch": "patch"})
    archive = download(SOURCE, directory)
    run("dpkg-deb --fsys-tarfile %s | tar -xOf - ./usr/src/%s.tar.xz | xz -T0 -dc | tar -xf -"
        % (shlex.quote(archive), SOURCE), directory)
    os.unlink(archive)
    source, objects = os.path.join(directory, SOURCE), os.path.join(directory, "objects")
    run(["patch", "-p1", "-i", os.path.join(HERE, "kernel.patch")], source)
    os.mkdir(objects)
    with open(os.path.join(objects, ".config"), "w") as file:
        file.writelines(line + "\n" for line in options())
    make = ["make", "-C", source, "ARCH=um", "O=" + objects]
    run(make + ["olddefconfig"])
    run(make + ["-j%d" % (os.cpu_count() or 1), "linux"], limit=3000)
    run(["strip", "-o", os.path.join(directory, "linux"), os.path.join(objects, "linux")])
    shutil.copy(os.path.join(objects, ".config"), os.path.join(directory, "config"))
    shutil.rmtree(source)
    shutil.rmtree(objects)


def kernel():
    """The kernel's path. One that was built otherwise is taken if it has all that is needed; ours has the patch."""
    digest = hashlib.sha256()
    for name in ("kernel.config", "kernel.patch"):
        with open(os.path.join(HERE, name), "rb") as file:
            digest.update(file.read())
    name = "uml-" + digest.hexdigest()[:10]
    candidates = [os.path.join(CACHE, name)] + sorted(glob.glob(os.path.join(CACHE, "uml-*")))
    for directory in candidates:
        if os.path.exists(os.path.join(directory, ".done")) and fits(os.path.join(directory, "config")):
            return os.path.join(directory, "linux")
    with cached(name) as directory:
        build(directory)
    return os.path.join(CACHE, name, "linux")


def prepare():
    """Whatever is missing; the paths of the kernel and of the tools."""
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            install({"unshare": "util-linux", "setpriv": "util-linux", "ip": "iproute2", "nft": "nftables",
                     "newuidmap": "uidmap"})
            return kernel(), tools()
        except subprocess.TimeoutExpired as error:
            raise MachineError(str(error)) from error
