"""kill -9 at random moments while references are enrolled, retired and rolled back: what was answered must be there.

    python benchmarks/killed_enrolment.py [--times 200] [--seed 0]

A process writes to one gallery without pause and notes each answer after it was given; it is killed, the gallery is
opened and read whole, and the next process goes on. Enrolments come in threes, so that a half one shows.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hallmark.gallery.store import GalleryWriter, Reference, latest_version, open_gallery, versions
from hallmark.types import Authenticity, Described, Details, Quality

_AT_ONCE = 3
_LONGEST_S = 0.4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=200, help="processes killed (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (%(default)s)")
    parser.add_argument("--serve-writers", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve_writers:
        _serve_writers()
        return
    with tempfile.TemporaryDirectory(prefix="hallmark-killed-") as folder:
        figures = killed(Path(folder), arguments.times, arguments.seed)
    print(f"{figures['kills']} kills: {figures['answered']} changes answered, all of them there")
    print(f"{figures['unanswered']} references of unanswered changes were there, in whole changes")
    print(json.dumps({"benchmark": "killed_enrolment", "ratios": {"lost_over_answered": 0.0}, "figures": figures}))


def killed(folder: Path, times: int, seed: int) -> dict[str, int]:
    """Kill writers and check the gallery after each.

    Raises:
        AssertionError: something that was answered is not there, or something is there by half.
    """
    uri, answers, rng = folder / "g.lance", folder / "answers", random.Random(seed)
    answers.touch()
    started = [sys.executable, __file__, "--serve-writers"]
    with subprocess.Popen(started, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        for turn in range(times):
            nursery.stdin.write(f"{turn}\t{uri}\t{answers}\n")
            nursery.stdin.flush()
            writer = int(nursery.stdout.readline())
            time.sleep(rng.uniform(0, _LONGEST_S))
            os.kill(writer, signal.SIGKILL)
            assert nursery.stdout.readline() == "dead\n"
            _check(uri, answers)
        nursery.stdin.close()
    told = _answered(answers)
    assert told.count, f"{times} writers were killed before any of them had answered once"
    unanswered = open_gallery(uri).num_references - len(told.enrolled)
    return {"kills": times, "answered": told.count, "unanswered": unanswered, "versions": len(versions(uri))}


class _Answered:
    """What the writers noted: references that were enrolled, and those that were retired again."""

    def __init__(self, lines: list[str]):
        self.count, self.enrolled, self.retired = 0, set(), set()
        for line in lines:
            change, *names = line.split()
            self.count += change != "retiring"
            if change == "enrolled":
                self.enrolled.update(names)
            elif change == "retiring":  # begun, perhaps not ended: it may be there or not
                self.enrolled.difference_update(names)
            else:
                self.retired.update(names)


def _answered(answers: Path) -> _Answered:
    return _Answered(answers.read_text().splitlines())


def _check(uri: Path, answers: Path) -> None:
    told = _answered(answers)
    if not told.count and not (uri / "_versions").is_dir():
        return
    gallery = open_gallery(uri, latest_version(uri), "embedding")
    rows = gallery.metadata().to_pylist()
    names = [row["reference_id"] for row in rows]
    assert len(set(names)) == len(names), "a reference twice"
    assert told.enrolled <= set(names), f"lost: {told.enrolled - set(names)}"
    items = [row["item_id"] for row in rows]
    assert not told.retired & set(names), f"retired and there: {told.retired & set(names)}"
    halves = {item for item in items if items.count(item) not in (_AT_ONCE, _AT_ONCE - 1)}
    assert not halves, f"there by half: {halves}"  # one of three is retired
    for row, details, thumbnail in zip(
        rows, gallery.details(range(len(rows))), gallery.thumbnails(range(len(rows))), strict=True
    ):
        assert details.image_id == row["image_id"]
        assert details.surface == thumbnail == _surface(row["image_id"])
    assert np.isfinite(gallery.descriptors()).all()


def _serve_writers() -> None:
    """Forks a writer for each line read: starting Python anew for each would take seconds."""
    for line in sys.stdin:
        turn, uri, answers = line.rstrip("\n").split("\t")
        writer = os.fork()
        if not writer:
            _write(int(turn), uri, answers)
        print(writer, flush=True)
        os.waitpid(writer, 0)
        print("dead", flush=True)


def _write(turn: int, uri: str, answers: str) -> None:
    with GalleryWriter(uri, "bundle", "embedding") as writer, open(answers, "a", buffering=1) as noted:
        for number in range(10**6):
            item = f"item-{turn}-{number}"
            names = writer.enrol([_reference(f"{item}-{shot}", item) for shot in range(_AT_ONCE)])[1]
            noted.write(f"enrolled {' '.join(names)}\n")
            if number % 4 == 1:
                noted.write(f"retiring {names[0]}\n")
                before = writer.retire(names[:1]).version
                noted.write(f"retired {names[0]}\n")
                writer.rollback(before)


def _reference(image_id: str, item: str) -> Reference:
    rng = np.random.default_rng(sum(image_id.encode()))
    details = Details(
        image_id=image_id,
        local=rng.normal(size=(20, 16)).astype(np.float16),
        positions=rng.random((20, 2)).astype(np.float32),
        weights=np.ones(20, np.float16),
        stride=0.25,
        frame=np.array([1, 0, 1, 0], np.float32),
        surface=_surface(image_id),
    )
    quality = Quality(width=8, height=8, sharpness=1, brightness=0.5, clipped=0)
    described = Described(image_id, rng.normal(size=64).astype(np.float32), details, quality)
    return Reference(described, "a", "whole", item, Authenticity.GENUINE, _surface(image_id))


def _surface(image_id: str) -> bytes:
    return image_id.encode() * 300


if __name__ == "__main__":
    main()
