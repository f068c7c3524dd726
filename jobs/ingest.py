"""Import photographs: inspect them on the cluster, set bad ones aside, split the rest by item."""

from hallmark.config import load_config
from hallmark.data.manifest import ImportConfig
from hallmark.data.pipeline import ingest
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(ImportConfig, config_path, overrides)
    assembled = ingest(config)
    for notice in assembled.notices:
        print(f"note: {notice}")
    print(
        f"{assembled.manifest.num_rows} photographs in {config.out}/manifest.parquet, "
        f"{assembled.quarantine.num_rows} set aside in {config.out}/quarantine.csv"
    )


if __name__ == "__main__":
    run_job(main, __doc__)
