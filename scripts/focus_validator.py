"""
Put a FOCUS file before the FinOps Foundation's own validator.

Its one job: `make focus FILE=usage.csv`: focus-validator, in an environment of its own, on a file of `penia export
--format focus`; what it finds and we do not expect ends with 1.
Why an environment of its own: it needs Python 3.12 and NumPy 1, and its dependencies as they stand do not fit together
(pyarrow from 22 on needs NumPy 2).
What it can say: it has the rules of FOCUS 1.2 with it, and downloads those of later versions from GitHub, where it
finds them; `--version 1.4` asks for that. For 1.2 the copy that it is given has the two names back that 1.3 replaced.
"""

import argparse
import csv
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

NEEDS = ("focus-validator==2.2.1", "pyarrow<22")
PYTHONS = ("python3.12", "python3.13", "python3.14", "python3")
PLACE = Path("build/focus-validator")

BACK_IN_1_2 = {"ProviderName": "ServiceProviderName", "PublisherName": "HostProviderName"}
"""What 1.3 replaced, by what it replaced it with."""
QUANTITIES = ("ConsumedQuantity", "PricingQuantity")
"""It takes a column of whole numbers for integers, and wants decimals: the copy says 7 as 7.0."""
CRITERIA = "USAGE_MEASUREMENT_SUPPORTED,TAGGING_SUPPORTED"
"""What holds of Penia's file; not unit prices, since input and output tokens have prices of their own."""

EXPECTED = {
    "InvoiceId": "recommended, and Penia knows no invoices",
    "CostAndUsage-D-033": "the same",
    "ConsumedQuantity-C-000": "asks for CommitmentDiscountStatus, which is absent where there are no commitments",
    "ConsumedQuantity-C-003": "the same",
    "ConsumedQuantity-C-004": "the same",
    "ConsumedQuantity-C-005": "the same",
    "ConsumedQuantity-C-006": "the same",
}
"""Rules that it says are broken, by the beginnings of their names, and why that says nothing of the file."""


def main() -> int:
    """Check one file."""
    parser = argparse.ArgumentParser(description="Put a FOCUS file before the official validator.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--version", default="1.2", help="1.2 comes with it; others it downloads from GitHub")
    asked = parser.parse_args()
    validator = installed()
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "focus.csv"
        adapt(asked.file, copy, names=BACK_IN_1_2 if asked.version == "1.2" else {})
        command = [validator, "--data-file", copy, "--validate-version", asked.version]
        command += ["--focus-dataset", "CostAndUsage", "--applicability-criteria", CRITERIA]
        command += ["--block-download"] if asked.version == "1.2" else []
        # From where its own files are: it looks for its currency codes beside the working directory.
        packages = next((PLACE / "lib").glob("python3*/site-packages"))
        done = subprocess.run(command, cwd=packages, capture_output=True, text=True, check=False)
    total = re.search(r"^Total: .*$", done.stdout, re.MULTILINE)
    if total is None:
        sys.stderr.write(done.stdout + done.stderr)
        return 2
    sys.stdout.write(f"{total[0]}\n")
    unexpected = list(broken(done.stdout))
    for line in unexpected:
        sys.stdout.write(f"{line}\n")
    sys.stdout.write("Nothing is wrong but what is expected.\n" if not unexpected else "")
    return 1 if unexpected else 0


def installed() -> Path:
    """Return the validator, having installed it if it is not there."""
    program = (PLACE / "bin" / "focus-validator").absolute()
    if not program.exists():
        python = next((found for name in PYTHONS if (found := shutil.which(name)) and is_new(found)), None)
        if python is None:
            sys.exit("focus-validator needs Python 3.12 or newer, and there is none on the path.")
        subprocess.run([python, "-m", "venv", PLACE], check=True)
        subprocess.run([PLACE / "bin" / "pip", "install", "-q", *NEEDS], check=True)
    return program


def is_new(python: str) -> bool:
    """Whether an interpreter is one that the validator takes."""
    asked = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 12))"]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def adapt(source: Path, copy: Path, names: dict[str, str]) -> None:
    """Write the copy that the validator is given."""
    with source.open(newline="") as read, copy.open("w", newline="") as write:
        rows = csv.DictReader(read)
        out = csv.DictWriter(write, [*(rows.fieldnames or []), *names])
        out.writeheader()
        for row in rows:
            quantities = {name: str(float(row[name])) for name in QUANTITIES if row[name]}
            out.writerow({**row, **quantities, **{old: row[new] for old, new in names.items()}})


def broken(said: str) -> Iterator[str]:
    """Yield what it says is broken, and is not expected."""
    for name, what in re.findall(r"^❌ (\S+): FAIL\s+(.*)$", said, re.MULTILINE):
        if not name.startswith(tuple(EXPECTED)):
            yield f"{name}: {what}"


if __name__ == "__main__":
    sys.exit(main())
