"""`minirec gc`: an operator's tool, which talks to Redis and the blob store by the settings of the deployment."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from minirec.cli.data_folder import DataFolder
from minirec.cli.errors import CommandError
from minirec.cli.options import AsJson
from minirec.cli.output import note, print_json, printable
from minirec.client.local import chosen_stack

SHOWN = 1000


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what no dataset and no job needs any more, on the machine of an operator.

    Deleted jobs and datasets are cleaned up by the janitor. This finds the rest: what processes that were killed left
    behind, and what releases before retention never deleted. It reads MINIREC_REDIS_URL and MINIREC_BLOB_URL, as the
    service does, and without MINIREC_REDIS_URL it takes the minirec up that runs here:

        minirec gc --dry-run
        docker compose exec janitor minirec gc --dry-run
    """
    try:
        from redis.exceptions import RedisError

        from minirec.settings import settings
        from minirec.store import connect
        from minirec.store.garbage import collect_garbage
        from minirec.store.orphans import find_orphans, remove_orphans
    except ImportError as error:
        raise CommandError(f"gc needs what the service needs: pip install 'minirec[service]' ({error})") from error
    config = settings()
    stack = None if "MINIREC_REDIS_URL" in os.environ else chosen_stack(None)
    folder = DataFolder(Path(stack.data_dir)) if stack else DataFolder.default()
    if stack and folder.redis_url_file.exists():
        url, blobs = folder.redis_url_file.read_text().strip(), folder.blobs.resolve().as_uri()
        config = config.model_copy(update={"redis_url": url, "blob_url": blobs})
    store = connect(config, ring=lambda doorbells: None)
    try:
        if not dry_run:
            collect_garbage(store)
        found = find_orphans(store)
        if not dry_run:
            remove_orphans(store, found)
    except RedisError as error:
        raise CommandError(
            f"Redis does not answer as MINIREC_REDIS_URL says, and no minirec up runs here: {error}"
        ) from error
    if as_json:
        print_json({"removed": not dry_run, "blobs": found.blobs, "keys": found.keys})
        return
    verb = "would go" if dry_run else "removed"
    for what, sizes in (("blob", found.blobs), ("key in Redis", found.keys)):
        for name in sorted(sizes)[:SHOWN]:
            typer.echo(f"{printable(name)}\t{sizes[name]}")
        if len(sizes) > SHOWN:
            note(f"... and {len(sizes) - SHOWN} more")
        several = what.replace("blob", "blobs").replace("key", "keys") if len(sizes) != 1 else what
        note(f"{verb}: {len(sizes)} {several}, {decimal(sum(sizes.values()))}")
