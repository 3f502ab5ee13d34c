"""The command line, called in this process."""

import json

from dphot import cli


def command(capsys, *arguments):
    """Exit code, last line of standard output as JSON (where asked for), standard error."""
    code = cli.main([str(a) for a in arguments])
    captured = capsys.readouterr()
    last = captured.out.strip().splitlines()[-1:] if "--json" in arguments else []
    assert "Traceback" not in captured.err and not any("NaN" in line for line in last)
    return code, json.loads(last[0]) if last else None, captured.err
