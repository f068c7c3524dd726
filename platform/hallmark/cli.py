"""`hallmark …`: the command line, thin over the stages."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from hallmark.examining import add_certificates, add_verify
from hallmark.job import guarded

if TYPE_CHECKING:
    from hallmark.config import Config

ConfigT = TypeVar("ConfigT", bound="Config")

_DATA_HELP = "folder <product>/[<part>/]<genuine|counterfeit>/..., a .csv or a .parquet"


def main() -> None:
    """Run one command and exit the process."""
    arguments = _parser().parse_args()
    sys.exit(guarded(lambda: arguments.run(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hallmark",
        description="Tells a genuine product from a counterfeit by its photographs.",
        epilog="Training, enrolment, evaluation and deployment run on Ray: `ray job submit --working-dir . "
        "--runtime-env jobs/runtime_env.yaml -- python jobs/<job>.py --config jobs/configs/<run>.yaml`; every job has "
        "--help.",
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_demo(commands)
    _add_data(commands)
    _add_tune(commands)
    add_verify(commands)
    add_certificates(commands)
    _add_keys(commands)
    return parser


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser("demo", help="the whole way through on this machine: train, enrol, serve, ask")
    demo.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of the results (%(default)s)")
    demo.add_argument("--data", type=Path, help=f"your photographs: {_DATA_HELP}; without it a small set is drawn")
    demo.set_defaults(run=_demo)
    serve = commands.add_parser("serve", help="keep the last demo's gallery answering over HTTP")
    serve.add_argument("--out", type=Path, default=Path("runs/demo"), help="folder of that demo (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="on 127.0.0.1 (%(default)s)")
    serve.set_defaults(run=_serve)


def _add_data(commands: argparse._SubParsersAction) -> None:
    data = commands.add_parser("data", help="photographs: import, check, split, prepare, preview, draw")
    actions = data.add_subparsers(title="commands", required=True, metavar="COMMAND")
    given = ("source", _DATA_HELP), ("manifest", "manifest.parquet of an import, or its folder")
    for name, (word, meaning), work, purpose, makes in (
        ("import", given[0], _import, "list, inspect and split photographs", "manifest.parquet and quarantine.csv"),
        ("check", given[1], _check, "audit a manifest: leaks, duplicates, unfit photographs", "audit.html, audit.json"),
        ("split", given[1], _split, "split a manifest anew, hold out sources or devices", "a folder a split"),
        ("prepare", given[1], _prepare, "find foregrounds and cut photographs once", "the prepared set"),
        ("preview", given[1], _preview, "contact sheets of every transform with its settings", "PNG files"),
    ):
        action = actions.add_parser(name, help=purpose, description=f"{purpose}; writes {makes}.")
        action.add_argument(word, metavar=word.upper(), help=meaning)
        action.set_defaults(run=work)
        _add_settings(action, f"folder of the results: {makes}")
    draw = actions.add_parser("draw", help="draw products, their counterfeits and unrelated pictures")
    draw.set_defaults(run=_draw)
    _add_settings(draw, "folder that the photographs are written to")


def _add_tune(commands: argparse._SubParsersAction) -> None:
    purpose = "sweep over the settings of a training, choose the best by other seeds, and report"
    tune = commands.add_parser(
        "tune",
        help=purpose,
        description=f"{purpose[0].upper()}{purpose[1:]}. On the cluster that RAY_ADDRESS names, else on a private one "
        "of this machine. Ctrl-C stops it; the same command goes on. See jobs/configs/tune_*.yaml.",
    )
    tune.add_argument("config", metavar="FILE", help="YAML file of the sweep")
    _add_overrides(tune)
    tune.set_defaults(run=_tune)


def _add_settings(action: argparse.ArgumentParser, out: str) -> None:
    action.add_argument("--out", required=True, help=out)
    action.add_argument("--config", metavar="FILE", help="YAML file of settings; see jobs/configs/")
    _add_overrides(action)


def _add_overrides(action: argparse.ArgumentParser) -> None:
    action.add_argument(
        "--set", metavar="A.B=VALUE", action="append", default=[], dest="overrides", help="lay one value over the file"
    )


def _add_keys(commands: argparse._SubParsersAction) -> None:
    keys = commands.add_parser("keys", help="bearer keys of the HTTP service")
    actions = keys.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = actions.add_parser("add", help="make a key; it is shown once")
    add.add_argument("name", help="whose key it is")
    add.add_argument("--scope", action="append", choices=["verify", "enrol", "admin"], help="default: verify")
    sees = "how much of a verdict it sees: all, no evidence, or neither evidence nor scores (%(default)s)"
    add.add_argument("--detail", choices=["full", "scores", "label"], default="full", help=sees)
    add.add_argument("--rate", type=int, metavar="N", help="requests a minute; reading counts a tenth (no limit)")
    add.add_argument("--quota", type=int, metavar="N", help="photographs a day, UTC (no limit)")
    add.set_defaults(run=_add_key)
    listing = actions.add_parser("list", help="the keys there are, without their secrets")
    listing.set_defaults(run=_list_keys)
    revoke = actions.add_parser("revoke", help="remove a key; it ends at once")
    revoke.add_argument("key_id")
    revoke.set_defaults(run=_revoke_key)
    for action in (add, listing, revoke):
        action.add_argument("--file", type=Path, default=Path("keys.json"), help="the key file (%(default)s)")


def _demo(arguments: argparse.Namespace) -> None:
    from hallmark.demo import Demo

    Demo(arguments.out, arguments.data).run()


def _serve(arguments: argparse.Namespace) -> None:
    from hallmark.demo import Demo

    Demo(arguments.out, None).serve(arguments.port)


def _import(arguments: argparse.Namespace) -> None:
    from hallmark.data.manifest import ImportConfig

    config = _settings(ImportConfig, arguments, source=arguments.source, out=arguments.out)
    with _some_ray():
        from hallmark.data.pipeline import ingest

        assembled = ingest(config)
    _tell(assembled.notices)
    print(f"{assembled.manifest.num_rows} photographs in {config.out}/manifest.parquet")


def _check(arguments: argparse.Namespace) -> None:
    from hallmark.evaluation.audit_page import CheckConfig, audit_text, check

    config = _settings(CheckConfig, arguments, manifest=arguments.manifest, out=arguments.out)
    with _some_ray():
        from hallmark.data.pipeline import measure_manifest

        audit, page = check(config, measure_manifest)
    print(f"{audit_text(audit)}\n\nreport: {page}")


def _split(arguments: argparse.Namespace) -> None:
    from hallmark.data.manifest import read_manifest
    from hallmark.data.resplit import ResplitConfig, resplit, write_splits

    config = _settings(ResplitConfig, arguments, manifest=arguments.manifest, out=arguments.out)
    table = read_manifest(config.manifest)
    splits = resplit(table, config)
    for split, folder in zip(splits, write_splits(splits, table, config), strict=True):
        _tell([f"{split.name}: {notice}" for notice in split.notices])
        print(f"{split.table.num_rows} photographs in {folder}/manifest.parquet")


def _prepare(arguments: argparse.Namespace) -> None:
    from hallmark.data.preparation import PreparationConfig

    config = _settings(PreparationConfig, arguments, manifest=arguments.manifest, out=arguments.out)
    with _some_ray():
        from hallmark.data.pipeline import prepare

        prepared = prepare(config)
    _tell(prepared.notices)
    print(f"{prepared.manifest.num_rows} photographs in {config.out}/manifest.parquet")


def _preview(arguments: argparse.Namespace) -> None:
    from hallmark.evaluation.preview import PreviewConfig, write_preview

    config = _settings(PreviewConfig, arguments, manifest=arguments.manifest, out=arguments.out)
    for sheet in write_preview(config):
        print(sheet)


def _tune(arguments: argparse.Namespace) -> None:
    from hallmark.config import load_config
    from hallmark.tuning.settings import SweepConfig

    config = load_config(SweepConfig, arguments.config, arguments.overrides)
    with _some_ray():
        from hallmark.evaluation.sweeping import run_sweep

        run_sweep(config)


def _draw(arguments: argparse.Namespace) -> None:
    from tqdm import tqdm

    from hallmark.config import load_config
    from hallmark.data.synthetic import DrawConfig, draw_set, plan

    config = load_config(DrawConfig, arguments.config, arguments.overrides)
    with tqdm(total=len(plan(config)), desc="drawing", unit="photo", mininterval=2, ascii=True) as bar:
        out = Path(arguments.out)
        table = draw_set(config, out, os.cpu_count() or 1, progress=lambda done, _: bar.update(done - bar.n))
    print(f"drawn: {table}")


def _settings(model: type[ConfigT], arguments: argparse.Namespace, **named: str) -> ConfigT:
    """The command's file and overrides, with the paths that its arguments name laid over them."""
    from hallmark.config import load_mapping, validate

    settings = load_mapping(arguments.config, arguments.overrides) | named
    return validate(model, settings, arguments.config or "configuration")


