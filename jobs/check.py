"""Audit a manifest: measure its photographs on the cluster, and report what a person should know."""

from hallmark.config import load_config
from hallmark.data.pipeline import measure_manifest
from hallmark.evaluation.audit_page import CheckConfig, audit_text, check
from hallmark.job import run_job


def main(config_path: str | None, overrides: list[str]) -> None:
    config = load_config(CheckConfig, config_path, overrides)
    audit, page = check(config, measure_manifest)
    print(f"{audit_text(audit)}\n\nreport: {page}")


if __name__ == "__main__":
    run_job(main, __doc__)
