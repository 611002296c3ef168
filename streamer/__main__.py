"""`python -m streamer` and the command `streamer`."""

import sys


def run() -> None:
    """Entry point. Interrupted before there is anything to put in order, it ends with 130, as shells expect."""
    try:
        from streamer.cli import main

        main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    run()