@contextmanager
def _some_ray() -> Iterator[None]:
    """The cluster that RAY_ADDRESS names, else a private one on this machine for as long as the command runs."""
    from hallmark.cluster import PrivateCluster

    if "RAY_ADDRESS" in os.environ:
        yield
        return
    with PrivateCluster(num_cpus=os.cpu_count() or 1) as cluster:
        cluster.start()
        os.environ.update(cluster.environment)
        yield


def _tell(notices: list[str]) -> None:
    for notice in notices:
        print(f"note: {notice}")


def _add_key(arguments: argparse.Namespace) -> None:
    from hallmark.serving.auth import Detail, Scope, add_key

    scopes = [Scope(scope) for scope in arguments.scope or ["verify"]]
    limits = {"rate_per_minute": arguments.rate, "daily_quota": arguments.quota}
    token = add_key(arguments.file, arguments.name, scopes, Detail(arguments.detail), **limits)
    print(f"{token}\nThis key is shown once; {arguments.file} holds its hash alone.", file=sys.stdout)


def _list_keys(arguments: argparse.Namespace) -> None:
    from hallmark.serving.auth import read_keys

    for key in read_keys(arguments.file):
        rate = f"{key.rate_per_minute}/minute" if key.rate_per_minute else "-"
        quota = f"{key.daily_quota}/day" if key.daily_quota else "-"
        print(f"{key.key_id}  {', '.join(key.scopes):20}  {key.detail:6}  {rate:12}  {quota:12}  {key.name}")


def _revoke_key(arguments: argparse.Namespace) -> None:
    from hallmark.serving.auth import revoke_key

    revoke_key(arguments.file, arguments.key_id)
    print(f"revoked {arguments.key_id}")
