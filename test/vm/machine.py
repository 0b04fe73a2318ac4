#!/usr/bin/env python3
"""Runs a command in this directory, in a small virtual machine: Linux 6.12 with cgroup v2 alone, AppArmor and Landlock.

The machine has this host's files at the same paths. It may write to all of them, and nothing of it stays, but for what
is below --writable. With --user the command is uid 1000, to whom a cgroup subtree is delegated. The status is the
command's; 124 when time is up; 125 when the machine itself has failed.
"""
import argparse
import ctypes
import fcntl
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import kernel
from kernel import HERE, MachineError, say

TIME_IS_UP, MACHINE_FAILED = 124, 125
MOUNT_ATTR_RDONLY, AT_RECURSIVE, AT_FDCWD, SYS_MOUNT_SETATTR, PR_SET_PDEATHSIG = 1, 0x8000, -100, 442, 1
# Of the caller's variables, those that would lead to its own directories and services.
PRIVATE = ("XDG_", "DBUS_", "SSH_", "TMPDIR", "OLDPWD", "HOME", "USER", "LOGNAME", "MAIL", "SHLVL", "_")


def set_read_only(path, read_only, recursive=False):
    set_, clear = (MOUNT_ATTR_RDONLY, 0) if read_only else (0, MOUNT_ATTR_RDONLY)
    attributes = (ctypes.c_uint64 * 4)(set_, clear, 0, 0)
    libc = ctypes.CDLL(None, use_errno=True)
    flags = AT_RECURSIVE if recursive else 0
    if libc.syscall(SYS_MOUNT_SETATTR, AT_FDCWD, path.encode(), flags, ctypes.byref(attributes), ctypes.c_size_t(32)):
        raise OSError(ctypes.get_errno(), "mount_setattr " + path)


def sandbox(run, writable, arguments):
    """Process 1 of namespaces around the kernel: a guest that mounts the host's files itself cannot write there either."""
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    scratch = os.path.join(run, "memory")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=700,size=90%", "tmpfs", scratch], check=True)
    open_to_it = [os.path.join(run, "io")] + ([writable] if writable else [])
    for path in open_to_it:
        subprocess.run(["mount", "--bind", path, path], check=True)
    set_read_only("/", True, recursive=True)
    for path in open_to_it + [scratch]:
        set_read_only(path, False)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TMPDIR": scratch, "HOME": scratch}
    child = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, env=environment, cwd="/")
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


def environment_of(as_user):
    """The caller's variables and the command, as the guest's shell reads them."""
    for name, value in os.environ.items():
        if not name.isidentifier() or name.startswith(PRIVATE) or (as_user and name == "npm_config_cache"):
            continue
        yield "export %s=%s\n" % (name, shlex.quote(value))
    if not as_user:
        yield "export HOME=/root USER=root LOGNAME=root\n"


