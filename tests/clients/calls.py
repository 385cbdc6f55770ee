"""Calls of a generated Python client: `python calls.py ADDRESS KEY SAMPLES ITEMS`; writes what it saw as JSON.

Runs in an environment of its own, where nothing of MiniRec is.
"""

import json
import sys
from pathlib import Path

from minirec_client import AuthenticatedClient
from minirec_client.api.datasets import delete_dataset, get_dataset, list_datasets, upload_dataset
from minirec_client.api.selections import (
    cancel_selection,
    create_selection,
    delete_selection,
    get_selection,
    get_selection_events,
    list_selections,
)
from minirec_client.api.training_jobs import create_training_job
from minirec_client.models import (
    ListSelectionsMetadata,
    ModelReference,
    ModelReferenceSource,
    Problem,
    SelectionCreate,
    SelectionCreateMetadata,
    StatusEvent,
    TrainingJobCreate,
    UploadDatasetBody,
)
from minirec_client.types import File


def main(address: str, key: str, samples: str, items: str) -> None:
    """Upload, select, look, and delete it all again."""
    client = AuthenticatedClient(base_url=address, token=key)
    with Path(samples).open("rb") as first, Path(items).open("rb") as second:
        body = UploadDatasetBody(
            samples=File(payload=first, file_name="samples.jsonl"),
            items=File(payload=second, file_name="items.jsonl"),
            name="from Python",
        )
        dataset = upload_dataset.sync(client=client, body=body)
    assert get_dataset.sync(dataset.id, client=client).n_samples == dataset.n_samples > 0
    named = list_datasets.sync(client=client, name="from Python")
    assert [row.id for row in named.data] == [dataset.id]

    model = ModelReference(source=ModelReferenceSource.LOCAL, id="tiny")
    metadata = SelectionCreateMetadata.from_dict({"run": "python"})
    body = SelectionCreate(dataset_id=dataset.id, model=model, size=6, metadata=metadata)
    made = create_selection.sync(client=client, body=body)
    # This generator sends an object's fields as they are: the brackets are ours to write.
    wanted = ListSelectionsMetadata.from_dict({"metadata[run]": "python"})
    listed = list_selections.sync(client=client, metadata=wanted)
    assert [row.id for row in listed.data] == [made.id]
    other = ListSelectionsMetadata.from_dict({"metadata[run]": "other"})
    assert list_selections.sync(client=client, metadata=other).data == []
    selection = get_selection.sync(made.id, client=client)
    assert selection.request.rollouts.group_size == 4
    event = get_selection_events.sync(made.id, client=client).data[0]
    assert isinstance(event, StatusEvent)
    assert event.data.status == "queued"
    refused = create_training_job.sync(client=client, body=TrainingJobCreate(selection_id=made.id))
    assert isinstance(refused, Problem)

    cancelled = cancel_selection.sync(made.id, client=client)
    assert delete_selection.sync_detailed(made.id, client=client).status_code == 204
    gone = get_selection.sync(made.id, client=client)
    assert isinstance(gone, Problem)
    assert delete_dataset.sync(dataset.id, client=client).id == dataset.id
    seen = {"selection": made.id, "status": cancelled.status, "refused": refused.code, "gone": gone.code}
    sys.stdout.write(json.dumps(seen))


main(*sys.argv[1:])
