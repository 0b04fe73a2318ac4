#!/usr/bin/env python3
"""npm run test:vm: the tests that a unified cgroup hierarchy, AppArmor, another kernel or an ordinary user can make a
difference to, in virtual machines: as root, and as a user with a delegated cgroup subtree.

    npm run test:vm [-- root|user|prepare] [test files]

Each file has a machine of its own, which starts in a second; as many run at once as there are processors. A machine that
fails by itself is tried again, and a test that fails once more in the same machine, which is slow and has one processor: the
report then says `(retry x1)`. There is a limit of time for each file and for all. Ends with the counts,
which are also in build/vm/root.json and build/vm/user.json.
"""
import collections
import concurrent.futures
import glob
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
REPORTS = "build/vm"
MACHINE = [sys.executable, os.path.join(HERE, "machine.py")]
TIME_IS_UP, MACHINE_FAILED = 124, 125
TRIES = 3
FILE_LIMIT, LIMIT = 240, 1500  # seconds: for one file, and for all of them
FILES = ("test/integration/**/*.test.ts", "test/security/[abe]-*.test.ts")
NOT_HERE = (
    "test/integration/examples.test.ts",  # compiles them: slow here, and a user may not write to a project of root's
)

Result = collections.namedtuple("Result", "passed failed skipped")


def files_of(arguments):
    found = sorted(path for pattern in FILES for path in glob.glob(pattern, recursive=True))
    return arguments or [path for path in found if path not in NOT_HERE]


def machine(user, command, end):
    """Runs a command in a machine, once more if that has failed by itself; its status and output."""
    options = ["--writable", REPORTS] + (["--user"] if user else [])
    for attempt in range(1, TRIES + 1):
        left = int(min(FILE_LIMIT, end - time.monotonic()))
        if left <= 0:
            return TIME_IS_UP, "no time is left for it (%d s for all)" % LIMIT
        done = subprocess.run(MACHINE + options + ["--limit", str(left), "--"] + command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode != MACHINE_FAILED:
            break
        print("the machine itself failed with %s (%d of %d)" % (command[3], attempt, TRIES), flush=True)
    return done.returncode, done.stdout


def counts(report, status):
    """What vitest has reported. A file that fails without a failed test, or without a report, counts as one failure."""
    try:
        with open(report) as file:
            found = json.load(file)
        result = Result(found["numPassedTests"], found["numFailedTests"],
                        found["numPendingTests"] + found["numTodoTests"])
    except (OSError, ValueError):
        result = Result(0, 0, 0)
    lost = result.failed == 0 and (status != 0 or sum(result) == 0)
    return result._replace(failed=1) if lost else result


def test(user, path, end):
    suite = "user" if user else "root"
    report = os.path.join(REPORTS, "%s-%s.json" % (suite, path.replace("/", "-")))
    if os.path.exists(report):
        os.unlink(report)
    start = time.monotonic()
    # The configuration is not bundled to a file, and nothing cached: the project may belong to another user.
    status, output = machine(user, ["npx", "vitest", "run", path, "--configLoader=runner", "--no-cache",
                                    "--testTimeout=60000", "--hookTimeout=60000", "--retry=1", "--reporter=default",
                                    "--reporter=json", "--outputFile.json=" + report], end)
    result = counts(report, status)
    print("\n== %s, in a virtual machine as %s: %s (%d s)\n%s" % (
        path, suite, told(result), time.monotonic() - start, output.strip()), flush=True)
    return result


def told(result):
    return "%d passed, %d failed, %d skipped" % result


def main():
    arguments = sys.argv[1:]
    chosen = arguments.pop(0) if arguments[:1] in (["root"], ["user"], ["prepare"]) else None
    os.chdir(ROOT)
    prepared = subprocess.run(MACHINE + ["--prepare"], stdin=subprocess.DEVNULL).returncode
    if prepared or chosen == "prepare":
        return prepared
    os.makedirs(REPORTS, exist_ok=True)
    os.chmod(REPORTS, 0o1777)
    failed = False
    suites = [chosen] if chosen else ["root", "user"]
    end = time.monotonic() + LIMIT
    pool = concurrent.futures.ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        jobs = {suite: [pool.submit(test, suite == "user", path, end) for path in files_of(arguments)]
                for suite in suites}
        totals = {suite: Result(*map(sum, zip(*(job.result() for job in jobs[suite])))) for suite in suites}
    finally:
        pool.shutdown(cancel_futures=True)
    print()
    for suite, total in totals.items():
        with open(os.path.join(REPORTS, suite + ".json"), "w") as file:
            json.dump({"numPassedTests": total.passed, "numFailedTests": total.failed,
                       "numPendingTests": total.skipped, "numTodoTests": 0}, file)
        print("in a virtual machine as %s: %s" % (suite, told(total)))
        failed = failed or total.failed > 0 or total.passed == 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
