"""
Start the command line as ``python -m penia_proxy``.

Its one job: hand over to penia_proxy.cli. Rule: nothing else happens here.
"""

from penia_proxy.cli import main

if __name__ == "__main__":
    main()
