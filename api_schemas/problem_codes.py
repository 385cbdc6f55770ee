"""Every stable `code`, of error answers and of jobs that failed. A test compares them with what is raised."""

from __future__ import annotations

from typing import NamedTuple


class Code(NamedTuple):
    """What a code means, and what to do."""

    status: str
    """HTTP statuses that come with it; empty for codes of jobs only."""
    means: str
    do: str


REQUEST_CODES: dict[str, Code] = {
    "answer_missing": Code("422", "The export needs answers, and no prompt has one.", "Take another format."),
    "artifact_not_found": Code(
        "404", "The training job has no such file, or not yet.", "Wait until the job succeeded."
    ),
    "bad_request": Code("400", "The request cannot be read.", "Correct the body or the header that the answer names."),
    "baseline_unavailable": Code("422", "A baseline needs what the dataset or the signals lack.", "Leave it out."),
    "data_lost": Code("410", "Stored data is gone.", "Start the job anew; upload the dataset again if it is the one."),
    "damaged_part": Code("422", "A part of an upload is not what its SHA-256 says.", "Send the part again."),
    "dataset_cancelled": Code("409", "The checking of the dataset was cancelled.", "Retry it, or upload again."),
    "dataset_not_processing": Code("409", "The dataset is not being checked.", "Nothing."),
    "dataset_not_ready": Code("409", "The dataset's files are not checked yet, or are faulty.", "Wait, or look at it."),
    "upload_complete": Code("409", "The upload was completed before.", "Use its dataset, or begin a new upload."),
    "upload_incomplete": Code("409", "Parts of the upload are missing.", "Send them, and complete it then."),
    "upload_lost": Code("failure", "The files of the dataset are not there any more.", "Upload them again."),
    "upload_not_found": Code("404", "There is no such upload.", "It may have expired: begin a new one."),
    "dataset_busy": Code("409", "Another request stores or deletes the same rows.", "Ask again in a moment."),
    "dataset_deleted": Code("410", "The dataset was deleted, and the ids of its samples with it.", "Select anew."),
    "dataset_in_use": Code("409", "A job still works on the dataset.", "Cancel the job, or wait for its end."),
    "dataset_not_found": Code("404", "There is no such dataset, or it is another tenant's.", "List the datasets."),
    "empty_pool": Code("422", "The pool has no samples.", "Name another split, or a longer context."),
    "empty_split": Code("422", "The dataset has no samples in that split.", "Name another split, or `all`."),
    "engine_not_allowed": Code(
        "422", "The service may not ask this inference server.", "Add it to `MINIREC_ENGINE_URLS`."
    ),
    "evaluation_not_found": Code("404", "There is no such evaluation, or it was deleted.", "List the evaluations."),
    "foreign_origin": Code("403", "A page of another site sent the request.", "Send an API key instead of a session."),
    "group_size_too_small": Code("422", "GRPO needs two rollouts per sample.", "Give `args.rollouts.group_size`."),
    "host_not_allowed": Code("403", "The `Host` header is not the service's.", "Add it to `MINIREC_ALLOWED_HOSTS`."),
    "http_error": Code("4xx", "The framework refused the request.", "Read `detail`."),
    "idempotency_in_progress": Code(
        "409", "The first request with this key is still being done.", "Ask again in a moment."
    ),
    "idempotency_key_reused": Code(
        "422", "The key came with another body before.", "Send a new key with a new request."
    ),
    "insufficient_scope": Code("403", "The key may not do this.", "Use a key with the scope that `detail` names."),
    "internal_error": Code("500", "A defect of MiniRec.", "Look up the request id in the log, and report it."),
    "invalid_cursor": Code(
        "422", "`after` is not from this list.", "Pass `next_after` of the page before, filters unchanged."
    ),
    "invalid_dataset": Code("422", "The uploaded files have faults.", "Correct the lines that `errors` names."),
    "invalid_request": Code("422", "A field is wrong, missing or unknown.", "Correct the fields that `errors` names."),
    "invalid_signals": Code(
        "422", "The uploaded signals have faults.", "Correct the lines or arrays that `errors` names."
    ),
    "job_finished": Code("409", "The job is over; there is nothing to cancel.", "Nothing."),
    "job_in_use": Code("409", "Another job needs this one.", "Delete the job in `context.job_id` first."),
    "job_not_finished": Code("409", "A job that has not ended cannot be deleted.", "Cancel it, or wait for its end."),
    "job_unreadable": Code("410", "An older release stored the job with settings that are refused now.", "Delete it."),
    "key_not_found": Code("404", "There is no such API key.", "List the keys."),
    "method_not_allowed": Code(
        "405", "The path does not answer this method.", "The `Allow` header lists those it answers."
    ),
    "model_has_adapter": Code(
        "422", "The selection's model has an adapter.", "Name the model to start from, without one."
    ),
    "model_missing": Code("422", "The selection has no model to take.", "Name one in `model`."),
    "model_not_allowed": Code("403", "The model may not be loaded here.", "Add it to `MINIREC_ALLOWED_MODELS`."),
    "no_keys": Code("403", "A service without keys answers its own machine only.", "Set `MINIREC_API_KEYS`."),
    "no_operator_key": Code(
        "409", "The first key would lock everybody out.", "Start the service with `MINIREC_API_KEYS`."
    ),
    "no_signals": Code("404, 422", "No signals were uploaded for the dataset.", "Upload them first."),
    "no_such_baseline": Code(
        "404", "The selection was not asked for this baseline.", "Name it in `baselines` of a new one."
    ),
    "not_finished": Code("409", "The selection has no result yet.", "Wait until it succeeded."),
    "not_found": Code("404", "There is nothing at this path.", "`/openapi.json` lists the routes."),
    "not_retryable": Code("409", "Only failed and cancelled jobs can be retried.", "Start a new job."),
    "nothing_to_choose_by": Code("422", "The weights ask for vectors that were not uploaded.", "Leave the weight out."),
    "payload_too_large": Code(
        "413", "The body is larger than the limit.", "Raise `MINIREC_MAX_UPLOAD_BYTES`, or send less."
    ),
    "rewards_missing": Code("422", "Nothing says what an answer earns.", "Name rewards: `minirec rewards` lists them."),
    "rewards_unexpected": Code("422", "Rewards are for prompts, and the dataset has interactions.", "Leave them out."),
    "sample_not_found": Code("404", "The selection has no such sample.", "Check the id, and the pool's split."),
    "selection_not_found": Code("404", "There is no such selection, or it was deleted.", "List the selections."),
    "signals_in_use": Code("409", "A job uses these signals.", "Cancel the job, or wait for its end."),
    "size_too_large": Code(
        "422", "More samples are asked for than there are.", "Ask for fewer, or for a part like 0.1."
    ),
    "source_missing": Code("422", "The trainer needs a source of every row.", "Give `source` with the export."),
    "storage_full": Code("507", "The disk or Redis is full; jobs wait.", "Delete jobs or datasets, or add room."),
    "store_unavailable": Code(
        "503", "Redis or the blob store does not answer.", "Send the request again; nothing was lost."
    ),
    "strata_unavailable": Code(
        "422", "The dataset lacks what `stratify_by` names.", "Take one of those that `detail` lists."
    ),
    "too_many_requests": Code("429", "The key has too many open requests.", "Wait for `Retry-After` seconds."),
    "too_many_webhooks": Code("409", "The tenant has as many webhooks as it may.", "Delete one first."),
    "training_job_not_found": Code(
        "404", "There is no such training job, or it was deleted.", "List the training jobs."
    ),
    "trains_on_evaluation": Code(
        "422", "Samples to train on are those to evaluate on.", "Choose other samples or splits."
    ),
    "unauthorized": Code("401", "No key, or an unknown or expired one.", "Send `Authorization: Bearer KEY`."),
    "unknown_reward": Code(
        "422", "No reward of that name is installed.", "Install its package where service and workers run."
    ),
    "unknown_sample": Code("422", "The dataset has no such samples.", "Correct the ids in `errors`."),
    "vector_unavailable": Code(
        "422", "The kind of vector does not go with these inputs.", "Take one that `detail` lists."
    ),
    "webhook_not_found": Code("404", "There is no such webhook.", "List the webhooks."),
    "wrong_trainer": Code("422", "The trainer is for the other kind of dataset.", "Take the one that `detail` names."),
}
"""Of error answers."""

