"""Import photographs: inspect them on the cluster, set bad ones aside, split the rest by item."""

import ray

from hallmark.config import load_config
from hallmark.data.manifest import ImportConfig, assemble, list_photographs, write_import
from hallmark.data.pipeline import inspect_photographs
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(ImportConfig, config_path, overrides)
    listing = list_photographs(config.source)
    ray.init(logging_level="WARNING")
    inspected = inspect_photographs([photograph.uri for photograph in listing.photographs], config.limits)
    assembled = assemble(listing, inspected, config)
    write_import(assembled, config.out)
    for notice in assembled.notices:
        print(f"note: {notice}")
    print(
        f"{assembled.manifest.num_rows} photographs in {config.out}/manifest.parquet, "
        f"{assembled.quarantine.num_rows} set aside in {config.out}/quarantine.csv"
    )


if __name__ == "__main__":
    run_job(main, __doc__)
