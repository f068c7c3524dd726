"""Enrol references: a manifest and a bundle in, a new gallery version and its index out."""

import ray

from hallmark.config import load_config
from hallmark.gallery.build import GalleryConfig, build_gallery
from hallmark.gallery.index import GalleryIndex
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(GalleryConfig, config_path, overrides)
    ray.init(logging_level="WARNING")
    gallery, unread = build_gallery(config)
    index = GalleryIndex(gallery, config.index, "cuda" if config.describe.use_gpu else "cpu")
    for outcome in unread:
        print(f"left out: {outcome.error}")
    print(f"{len(index)} references of {len(index.products)} products in {gallery.uri}, version {gallery.version}")
    if index.recall is not None:
        print(f"compressed index: {index.recall:.4f} of the ten nearest found, on a sample of {config.index.sample}")


if __name__ == "__main__":
    run_job(main, __doc__)
