"""Deploy a Serve config file and wait until it runs, or fail with the reason."""

from pathlib import Path

from hallmark.job import run_job
from hallmark.serving.deploy import deploy, read_serve_config

_TIMEOUT_S = 180.0


def main(config_path: str | None, overrides: list[str]) -> None:
    settings = read_serve_config(Path(config_path or "serve_configs/local.yaml"), overrides)
    url = deploy(settings, _TIMEOUT_S, progress=print)
    print(f"verdicts at {url}/v1/verdicts, documentation at {url}/docs")


if __name__ == "__main__":
    run_job(main, __doc__)
