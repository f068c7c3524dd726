"""What stands for a gallery where there is none, and which bundles can do without."""

from __future__ import annotations

import numpy as np
import pytest

from hallmark.errors import GalleryError
from hallmark.gallery.index import GalleryIndex
from hallmark.gallery.store import NoGallery, gallery_of, open_gallery
from hallmark.types import Retrieved


def test_nothing_is_found_in_it_and_nothing_is_written():
    index = GalleryIndex(NoGallery())
    for asked in ({}, {"product": "a"}, {"part": "whole"}):
        assert index.retrieve(np.ones(4, np.float32), 3, **asked) == Retrieved(None, None, None, (), 0)
    assert np.isnan(index.retrieve(np.full(4, np.nan, np.float32), 3).global_similarity)
    assert (len(index), index.products, index.recall) == (0, [], None)


def test_it_has_no_references():
    gallery = NoGallery()
    assert (gallery.version, gallery.content_id, gallery.num_references) == (0, "", 0)
    assert gallery.listing() == ([], None)
    assert gallery.products() == gallery.details([]) == gallery.members("a", "whole", "genuine", 3) == []
    assert gallery.thumbnail("ref-1") is None


def test_a_bundle_that_classifies_can_do_without(bundle, classifier, gallery):
    assert gallery_of(classifier, None) == open_gallery(None) == NoGallery()
    assert gallery_of(bundle, gallery.uri) == gallery
    with pytest.raises(GalleryError, match=rf"gallery: missing; {bundle.path} compares photographs with references"):
        gallery_of(bundle, None)


def test_there_is_no_version_of_no_gallery(classifier):
    with pytest.raises(GalleryError, match="version 3 is of"):
        gallery_of(classifier, None, 3)
