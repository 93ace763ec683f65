"""What the lab says of itself on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import click

from backup_orchestration.devlab import lab
from backup_orchestration.devlab.paths import DevlabPaths, devlab_of


def here() -> DevlabPaths:
    """The lab of the present directory."""
    return devlab_of(Path.cwd())


def show(paths: DevlabPaths, *, as_json: bool) -> None:
    """Print where everything is."""
    found = lab.describe(paths)
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"home      {found['home']}")
    click.echo(f"settings  {found['settings']}")
    click.echo(f"store     {found['store']['endpoint'] or 'not up'}, objects in {found['store']['path']}")
    click.echo(f"UI        {found['ui_url'] or 'not up'}")
    for name, service in found["services"].items():
        click.echo(f"service   {name}: {service['path']} ({'real' if service['real'] else 'a STAND-IN'})")
