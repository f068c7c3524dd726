"""Prepare photographs once: find their foregrounds on the cluster and cut them to their boxes."""

from hallmark.config import load_config
from hallmark.data.pipeline import prepare
from hallmark.data.preparation import PreparationConfig
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(PreparationConfig, config_path, overrides)
    prepared = prepare(config)
    for notice in prepared.notices:
        print(f"note: {notice}")
    print(f"{prepared.manifest.num_rows} photographs in {config.out}/manifest.parquet")


if __name__ == "__main__":
    run_job(main, __doc__)