def pick_processor(cache):
    """One processor for a kernel that is one: hopping between two makes a system call four times slower. With its lock."""
    processors = sorted(os.sched_getaffinity(0), reverse=True)
    for processor in processors:
        lock = open(os.path.join(cache, "cpu%d.lock" % processor), "w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return processor, lock
        except OSError:
            lock.close()
    return processors[0], None


class Tail:
    """Copies what a file gains to a descriptor."""

    def __init__(self, path, descriptor):
        self.file, self.descriptor = open(path, "rb", buffering=0), descriptor

    def copy(self):
        while chunk := self.file.read(65536):
            while chunk:
                chunk = chunk[os.write(self.descriptor, chunk):]


def write(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o755)
    return path


def script(name):
    with open(os.path.join(HERE, name)) as file:
        return file.read()


def prepare_files(io, options, tools):
    directory = os.path.realpath(os.getcwd())
    settings = {"IO": io, "TOOLS": tools, "DIRECTORY": directory, "WRITABLE": options.writable or "",
                "AS_USER": "yes" if options.user else "no"}
    write(io, "settings", "".join("%s=%s\n" % (name, shlex.quote(value)) for name, value in settings.items()))
    write(io, "environment", "".join(environment_of(options.user)) + "COMMAND=(%s)\n" % shlex.join(options.command))
    write(io, "guest", script("guest.sh"))
    for name in ("out", "err"):
        write(io, name, "")
    return write(io, "boot", script("boot.sh").replace("@IO@", io))


def start(run, options, linux, boot, console, processor):
    scratch = os.path.join(run, "memory")
    machine = [linux, "mem=%dM" % options.memory, "rootfstype=hostfs", "rootflags=/", "ro", "init=" + boot, "umid=vm",
               "uml_dir=%s/" % scratch, "con=null", "con0=null,fd:1", "ssl=null", "security=apparmor", "apparmor=1",
               "lsm=landlock,yama,apparmor", "cgroup_no_v1=all", "random.trust_cpu=on"]
    around = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child=KILL", "--propagation", "private"]

    def own_session_and_death():
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        os.sched_setaffinity(0, {processor})
    # Bytecode is not written: the directory may be read-only by then, or the user's.
    inner = [sys.executable, "-B", os.path.realpath(__file__), "--sandbox", run, options.writable or "", *machine]
    return subprocess.Popen(around + inner, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                            preexec_fn=own_session_and_death)


def follow(child, io, limit, signals):
    """Copies the command's output until it has ended, time is up, or somebody says so; its status, None if it has none."""
    end = time.monotonic() + limit
    tails = [Tail(os.path.join(io, "out"), 1), Tail(os.path.join(io, "err"), 2)]
    while True:
        gone = child.poll() is not None  # before the look for a status: it may have been the last thing written
        status = os.path.join(io, "status")
        done = os.path.exists(status)
        for tail in tails:
            tail.copy()
        if done:
            with open(status) as file:
                return int(file.read())
        if gone:
            return None
        if signals:
            return 128 + signals[0]
        if time.monotonic() > end:
            say("time is up after %d s" % limit)
            return TIME_IS_UP
        time.sleep(0.01)


def launch(options):
    linux, tools = kernel.prepare()
    signals = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.append(number))
    run = tempfile.mkdtemp(prefix="tscontain-vm.", dir="/tmp")
    processor, lock = pick_processor(kernel.CACHE)
    child = None
    try:
        io = os.path.join(run, "io")
        os.mkdir(io)
        os.mkdir(os.path.join(run, "memory"))
        boot = prepare_files(io, options, tools)
        with open(os.path.join(run, "console"), "w+b") as console:
            child = start(run, options, linux, boot, console, processor)
            status = follow(child, io, options.limit, signals)
            if status is None:
                console.seek(0)
                sys.stderr.write(console.read()[-6000:].decode("utf-8", "replace"))
                raise MachineError("the machine ended without a status; its console is above")
        return status
    finally:
        if child and child.poll() is None:
            child.kill()  # unshare; process 1 of its namespaces dies with it, and everything with that
        if child:
            child.wait()
        if lock:
            lock.close()
        shutil.rmtree(run, ignore_errors=True)


def main():
    if sys.argv[1:2] == ["--sandbox"]:
        return sandbox(sys.argv[2], sys.argv[3], sys.argv[4:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--user", action="store_true", help="as uid 1000, in a delegated cgroup subtree")
    parser.add_argument("--memory", type=int, default=3072, metavar="MIB", help="of the machine (default: 3072)")
    parser.add_argument("--limit", type=int, default=600, metavar="SECONDS", help="for start and command (default: 600)")
    parser.add_argument("--writable", type=os.path.realpath, metavar="DIRECTORY", help="what is written there stays")
    parser.add_argument("--prepare", action="store_true", help="only build what is missing")
    parser.add_argument("command", nargs="*", help="after --")
    options = parser.parse_args()
    if os.geteuid() or os.uname().machine != "x86_64" or not shutil.which("apt-get"):
        raise MachineError("needs root on Debian, on x86-64")
    if options.prepare:
        kernel.prepare()
        return 0
    if not options.command:
        parser.error("no command")
    return launch(options)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except MachineError as error:
        say(str(error))
        sys.exit(MACHINE_FAILED)
