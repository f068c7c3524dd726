"""What every job and command shares: its flags, its log, and errors as one line."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from hallmark.errors import HallmarkError


def run_job(main: Callable[[str | None, list[str]], None], description: str | None) -> None:
    """Run a job from the command line with `--config FILE` and any number of `--set a.b=c`; exits the process."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--config", metavar="FILE", help="YAML file of the run; see jobs/configs/")
    parser.add_argument(
        "--set", metavar="A.B=VALUE", action="append", default=[], dest="overrides", help="lay one value over the file"
    )
    arguments = parser.parse_args()
    sys.exit(guarded(lambda: main(arguments.config, arguments.overrides)))


def guarded(work: Callable[[], int | None]) -> int:
    """Run something and give its exit status; an error that a user can cure becomes one line and 2, Ctrl-C 130."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its plans and its own progress lines
    try:
        return work() or 0
    except HallmarkError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return 130
