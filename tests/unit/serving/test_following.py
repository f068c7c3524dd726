"""The index of the version in use: the latest as it appears, a pinned one, and what a damaged one changes."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from hallmark.errors import GalleryError
from hallmark.gallery.store import GalleryWriter, Reference, write_references
from hallmark.serving import following
from hallmark.serving.following import Follower
from hallmark.types import Authenticity


class Index:
    """Stands for a GalleryIndex: knows its gallery and where it came from."""

    def __init__(self, gallery, config, device, older=None):
        self.gallery, self.told, self.older = gallery, (config, device), older

    def updated(self, gallery):
        return Index(gallery, *self.told, self)


@pytest.fixture
def reference(make_described):
    def make(digit: str) -> Reference:
        described = make_described(digit * 64, np.eye(1, 4)[0])
        return Reference(described, "a", "whole", "i", Authenticity.GENUINE, b"t")

    return make


@pytest.fixture
def uri(tmp_path: Path, reference, monkeypatch) -> str:
    monkeypatch.setattr(following, "GalleryIndex", Index)
    return write_references(tmp_path / "g.lance", [reference("0")], "b", "e").uri


@pytest.fixture
def follower(uri):
    made = Follower(uri, "e")
    made.use(None)
    yield made
    made.stop()


def test_a_later_version_is_taken_up_from_the_one_before(follower, uri, reference):
    first = follower.index
    assert follower.refresh() is first
    with GalleryWriter(uri, "b", "e") as writer:
        writer.enrol([reference("1")])
    assert follower.index is first
    second = follower.refresh()
    assert second is follower.index
    assert (second.gallery.version, second.older) == (2, first)


def test_a_pinned_version_stays_until_it_is_let_go(follower, uri, reference):
    with GalleryWriter(uri, "b", "e") as writer:
        writer.enrol([reference("1")])
    follower.use(1)
    assert follower.refresh().gallery.version == 1
    follower.use(None)
    assert follower.index.gallery.version == 2


def test_a_version_that_is_not_there_leaves_the_one_in_use(follower):
    with pytest.raises(GalleryError):
        follower.use(9)
    assert follower.index.gallery.version == 1
    assert follower.refresh().gallery.version == 1


def test_a_gallery_of_another_bundle_is_refused(uri):
    with pytest.raises(GalleryError, match="embedding"):
        Follower(uri, "other").use(None)


def test_it_looks_by_itself(follower, uri, reference, monkeypatch):
    monkeypatch.setattr(following, "EVERY_S", 0.01)
    taken = threading.Event()
    whole = Index.updated
    monkeypatch.setattr(Index, "updated", lambda self, gallery: (whole(self, gallery), taken.set())[0])
    follower.start()
    with GalleryWriter(uri, "b", "e") as writer:
        writer.enrol([reference("1")])
    assert taken.wait(60)


def test_a_gallery_that_is_gone_is_told_once_and_the_index_stays(follower, uri, monkeypatch, caplog):
    monkeypatch.setattr(following, "EVERY_S", 0.001)
    looked = threading.Semaphore(0)
    whole = follower.refresh
    monkeypatch.setattr(follower, "refresh", lambda: (looked.release(), whole())[1])
    shutil.rmtree(uri)
    with caplog.at_level(logging.WARNING):
        follower.start()
        for _ in range(5):
            assert looked.acquire(timeout=60)
    assert follower.index.gallery.version == 1
    assert caplog.text.count("is not taken up, 1 stays") == 1
