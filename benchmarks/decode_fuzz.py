"""Decode thousands of damaged and hostile files, each under a limit of memory and of processor time.

`python benchmarks/decode_fuzz.py [--files 20000] [--seed 0] [--out FOLDER]`.
Every file must give pixels or a DecodeError. Exit status 1 where one crashed the process, raised anything else, or went
over its limits; such a file is kept in --out.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from decode_fuzz_files import BOMBS, mutate, valid_files

from hallmark.data.decode import MEMORY_BESIDE, MEMORY_PER_BYTE, MEMORY_PER_PIXEL, DecodeLimits, decode
from hallmark.errors import DecodeError

LIMITS = DecodeLimits(max_pixels=4_000_000)
"""Below the default, so that a claim above it needs no gigabytes to be told from a sound photograph."""
DEADLINE_MS = 5000.0
REASONS = frozenset(("empty", "too_many_bytes", "too_many_pixels", "too_small", "unknown_format", "corrupt"))


@dataclass(frozen=True)
class Outcome:
    """What became of one file."""

    name: str
    outcome: str
    """`decoded`, the reason of the refusal, or `flaw: …`."""
    cpu_ms: float
    memory: int
    """Peak resident bytes above those before the file."""
    allowed: int
    """The bytes that decode states for it at most."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("decode_fuzz_flaws"))
    parser.add_argument("--from-file", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.from_file is not None:
        return _child(arguments.seed, arguments.from_file, arguments.files)
    outcomes, lines = _run_children(arguments.seed, arguments.files)
    return _report(outcomes, lines, arguments.seed, arguments.out)


def file_of(seed: int, index: int) -> tuple[str, bytes]:
    """(what it is, bytes) of one file of the series: the bombs first, then the valid files, then mutations of these."""
    if index < len(BOMBS):
        return f"bomb:{BOMBS[index].__name__}", BOMBS[index](LIMITS.max_pixels)
    valid = valid_files()
    names = sorted(valid)
    if index < len(BOMBS) + len(names):
        return f"valid:{names[index - len(BOMBS)]}", valid[names[index - len(BOMBS)]]
    return mutate(valid, np.random.default_rng((seed, index)))


def _child(seed: int, first: int, stop: int) -> int:
    """Decode the files from `first`, one line each on standard output; a limit of memory ends what runs away."""
    resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    report = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the libraries print goes where the parent counts it
    for index in range(first, stop):
        name, data = file_of(seed, index)
        print(json.dumps({"starts": index, "name": name}), file=report, flush=True)
        print(json.dumps(asdict(_decoded(name, data))), file=report, flush=True)
    return 0


def _decoded(name: str, data: bytes) -> Outcome:
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak anew
    before, began, pixels = _peak_bytes(), time.process_time(), 0
    resource.setrlimit(resource.RLIMIT_CPU, (int(began + 4 * DEADLINE_MS / 1e3) + 1, resource.RLIM_INFINITY))
    try:
        image = decode(data, LIMITS)
        pixels, outcome = image.shape[0] * image.shape[1], "decoded"
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or pixels > LIMITS.max_pixels:
            outcome = f"flaw: {image.dtype} of shape {image.shape}"
    except DecodeError as error:
        outcome = error.reason if error.reason in REASONS else f"flaw: reason {error.reason}"
        pixels = LIMITS.max_pixels
    except BaseException as error:
        outcome = f"flaw: {type(error).__name__}: {error}"
    cpu_ms = 1e3 * (time.process_time() - began)
    memory = max(0, _peak_bytes() - before)
    allowed = MEMORY_PER_PIXEL * pixels + MEMORY_PER_BYTE * len(data) + MEMORY_BESIDE
    if cpu_ms > DEADLINE_MS:
        outcome = f"flaw: took {cpu_ms:.0f} ms"
    elif memory > allowed:
        outcome = f"flaw: took {memory / 2**20:.0f} MiB"
    return Outcome(name, outcome, cpu_ms, memory, allowed)


def _peak_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _run_children(seed: int, stop: int) -> tuple[dict[int, Outcome], int]:
    """All outcomes by index, and the lines that C libraries (libtiff) printed on their own.

    A child that dies costs the file it was at, and the next one goes on behind it.
    """
    outcomes: dict[int, Outcome] = {}
    first = lines = 0
    while first < stop:
        with tempfile.TemporaryFile() as printed:
            command = [sys.executable, __file__, "--seed", str(seed), "--files", str(stop), "--from-file", str(first)]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=printed, text=True)
            at = first
            for line in child.stdout:
                told = json.loads(line)
                if "starts" in told:
                    at, name = told["starts"], told["name"]
                    continue
                outcomes[at] = Outcome(**told)
                if at % 1000 == 0:
                    print(f"{at} of {stop} files", file=sys.stderr, flush=True)
            status = child.wait()
            printed.seek(0)
            text = printed.read().decode(errors="replace").strip()
            lines += len(text.splitlines())
            if at not in outcomes:
                outcomes[at] = Outcome(name, f"flaw: process ended with {status}: {text[-200:]}", 0.0, 0, 1)
            first = at + 1
    return outcomes, lines


def _report(outcomes: dict[int, Outcome], lines: int, seed: int, out: Path) -> int:
    for outcome, number in Counter(each.outcome.split(":")[0] for each in outcomes.values()).most_common():
        print(f"{outcome:<20} {number:>7}")
    slowest = max(outcomes.values(), key=lambda each: each.cpu_ms)
    fullest = max(outcomes.values(), key=lambda each: each.memory / each.allowed)
    print(f"slowest  {slowest.cpu_ms:>9.0f} ms of processor time  {slowest.name} ({slowest.outcome})")
    print(f"fullest  {fullest.memory / 2**20:>9.0f} MiB of {fullest.allowed / 2**20:.0f}  {fullest.name}")
    flaws = {index: each for index, each in outcomes.items() if each.outcome.startswith("flaw")}
    for index, each in flaws.items():
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{index:06d}.bin").write_bytes(file_of(seed, index)[1])
        print(f"FLAW {out / f'{index:06d}.bin'}  {each.name}  {each.outcome}")
    ratios = {
        "memory_of_limit": fullest.memory / fullest.allowed,
        "slowest_of_deadline": slowest.cpu_ms / DEADLINE_MS,
    }
    figures = {
        "files": len(outcomes),
        "flaws": len(flaws),
        "decoded": sum(each.outcome == "decoded" for each in outcomes.values()),
        "slowest_cpu_ms": slowest.cpu_ms,
        "total_cpu_s": sum(each.cpu_ms for each in outcomes.values()) / 1e3,
        "peak_memory_mib": max(each.memory for each in outcomes.values()) / 2**20,
        "lines_printed_by_libraries": lines,
        "seed": seed,
    }
    print(json.dumps({"benchmark": "decode_fuzz", "ratios": ratios, "figures": figures}))
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
