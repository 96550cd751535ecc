"""Errors of classifiers and checkpoints: names, files and downloads."""

from __future__ import annotations

from safelight.errors.base import InputError, SafelightError


class ModelError(InputError):
    """The model cannot be used."""

    code = "model"
    summary = "The model cannot be used."


class ClassifierUnknownError(ModelError):
    """There is no such classifier."""

    code = "model.unknown"
    summary = "There is no classifier of that name."
    default_hint = (
        "Give open-nsfw, nsfw-image-detection-384, a pulled hub id, "
        "or a folder with config.json and model.safetensors."
    )
    http_status = 404


class ModelNotPulledError(ModelError):
    """The model is not on this machine."""

    code = "model.not_pulled"
    summary = "The model is not on this machine, and nothing is fetched unless you ask."
    default_hint = "Fetch it once with: safelight models pull NAME"
    http_status = 404


class ModelInvalidError(ModelError):
    """The model's files are inconsistent or in another layout."""

    code = "model.invalid"
    summary = "The model's files are damaged or of another layout."
    default_hint = "A classifier folder holds timm's config.json (with label_names) and model.safetensors."
    http_status = 422


class PickleRefusedError(ModelError):
    """The weights are in a format that can run code when it is opened."""

    code = "model.pickle_refused"
    summary = "The weights are a pickle file, which can run any code when opened, so it is refused."
    default_hint = "Convert it to safetensors once, with: safelight models convert FILE"
    http_status = 422


class CheckpointMissingError(ModelError):
    """There is no such checkpoint."""

    code = "checkpoint.missing"
    default_field = "checkpoint"
    summary = "There is no checkpoint of that name on this machine."
    default_hint = (
        "safelight models list shows the checkpoints; a path to a folder or .safetensors file works too."
    )
    http_status = 404


class CheckpointInvalidError(ModelError):
    """The checkpoint's files are damaged or incomplete."""

    code = "checkpoint.invalid"
    summary = "The checkpoint's files are damaged or incomplete."
    default_hint = "Give a diffusers folder with model_index.json, or one .safetensors file."
    http_status = 422


class CheckpointFamilyError(ModelError):
    """The checkpoint's family is not supported."""

    code = "checkpoint.family"
    summary = "The checkpoint belongs to no family that Safelight knows."
    default_hint = "safelight models families lists them."
    http_status = 422


class PartMissingError(ModelError):
    """There is no such autoencoder or text encoder."""

    code = "checkpoint.part_missing"
    default_field = "vae"
    summary = "There is no autoencoder or text encoder of that name on this machine."
    default_hint = "safelight models show FILE says what a file holds."
    http_status = 404


class ControlMissingError(ModelError):
    """There is no such ControlNet."""

    code = "control.missing"
    default_field = "control"
    summary = "There is no ControlNet or adapter of that name or kind on this machine."
    default_hint = (
        "Put its file into the folder controlnet of the data directory, or into one of the model_folders."
    )
    http_status = 404


class ControlFamilyError(ModelError):
    """The ControlNet is for another family than the checkpoint's."""

    code = "control.family"
    default_field = "control"
    summary = "The ControlNet or adapter is for checkpoints of another family."
    http_status = 422


class ControlUnsupportedError(ModelError):
    """The control needs something that Safelight does not have."""

    code = "control.unsupported"
    default_field = "control"
    summary = "The ControlNet or adapter is of a kind that Safelight does not use."
    http_status = 422


class ImageEncoderMissingError(ModelError):
    """The image encoder of an IP-Adapter is not there."""

    code = "control.encoder_missing"
    default_field = "control"
    summary = "The image encoder that an IP-Adapter reads its picture with is not on this machine."
    http_status = 404


class DigestMismatchError(ModelError):
    """A model's file differs from the pinned or pulled one."""

    code = "model.digest"
    summary = "A model's file is not the one that was expected."
    default_hint = "Remove the model and pull it again; if it happens twice, do not trust the source."
    http_status = 422


class DownloadError(SafelightError):
    """A download failed."""

    code = "model.download"
    summary = "The download did not succeed."
    default_hint = "Check the connection and the name, and try again; what has arrived is not fetched twice."
    http_status = 502


class DownloadDeniedError(DownloadError):
    """The source wants a token, or its terms to be accepted."""

    code = "model.denied"
    summary = "The source does not give the model to everybody."
    default_hint = (
        "Accept the model's terms on its page, and give a token with --token-file or the setting for it."
    )
    http_status = 403


class DownloadMissingError(DownloadError):
    """The source has no such model, revision or file."""

    code = "model.not_at_source"
    summary = "The source has no such model, revision or file."
    default_hint = "Check the name on the source's page."
    http_status = 404


class DownloadStoppedError(DownloadError):
    """The download was stopped by its user."""

    code = "model.download_stopped"
    summary = "The download was stopped."
    default_hint = "The same command continues it."
    http_status = 409


class ModelReferenceError(ModelError):
    """The text names no model of a source."""

    code = "model.reference"
    summary = "The text names no model that can be pulled."
    default_hint = (
        "Give owner/name or owner/name@revision of the hub, civitai:MODEL or civitai:MODEL@VERSION, "
        "an address of a CivitAI page, or an AIR urn."
    )
    http_status = 422


class ModelMissingError(ModelError):
    """There is no such model on the server."""

    code = "model.missing"
    summary = "There is no model of that name on this server."
    default_hint = "GET /v1/models lists them."
    http_status = 404


class AdapterMissingError(ModelError):
    """There is no such LoRA or embedding."""

    code = "adapter.missing"
    default_field = "adapters"
    summary = "There is no LoRA or embedding of that name on this machine."
    default_hint = "Put the file into loras/ or embeddings/, or into one of the model_folders."
    http_status = 404


class AdapterPreviewMissingError(ModelError):
    """An adapter has no preview."""

    code = "adapter.no_preview"
    summary = "The adapter has no preview."
    default_hint = "PUT /v1/adapters/{id}/preview sets one from the gallery."
    http_status = 404


class AdapterAmbiguousError(ModelError):
    """Several LoRAs or embeddings have the name."""

    code = "adapter.ambiguous"
    default_field = "adapters"
    summary = "Several LoRAs or embeddings have that name."
    default_hint = "Give the sub-folder too, as in style/name, or the path of one of them."
    http_status = 422


class AdapterInvalidError(ModelError):
    """The LoRA or embedding is damaged, or of a kind that is not known."""

    code = "adapter.invalid"
    default_field = "adapters"
    summary = "The LoRA or embedding is damaged, or does not fit the checkpoint."
    default_hint = "safelight models show FILE says what a file holds."
    http_status = 422


class AdapterFamilyError(ModelError):
    """The LoRA or embedding is for another family of checkpoints."""

    code = "adapter.family"
    default_field = "adapters"
    summary = "The LoRA or embedding is for another family of checkpoints."
    default_hint = "Use it with a checkpoint of its family."
    http_status = 422