JOB_CODES: dict[str, Code] = {
    "adapter_mismatch": Code("", "The adapter does not fit the model.", "Name the model that it was trained on."),
    "answer_missing": Code(
        "", "A reward needs an answer, and prompts have none.", "Add answers, or take another reward."
    ),
    "dtype_unsupported": Code(
        "", "The worker's device cannot compute in this dtype.", "Name another, or set `MINIREC_DTYPE`."
    ),
    "empty_pool": Code("", "No sample of the pool is left.", "Name another split, or shorter answers."),
    "empty_selection": Code("", "No sample can be chosen.", "Loosen the gate, or score with a better model."),
    "empty_split": Code("", "The dataset has no samples in that split.", "Name another split."),
    "engine_mismatch": Code("", "The inference server has another model.", "Serve the selection's model."),
    "engine_not_allowed": Code("", "The worker may not ask this inference server.", "Add it to `MINIREC_ENGINE_URLS`."),
    "engine_refused": Code(
        "", "The inference server refused a request.", "Read the message; mend the server's options."
    ),
    "engine_unavailable": Code("", "vLLM cannot run on this worker.", "Install `minirec[vllm]` on a CUDA machine."),
    "engine_unreachable": Code("", "The inference server did not answer.", "Start it, then retry the job."),
    "internal_error": Code("", "A defect, or a machine out of memory.", "The worker's log has the reason; retry."),
    "invalid_request": Code("", "The job names neither a model nor a selection to take one from.", "Name one."),
    "invalid_sample": Code(
        "", "Samples or items that the model cannot take.", "Correct or remove those that are named."
    ),
    "invalid_signals": Code("", "The stored signals cannot be used.", "Upload them again."),
    "model_not_allowed": Code(
        "", "The model is gated, outside the models folder, or not on the list.", "See the message."
    ),
    "model_not_found": Code(
        "", "The model or some of its files are not there.", "Check name and folder; fetch it again."
    ),
    "model_unusable": Code("", "The model's files cannot be used.", "See the message; fetch or save the model again."),
    "no_signals": Code("", "No signals were uploaded for the dataset.", "Upload them first."),
    "pool_changed": Code("", "Workers of two releases draw different pools.", "Give all workers the same release."),
    "prompt_too_long": Code("", "Prompts do not fit into the context.", "Shorten them, or `max_new_tokens`."),
    "reward_failed": Code(
        "", "A reward raised, or returned no finite number.", "Mend the reward; the sample is named."
    ),
    "rewards_missing": Code("", "Nothing says what an answer earns.", "Name rewards."),
    "shard_timeout": Code(
        "", "A shard took longer than `MINIREC_UNIT_TIME_LIMIT`.", "Raise it, or use smaller shards."
    ),
    "size_too_large": Code("", "More samples are asked for than the pool has.", "Ask for fewer, or for a part."),
    "storage_error": Code("", "Stored data could not be read or written.", "Retry the job."),
    "storage_full": Code("", "The disk or Redis is full.", "Add room, then retry the job."),
    "storage_unavailable": Code("", "Redis or the blob store did not do its work.", "Mend it, then retry the job."),
    "training_failed": Code(
        "", "The training run cannot go on.", "Read the message: most often a lower learning rate."
    ),
    "unknown_reward": Code("", "The worker does not have the reward.", "Install its package where the workers run."),
    "unknown_sample": Code("", "The dataset has no such sample.", "Correct the ids."),
    "unknown_spec_version": Code("", "Another release planned the job.", "Start it anew."),
    "unsafe_model": Code("", "Loading the model would run code of its own.", "Take one without; save as safetensors."),
    "weights_mismatch": Code("", "Weights are missing, left over, or of another shape.", "Save the bare model again."),
    "worker_lost": Code("", "Workers died at the same place again and again.", "Look for lack of memory in their log."),
    "wrong_device": Code("", "The work was planned for another kind of device.", "Keep a worker of that kind running."),
}
"""Of jobs that failed: `error.code` of a job, and `code` of its `retry` events."""
