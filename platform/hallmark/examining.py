"""The commands that examine: verdicts about files and folders, certificates checked and recomputed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hallmark.evaluation.verdict_file import Answered
    from hallmark.serving.certificate import Certificate
    from hallmark.types import Verdict


def add_verify(commands: argparse._SubParsersAction) -> None:
    """`hallmark verify`."""
    verify = commands.add_parser(
        "verify",
        help="verdicts about photographs and folders of them, by a service or in this process",
        description="Examines photographs by a service (--url) or in this process (--bundle, and --gallery unless it "
        "classifies).",
        epilog="Exit status: 0 every photograph is genuine; 1 at least one is counterfeit, inconclusive or not in the "
        "gallery; 2 a photograph could not be examined and no other gives 1, or the command could not run; 130 Ctrl-C.",
    )
    verify.add_argument("photographs", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    by = verify.add_mutually_exclusive_group(required=True)
    by.add_argument("--url", help="of a service, such as http://127.0.0.1:8000")
    by.add_argument("--bundle", type=Path, help="folder of a calibrated bundle")
    verify.add_argument(
        "--gallery",
        type=Path,
        help="the gallery, a folder ending in .lance; with --bundle, needless for one that classifies",
    )
    key = "file with the service's key in its first line (default: the variable HALLMARK_KEY)"
    verify.add_argument("--key-file", type=Path, metavar="FILE", help=key)
    verify.add_argument("--product", help="ask about it alone")
    verify.add_argument("--box", default="", help="where the product is: x0,y0,x1,y1 in px (default: everywhere)")
    csv = "write a row a photograph; a file that was begun is gone on with, rows with an error are tried again"
    verify.add_argument("--csv", type=Path, metavar="FILE", help=csv)
    verify.add_argument("--json", action="store_true", help="whole verdicts as JSON lines")
    jobs = "photographs under way at once (default: 4 by a service, 1 in this process)"
    verify.add_argument("--jobs", type=_at_least_one, metavar="N", help=jobs)
    verify.set_defaults(run=partial(_verify, verify.error))


def add_certificates(commands: argparse._SubParsersAction) -> None:
    """`hallmark certificate-key`, `verify-certificate` and `recompute`."""
    key = commands.add_parser("certificate-key", help="make the key that signs certificates, or show its public part")
    default = Path("certificate-key.pem")
    key.add_argument("--file", type=Path, default=default, help="kept where it is there already (%(default)s)")
    key.set_defaults(run=_certificate_key)
    check = commands.add_parser(
        "verify-certificate",
        help="tell whether a certificate is unchanged since it was signed",
        epilog="Exit status: 0 it is whole and unchanged; 1 it is not, or of another key; 2 it cannot be read.",
    )
    check.add_argument("certificate", type=Path, metavar="FILE", help="its JSON")
    public = "the issuer's public key: 64 hex digits, or a file of them or of PEM"
    check.add_argument("--public-key", metavar="HEX_OR_FILE", help=public)
    check.set_defaults(run=_verify_certificate)
    again = commands.add_parser(
        "recompute",
        help="compute a certificate's verdicts anew from bundle, gallery and photographs",
        epilog="Exit status: 0 the verdicts are the same; 1 a field differs, the first is named with both values; 2 "
        "they cannot be compared: certificate not whole, or bundle, gallery or a photograph not the certified one.",
    )
    again.add_argument("certificate", type=Path, metavar="CERTIFICATE", help="its JSON")
    again.add_argument("photographs", nargs="+", type=Path, metavar="IMAGE", help="the certified files, in any order")
    again.add_argument("--bundle", type=Path, required=True, help="folder of the bundle")
    again.add_argument("--gallery", type=Path, help="the gallery that holds the certified version, where it names one")
    again.add_argument("--public-key", metavar="HEX_OR_FILE", help=public)
    tolerance = "by how much numbers may differ, for another kind of processor (%(default)s: not at all)"
    again.add_argument("--tolerance", type=_positive, default=0.0, metavar="X", help=tolerance)
    again.set_defaults(run=_recompute)


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; wanted a whole number of at least 1")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}; wanted a number from 0 to 1")
    return value


def _verify(refuse: Callable[[str], None], arguments: argparse.Namespace) -> int:
    if arguments.bundle is None and arguments.gallery is not None:
        refuse("--gallery goes with --bundle, and without --url")
    from hallmark.evaluation.batch import exit_status, find_photographs, summary, verify_files
    from hallmark.evaluation.tables import VerdictRow, verdict_table

    photographs = find_photographs(arguments.photographs)
    rows, failed = [], []

    def show(answered: Answered) -> None:
        if arguments.json:
            verdict = answered.verdict and answered.verdict.model_dump(mode="json")
            print(json.dumps({"photograph": answered.photograph, "verdict": verdict, "error": answered.error or None}))
        elif answered.verdict is None:
            failed.append(answered.error)
        elif not arguments.csv:
            rows.append(VerdictRow(answered.photograph, None, answered.verdict))

    with _examining(arguments) as (examine, jobs):
        verdicts = verify_files(photographs, examine, jobs, arguments.csv, show)
    if rows:
        print(verdict_table(rows))
    for said in failed:
        print(f"not examined: {said}", file=sys.stderr)
    if not arguments.json:
        print(f"{summary(verdicts)}{f'; table: {arguments.csv}' if arguments.csv else ''}")
    return exit_status(verdicts)


@contextmanager
def _examining(arguments: argparse.Namespace) -> Iterator[tuple[Callable[[Path], Verdict], int]]:
    """What gives a verdict about a file, and how many files it takes at once."""
    from hallmark.data.table import read_box

    box = read_box(arguments.box, "--box")
    if arguments.url is None:
        from hallmark.evaluation.expert import Expert
        from hallmark.evaluation.protocol import examine_file

        expert = Expert.open(arguments.bundle, arguments.gallery)
        yield lambda path: examine_file(expert, path, box, arguments.product), arguments.jobs or 1
        return
    from hallmark.client import Client

    with Client(arguments.url, _service_key(arguments.key_file)) as client:
        client.key()  # a wrong address or key is told now, not once a photograph
        yield lambda path: client.verdict(path, product=arguments.product, boxes=box and [box]), arguments.jobs or 4


def _service_key(file: Path | None) -> str | None:
    from hallmark.errors import DataError

    if file is None:
        return os.environ.get("HALLMARK_KEY") or None
    try:
        return next(iter(file.read_text().split()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); wanted a file with a key in its first line") from None


def _certificate_key(arguments: argparse.Namespace) -> None:
    from hallmark.serving.certificate import fingerprint, make_key

    public_key = make_key(arguments.file)
    print(
        f"{public_key}\nThis is the public key ({fingerprint(public_key)}): publish it. Keep {arguments.file} secret."
    )


def _verify_certificate(arguments: argparse.Namespace) -> int:
    from hallmark.errors import CertificateError
    from hallmark.serving.certificate import read_public_key

    public_key = arguments.public_key and read_public_key(arguments.public_key)
    try:
        certificate = _certificate(arguments.certificate, public_key)
    except CertificateError as error:
        print(f"not valid: {error}")
        return 1
    answer = certificate.item or certificate.verdicts[0]
    print(f"valid: unchanged since {certificate.issuer} signed it at {certificate.issued_at:%Y-%m-%d %H:%M:%S} UTC")
    print(f"verdict: {answer.verdict}, {answer.product or 'no product'}. {answer.reason}")
    print(f"key: {certificate.public_key} ({certificate.fingerprint})")
    if public_key is None:
        print("note: that is the key it names itself; give --public-key to be sure whose it is")
    return 0


def _certificate(file: Path, public_key: str | None) -> Certificate:
    from hallmark.data.listing import read_bytes
    from hallmark.errors import CertificateError
    from hallmark.serving.certificate import check_certificate

    try:
        return check_certificate(read_bytes(str(file)), public_key)
    except CertificateError as error:
        raise CertificateError(f"{file}: {error}") from None


def _recompute(arguments: argparse.Namespace) -> int:
    from hallmark.evaluation.recomputation import recompute
    from hallmark.serving.certificate import read_public_key

    public_key = arguments.public_key and read_public_key(arguments.public_key)
    certificate = _certificate(arguments.certificate, public_key)
    told = recompute(certificate, arguments.bundle, arguments.gallery, arguments.photographs, arguments.tolerance)
    if told.difference is not None:
        print(f"differs: {told.difference}")
        return 1
    count = f"{len(certificate.verdicts)} verdict{'s' * (len(certificate.verdicts) != 1)}"
    within = f"equal within {arguments.tolerance:g}; numbers differ by {told.largest:.2g} at most"
    print(f"{count}: {within if told.largest else 'identical'}")
    return 0
