"""One tenant's part of the store: what belongs to others is not there."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from minirec.api_schemas.keys import DEFAULT_TENANT

if TYPE_CHECKING:
    from minirec.store import Store


def store_of(store: Store, tenant: str) -> Store:
    """Return the store as a tenant sees it.

    Datasets, signals, jobs and webhooks of others are not found, and are in no list. What makes no difference between
    tenants (the state machine, events, blobs) is reached by ids and names that were looked up here.
    """
    return replace(
        store,
        tenant=tenant,
        datasets=store.datasets.of_tenant(tenant),
        signals=store.signals.of_tenant(tenant),
        jobs=store.jobs.of_tenant(tenant),
        webhooks=store.webhooks.of_tenant(tenant),
        uploads=store.uploads.of_tenant(tenant),
    )


def index_of(index: str, tenant: str | None) -> str:
    """Return the key of a tenant's part of an index; the default tenant has the name without a tenant."""
    return index if tenant in (None, DEFAULT_TENANT) else f"{index}@{tenant}"


def owner(tenant: str | None) -> dict[str, str]:
    """Return the field of a job's record that says whose it is; the default tenant's have none."""
    return {} if tenant in (None, DEFAULT_TENANT) else {"tenant": str(tenant)}


def content_name(content_hash: str, tenant: str | None) -> str:
    """Return what a tenant's content is called.

    The names of all blobs and results are made from it. So tenants with the same rows share nothing, and neither a
    count of cached samples nor the time that something takes tells one what another has.
    """
    if tenant in (None, DEFAULT_TENANT):
        return content_hash
    return hashlib.sha256(f"{tenant}\n{content_hash}".encode()).hexdigest()
