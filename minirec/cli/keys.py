"""`minirec keys`: who may use the service, for which tenant, and how far."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from minirec.api_schemas import ApiKey
from minirec.api_schemas.keys import MAX_DAYS, Scope
from minirec.cli.connection import Connection
from minirec.cli.options import AsJson
from minirec.cli.output import ago, note, print_json, results, table

KeyId = Annotated[str, typer.Argument(metavar="KEY", help="Its id, key_...")]

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke API keys; needs a key with the scope admin.")


@app.command()
def create(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for; shown in lists.")],
    scope: Annotated[
        Scope, typer.Option(help="read: look. write: also upload, start, cancel, delete. admin: also manage keys.")
    ] = "write",
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whose data it is for, in lower-case letters, digits and dashes; your own tenant unless given.",
            show_default=False,
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=MAX_DAYS, help="Days until it expires; never, unless given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, this one time: the service keeps only its hash.

    Tenants see nothing of each other; one comes into being with its first key. To replace a key, make another, use it,
    and revoke the first:

        minirec keys create ci --tenant ranking-team --scope write --days 90
        minirec keys revoke key_...
    """
    connection: Connection = context.obj
    with connection.client() as client:
        made = client.keys.create(name=name, scope=scope, tenant=tenant, expires_in_days=days)
    if as_json:
        print_json(made)
        return
    note(f"{made.id} for tenant {made.tenant}, scope {made.scope}. It is shown only now:")
    typer.echo(made.key)


@app.command("list")
def list_keys(context: typer.Context, as_json: AsJson = False) -> None:
    """List the keys that you may manage, without their secrets, newest first.

    What they may do, and for whom:

        minirec keys list
    """
    connection: Connection = context.obj
    with connection.client() as client:
        found = list(client.keys.list())
    if as_json:
        print_json(found)
        return
    rows = ((key.id, key.name, key.tenant, key.scope, ago(key.created_at), state(key)) for key in found)
    results.print(table(("key", "name", "tenant", "scope", "made", "state"), rows))


@app.command()
def revoke(
    context: typer.Context,
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id, key_...")],
    as_json: AsJson = False,
) -> None:
    """End a key, at once and for good.

    Its id is in the list of keys:

        minirec keys revoke key_abc
    """
    connection: Connection = context.obj
    # A whole key is accepted, too; its secret goes nowhere.
    with connection.client() as client:
        revoked = client.keys.revoke(key_id.partition(".")[0])
    print_json(revoked) if as_json else results.print(f"{revoked.id} revoked")


def state(key: ApiKey) -> str:
    """Return whether a key works, in a word or two."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "works"
    left = key.expires_at - time.time()
    return "expired" if left <= 0 else f"works for {left / 86400:.1f} days"
