"""Times whole processes against each other: in turn, after a warm-up, with the kernel's own accounting."""

import os
import statistics
import subprocess
import sys
import time


class Failed(Exception):
    """A command that was to be timed did not work, so its time means nothing."""


class Command:
    """A command line under a name; `prepare` is run before each time and not counted."""

    def __init__(self, name, words, prepare=None):
        self.name, self.words, self.prepare = name, [str(word) for word in words], prepare

    def run(self, number):
        """Returns wall seconds, the peak resident memory in MiB of the largest process, and processor seconds."""
        if self.prepare:
            self.prepare(number)
        words = [word.replace("{n}", str(number)) for word in self.words]
        with open(os.devnull, "r+b") as null:
            start = time.perf_counter()
            process = subprocess.Popen(words, stdin=null, stdout=null, stderr=subprocess.PIPE)
            complaint = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Failed(f"{' '.join(words)}: exit code {process.returncode}\n{complaint.decode(errors='replace')}")
        return wall, usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime


class Times:
    """What a command took, over all its runs."""

    def __init__(self):
        self.walls, self.peaks, self.cpus = [], [], []

    def add(self, wall, peak, cpu):
        self.walls.append(wall)
        self.peaks.append(peak)
        self.cpus.append(cpu)

    @property
    def median(self):
        return statistics.median(self.walls)

    def row(self):
        return f"{min(self.walls):9.3f} {self.median:9.3f} {max(self.walls):9.3f} {min(self.cpus):9.2f} {max(self.peaks):9.1f}"


def in_turn(commands, runs):
    """Runs the commands one after the other, `runs` times after one warm-up, and returns their times by name."""
    times = {command.name: Times() for command in commands}
    for number in range(-1, runs):
        for command in commands:
            measured = command.run(number)
            if number >= 0:
                times[command.name].add(*measured)
    return times


def compare(title, ours, theirs, runs, at_most):
    """Prints the times of both and the ratio of their medians; returns whether it is within `at_most`."""
    times = in_turn([ours, theirs], runs)
    ratio = times[ours.name].median / times[theirs.name].median
    heading(title)
    for command in (ours, theirs):
        print(f"  {command.name:34} {times[command.name].row()}")
    return verdict("ratio of the medians", ratio, at_most, ".3f")


def heading(title, more=""):
    print(f"\n{title}\n  {'seconds':34} {'min':>9} {'median':>9} {'max':>9} {'min cpu':>9} {'peak MiB':>9} {more:>10}")


def verdict(what, value, at_most, form):
    met = value <= at_most
    print(f"  {what}: {value:{form}} (at most {at_most}): {'met' if met else 'NOT MET'}")
    sys.stdout.flush()
    return met
