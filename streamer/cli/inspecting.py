"""The commands that look: doctor at the machine, devices at its webcams, probe at a source."""

import os
import sys
from typing import Annotated

import typer
from rich.markup import escape

from streamer.cli.options import FAILED, FINE, Config, Json, deployment, replace
from streamer.config import StreamSettings
from streamer.configfile import with_password
from streamer.errors import ConfigError, StreamerError, redact_address
from streamer.terminal import err, out


def doctor(context: typer.Context, config: Config = None, as_json: Json = False) -> None:
    """Check this machine, and the configuration if one is given, and say what to do about what is not fine.

    Nothing is fetched, and no camera is connected to. Exit code 1 if there is a problem.
    """
    from streamer.doctor.checkup import check_up
    from streamer.doctor.findings import fixes, healthy, report, table

    settings, broken = context.obj, None
    try:
        settings = deployment(context.obj, config)
    except ConfigError as error:
        broken = error
    findings = check_up(settings, config, broken)
    if as_json:
        print(report(findings))
    else:
        out.print(table(findings))
        out.print("\n".join(["", *fixes(findings)]) if fixes(findings) else "\nEverything is fine.", soft_wrap=True)
    sys.exit(FINE if healthy(findings) else FAILED)


def devices(as_json: Json = False) -> None:
    """List this machine's webcams, and how to name each as a source."""
    from streamer.doctor.cameras import report, table
    from streamer.media.devices import list_webcams

    webcams = list_webcams()
    if as_json:
        print(report(webcams))
    elif webcams:
        out.print(table(webcams))
    else:
        out.print("This machine has no webcam that the program can see.")


def probe(
    source: Annotated[str, typer.Argument(help="rtsp:// or http(s):// address, webcam (0, webcam:NAME), file.")],
    seconds: Annotated[float, typer.Option(min=1, max=3600, help="How long to look.")] = 8.0,
    user: Annotated[str, typer.Option(help="User of the camera.")] = "",
    password_env: Annotated[str, typer.Option(metavar="VAR", help="Environment variable with the password.")] = "",
    password_file: Annotated[str, typer.Option(metavar="FILE", help="File that holds nothing but the password.")] = "",
    transport: Annotated[str, typer.Option(help="Of RTSP: tcp or udp.")] = "tcp",
    as_json: Annotated[bool, typer.Option("--json", help="The report, or the error, as one line of JSON.")] = False,
) -> None:
    """Look at one source and say what it is like, what to improve, and how to configure it.

    Nothing but SOURCE is opened, nothing is changed. Ctrl-C ends it early, with what was seen so far.

    [dim]streamer probe rtsp://camera.local/stream1 --user viewer --password-env CAMERA_PASSWORD[/dim]
    """
    given = replace(
        StreamSettings(source, user), password_env=password_env, password_file=password_file, transport=transport
    )
    stream = with_password(given, "probe", os.environ)
    if stream.password and not user:
        raise ConfigError("a password without a user", "name the user with --user")
    from streamer.contract import encode
    from streamer.datasheet import print_datasheet
    from streamer.inference.budget import cpu_budget
    from streamer.media.probe import probe as look
    from streamer.records import error_object

    try:
        with err.status(f"Looking at {escape(redact_address(source))} for {seconds:g} s"):
            report = look(stream, seconds, cpu_budget())
    except StreamerError as error:
        if not as_json:
            raise
        out.print(encode({"error": error_object(error)}).decode(), markup=False, soft_wrap=True)
        sys.exit(FAILED)
    if as_json:
        out.print(encode(report).decode(), markup=False, soft_wrap=True)
    else:
        print_datasheet(report, out)
